"""A wheel and an sdist of the tracked files install into an environment of their own, and run there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.checkout import copy_tracked, tracked

FOLDERS = {"osdn_theory": "osdn_theory", "kernels": "osdn_kernels", "proofs_check": "proofs_check"}
# What is of use in the checkout alone: measurements of other machines, and scripts that write them.
ONLY_IN_THE_CHECKOUT = ("osdn_kernels/benchmarks/", "proofs_check/README.md", "proofs_check/coq/.")

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> str:
    """What a command prints. Nothing of this process's Python leaks into it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRITON"))}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of the tracked files alone, and the wheel that pip makes of it."""
    place = tmp_path_factory.mktemp("built")
    tree = copy_tracked(place / "tree")
    make = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    sdist = place / call(sys.executable, "-c", make, place, cwd=tree).splitlines()[-1]
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    call(*pip, "--wheel-dir", place, sdist, cwd=place)
    (wheel,) = place.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commands of a fresh environment that has the wheel, and this one's packages but for the project itself."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    (packages,) = place.glob("lib/python*/site-packages")
    # A path in a .pth file is added as it is: the hook of an editable installation there is not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--force-reinstall",
        built.wheel,
        cwd=place,
    )
    return place / "bin"


def packaged(name: str) -> str:
    """Where a file of the checkout lies in a wheel."""
    head, _, rest = name.partition("/")
    return f"{FOLDERS[head]}/{rest}"


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(built: Built) -> None:
    held = {name for name in zipfile.ZipFile(built.wheel).namelist() if ".dist-info/" not in name}
    there = {packaged(str(path)) for path in tracked() if path.parts[0] in FOLDERS}
    assert held <= there
    assert {name for name in there - held if not name.startswith(ONLY_IN_THE_CHECKOUT)} == set()


def test_the_sdist_holds_what_it_takes_to_build(built: Built) -> None:
    with tarfile.open(built.sdist) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    assert {"setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= names
    assert {"osdn_theory/report/document.py", "proofs_check/coq/definitions.v", "kernels/ops.py"} <= names


def test_it_is_the_installed_package_that_runs(installed: Path, tmp_path: Path) -> None:
    code = "import osdn_theory, osdn_kernels, proofs_check as proofs\n"
    code += "print(osdn_theory.__file__, osdn_kernels.__file__, proofs.__file__)"
    for path in call(installed / "python", "-c", code, cwd=tmp_path).split():
        assert Path(path).is_relative_to(installed.parent)


def test_the_commands_run(installed: Path, tmp_path: Path) -> None:
    assert "interpolating" in call(installed / "osdn-theory", "streams", cwd=tmp_path)
    call(
        installed / "osdn-theory",
        "verify",
        "--stream",
        "interpolating",
        "--bounds",
        "T5",
        "--out",
        "report",
        cwd=tmp_path,
    )
    assert (tmp_path / "report" / "index.html").stat().st_size > 1000
    assert "T3" in call(
        installed / "osdn-theory", "prove", "--claim", "T3", "--method", "exact", cwd=tmp_path
    )


def test_the_reference_kernel_runs(installed: Path, tmp_path: Path) -> None:
    assert call(installed / "python", "-c", REFERENCE, cwd=tmp_path).split() == [
        "torch.Size([1,",
        "8,",
        "2,",
        "4])",
    ]


REFERENCE = """
import torch
from osdn_kernels import chunk_osdn_reference

q, k, v, beta = torch.ones(1, 8, 2, 4), torch.ones(1, 8, 2, 4), torch.ones(1, 8, 2, 4), torch.ones(1, 8, 2)
print(chunk_osdn_reference(q, k, v, beta, use_qk_l2norm_in_kernel=True)[0].shape)
"""

"""The project for Hugging Face's kernel-builder: its files are there, and load several at once, by themselves."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from osdn_kernels.hub.layout import write_project

ALLOWED = {"torch", "triton", *sys.stdlib_module_names}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "osdn"
    write_project(folder)
    return folder


def test_the_description_is_one_that_kernel_builder_takes(project: Path) -> None:
    described = tomllib.loads((project / "build.toml").read_text())
    assert set(described) == {"general", "torch-noarch"}
    general = described["general"]
    assert set(general) == {"name", "version", "edition", "license", "backends"}
    assert general["edition"] == 5
    assert general["backends"] == ["cuda"]
    assert (project / "flake.nix").read_text().count("genKernelFlakeOutputs") == 1
    package = project / "torch-ext" / general["name"]
    assert (package / "__init__.py").is_file()
    kinds = {path.suffix.removeprefix(".") for path in package.rglob("*") if path.is_file()}
    assert kinds == set(described["torch-noarch"]["pyext"])
    assert (package / "launch" / "tuned.jsonl").is_file()


def imported(folder: Path) -> Iterator[str]:
    """Top-level modules that are imported by an absolute name."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (each.name.split(".")[0] for each in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield str(node.module).split(".")[0]


def test_modules_import_each_other_relatively_and_nothing_but_torch_and_triton(project: Path) -> None:
    assert set(imported(project)) <= ALLOWED
    (project / "mine.py").write_text("from osdn_kernels import chunk_osdn\nimport numpy\n")
    assert set(imported(project)) - ALLOWED == {"osdn_kernels", "numpy"}


LOAD = """
import importlib.util, sys
for name in ("osdn_kernels", "lazy_loader"):
    sys.modules[name] = None

def load(name):
    place = sys.argv[1] + "/__init__.py"
    spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=[sys.argv[1]])
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

import torch
first, second = load("_osdn_cuda_1234567"), load("_osdn_cuda_89abcde")
q, k, v = torch.randn(3, 1, 5, 1, 4)
beta = torch.rand(1, 5, 1)
expected, _ = first.osdn_reference(q, k, v, beta, eta=0.5)
for each in (first, second):
    found, _ = each.fused_recurrent_osdn(q, k, v, beta, eta=0.5)
    torch.testing.assert_close(found, expected)
assert torch.ops._osdn_cuda_1234567.recurrent_forward != torch.ops._osdn_cuda_89abcde.recurrent_forward
print(*first.__all__)
"""


def test_two_copies_load_and_run_side_by_side(project: Path) -> None:
    import osdn_kernels

    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(project / "torch-ext" / "osdn")],
        capture_output=True, text=True, check=False, cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(osdn_kernels.__all__)

"""Replay files: what is wrong with one is said in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from support.crosscheck import fuzz_kernels

from osdn_theory.base.jsonable import to_json
from osdn_theory.crosscheck.fuzz.replay import FORMAT, replay
from osdn_theory.crosscheck.fuzz.run import FuzzPlan, fuzz
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt


def kernel(name: str) -> Adapter:
    return adapt(getattr(fuzz_kernels, name), f"support.crosscheck.fuzz_kernels:{name}")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A failure of a kernel that ignores its initial state."""
    folder = tmp_path_factory.mktemp("recorded")
    summary = fuzz(kernel("ignores_the_initial_state"), FuzzPlan(cases=6, dtypes=("float32",)), files=folder)
    return Path(summary.failures[0].files[0])


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="np") as file:
        found: dict[str, str] = file.metadata()
    return found


def altered(recorded: Path, folder: Path, **changes: str) -> Path:
    path = folder / "altered.safetensors"
    save_file(load_file(recorded), path, {**metadata(recorded), **changes})
    return path


def test_the_kernel_of_the_file_is_found_by_its_name(recorded: Path) -> None:
    (check,) = replay(recorded)
    assert not check.within
    assert check["o"].worst_error > 0.1
    assert check.notes[-1] == "replay: the kernel gave the bits that were recorded"
    to_json(check)


def test_another_kernel_that_takes_what_is_needed(recorded: Path) -> None:
    (check,) = replay(recorded, kernel("right"))
    assert check.within
    assert "replay: the kernel gave other bits than those that were recorded" in check.notes


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            kernel("delta_net"),
            "recorded from .*fuzz_kernels:ignores_the_initial_state, osdn; .* is delta_net",
        ),
        (
            replace(kernel("right"), parameters=kernel("right").parameters - {"initial_state"}),
            "support.crosscheck.fuzz_kernels:right takes no initial_state",
        ),
        (
            "no_such_kernel",
            "recorded from support.crosscheck.fuzz_kernels:ignores_the_initial_state: .*unknown 'no_such_kernel'",
        ),
    ],
)
def test_another_kernel_that_does_not_is_refused(recorded: Path, other: Adapter | str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replay(recorded, other)


def test_a_kernel_that_is_not_there_any_more(recorded: Path, tmp_path: Path) -> None:
    about = json.loads(metadata(recorded)["about"])
    text = json.dumps({**about, "kernel": "gone_module:gone"}, sort_keys=True)
    with pytest.raises(ValueError, match="damaged, its checksum is another one"):
        replay(altered(recorded, tmp_path, about=text))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "osdn-fuzz/2"}, f"expected format {FORMAT}, got osdn-fuzz/2"),
        ({"format": "osdn-run/1"}, "not a replay file of osdn-theory fuzz"),
        ({"about": "{}"}, "damaged, its checksum"),
        ({"sha256": "0" * 64}, "damaged, its checksum"),
    ],
)
def test_other_metadata_is_refused(
    recorded: Path, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replay(altered(recorded, tmp_path, **changes))


def test_damage_anywhere_in_the_tensors_is_seen(recorded: Path, tmp_path: Path) -> None:
    content = bytearray(recorded.read_bytes())
    content[-3] ^= 1
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged, its checksum"):
        replay(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(recorded: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(recorded.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"empty|not a safetensors file, or a truncated one"):
        replay(path)


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", k=np.zeros(3))
    (tmp_path / "notes.txt").write_text("no tensors")
    save_file({"k": np.zeros(3, dtype=np.float32)}, tmp_path / "plain.safetensors")
    for name, message in {
        "arrays.npz": "not a replay file of osdn-theory fuzz",
        "plain.safetensors": "not a replay file of osdn-theory fuzz",
        "notes.txt": "expected a .safetensors or .npz file",
    }.items():
        with pytest.raises(ValueError, match=message):
            replay(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such file"):
        replay(tmp_path / "absent.safetensors")


def test_a_device_that_is_not_there(recorded: Path) -> None:
    with pytest.raises(ValueError, match="torch sees no GPU here"):
        replay(recorded, device="cuda")


def test_other_versions_are_a_note(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from osdn_theory.crosscheck.fuzz import replay as module

    here = module.versions()
    monkeypatch.setattr(module, "versions", lambda: {**here, "torch": "1.0"})
    (check,) = replay(recorded)
    assert f"replay: recorded with torch {here['torch']}, here 1.0" in check.notes

"""The command: tables, JSON, files, exit codes, and one line for every wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.crosscheck.cases import ENTRY_POINTS, FAST, interpolating, register
from support.crosscheck.recorded import record
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.crosscheck.document import CROSSCHECK

TESTS = Path(__file__).parents[2]
SMALL = ["--stream", "interpolating", "--tokens", "24"]


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "registered"
    folder.mkdir()
    register(folder, monkeypatch)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["crosscheck", *arguments])


def prose(result: Any) -> str:
    """What was printed, in one line."""
    return " ".join(result.stdout.split())


def test_it_prints_what_was_found() -> None:
    result = run("--kernel", "chunk_osdn_reference", *SMALL)
    assert result.exit_code == 0, result.output
    for text in (
        "What the kernel is taken to compute",
        "interpolating, fast",
        "T18, chunk, float32",
        "chunk_size=16",
    ):
        assert text in result.stdout
    assert "symptom" not in result.stdout
    assert "No GPU is used" in result.stderr


def test_json_is_one_document_on_stdout() -> None:
    result = run("--kernel", "osdn_reference", *SMALL, "--rule", "bounded,fast", "--json", "--gradients")
    document = json.loads(result.stdout)
    assert result.exit_code == document["exit_code"]
    assert document["format"] == CROSSCHECK.format
    assert [check["rule"] for check in document["streams"]] == ["bounded", "fast"]
    assert any(item["name"] == "grad k" for item in document["streams"][0]["comparisons"])


def test_figures_and_data_are_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("--kernel", "osdn_reference", *SMALL, "--out", str(out))
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    assert names == {"crosscheck.json", "errors-00-interpolating-fast.png", "curve-00-interpolating-fast.png"}
    assert json.loads((out / "crosscheck.json").read_text())["streams"][0]["stream"] == "interpolating"


def test_a_fault_exits_with_1_and_names_the_symptom() -> None:
    result = run("--kernel", "support.crosscheck.faulty_kernels:late_reader", *SMALL)
    assert result.exit_code == 1, result.output
    assert "symptom: interpolating, fast: o_t is read before token t is written?" in result.stdout
    assert "contradicted: T3" in result.stdout


def test_what_cannot_be_observed_exits_with_3() -> None:
    """A comparator at d_1: the regret is zero, and float32 cannot tell it from what rounding leaves."""
    result = run(
        "--kernel", "chunk_osdn_reference", "--stream", "isotropic", "--rule", "fast", "--tokens", "24"
    )
    assert result.exit_code == 3, result.output
    assert "not observable: T5" in result.stdout


def test_minilm_and_several_heads() -> None:
    """From d_1 = 5/4, for unit keys would keep d at 1."""
    result = run(
        "--kernel", "osdn_reference", "--stream", "minilm/layer0", "--tokens", "16", "--heads", "2", "--json"
    )
    (check,) = json.loads(result.stdout)["streams"]
    assert check["rule"] == "fast from 5/4"
    assert check["notes"] == []
    assert check["shape"] == {"B": 1, "H": 2, "T": 16, "K": 32, "V": 32}


def test_a_saved_run_is_audited(tmp_path: Path) -> None:
    from support.crosscheck.faulty_kernels import correct, faulty

    good = record(tmp_path / "good.safetensors", correct, interpolating(24))
    bad = record(tmp_path / "bad.safetensors", faulty("calibrates too early"), interpolating(24), FAST)
    assert run("--file", str(good)).exit_code == 0
    result = run("--file", str(bad))
    assert result.exit_code == 1
    assert "the calibrate step comes before the write" in prose(result)
    assert prose(result).endswith("not exercised: anything beyond these runs")


def test_registered_kernels_are_listed_installed_or_not() -> None:
    result = run("--list")
    assert result.exit_code == 0
    assert "osdn_reference" in result.stdout
    assert "not installed" in prose(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--kernel, --file, --replay: expected one of them"),
        (["--kernel", "osdn_reference", "--file", "run.safetensors"], "expected one of them"),
        (["--kernel", "osdn_reference", "--exercise", "one tokens"], "did you mean 'one token'"),
        (["--kernel", "osdn_reference", "--exercise", "one token", "--require", "fast"], "unknown 'fast'"),
        (["--kernel", "osdn_reference", "--layout", "sideways"], "layout: expected one of"),
        (["--kernel", "support.crosscheck.eager_kernels:raises"], "raised in"),
        (
            ["--kernel", "support.crosscheck.eager_kernels:raises_on_one_token"],
            "raised in exercise 'one token'",
        ),
        (["--kernel", "support.crosscheck.eager_kernels:returns_a_dict"], "expected a tensor of shape"),
        (["--kernel", "support.crosscheck.eager_kernels:gives_nan"], "entries of o are NaN or infinite"),
        (["--kernel", "support.crosscheck.eager_kernels:drops_a_token"], "expected a tensor of shape"),
        (["--kernel", "absent"], "is not installed"),
        (["--kernel", "osdn_reference", "--stream", "isotopic"], "did you mean 'isotropic'"),
        (["--kernel", "osdn_reference", "--rule", "quick"], "unknown name 'quick'"),
        (["--kernel", "osdn_reference", "--dtype", "float64"], "dtype: expected one of float32"),
        (["--kernel", "osdn_reference", "--device", "tpu"], "unknown name 'tpu'"),
        (
            ["--kernel", "support.crosscheck.faulty_kernels:correct", "--chunk-size", "16"],
            "takes no chunk_size",
        ),
        (
            ["--kernel", "support.crosscheck.faulty_kernels:correct", "--rule", "beta-aware", *SMALL],
            "takes no argument beta_aware",
        ),
        (["--file", "nothing.safetensors"], "no such file"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_without_a_gpu_the_interpreter_is_switched_on_before_triton_loads(tmp_path: Path) -> None:
    """In a process of its own, where nothing has set the variable, and the scan alone, which is quick."""
    home = tmp_path / "site" / "fixture-2.0.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: fixture2\nVersion: 2.0\n")
    (home / "entry_points.txt").write_text(ENTRY_POINTS)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(home.parent), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", "from osdn_theory.commands.main import main; main()", "crosscheck"]
    command += ["--kernel", "osdn_kernels.ops:osdn_preconditioner", *SMALL, "--every-config", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (check,) = json.loads(done.stdout)["streams"]
    assert check["configuration"] == "first configuration of every kernel; batch x 1"
    assert "interpreter" in done.stderr


def test_the_default_call_examines_and_ends_in_the_verdict_in_words(tmp_path: Path) -> None:
    result = run("--kernel", "support.crosscheck.eager_kernels:right", "--out", str(tmp_path))
    document = json.loads((tmp_path / "crosscheck.json").read_text())
    assert result.exit_code == 0, result.output
    assert document["verdict"] == "right"
    assert len(document["exercises"]) >= 12
    streams = ["interpolating", "noisy", "minilm/layer0", "apf_historic/layer0", "deltanet/layer0"]
    assert [check["stream"] for check in document["streams"]] == streams
    assert all(row["seen"] or row["reason"] for row in document["power"]["reaches"])
    assert {item["name"] for item in document["invariances"]} >= {"deterministic", "batch-invariant"}
    assert "cu_seqlens (the kernel does not take it)" in document["not_exercised"]

    tables = result.stdout[result.stdout.index("What the kernel is taken to compute") :]
    assert max(map(len, tables.splitlines())) <= 80
    end = prose(result)[prose(result).rindex("right: ") :]
    assert "exercises inside their bounds" in end
    assert "known faults" in end
    assert "not exercised: no tokens (the kernel raised" in end
    assert "cu_seqlens (the kernel does not take it)" in end


def test_a_fault_that_streams_do_not_show_is_found_and_named() -> None:
    """The streams have beta = 1, which hides that beta is ignored; that something is off the first call showed."""
    result = run("--kernel", "support.crosscheck.eager_kernels:beta_ignored")
    assert result.exit_code == 1
    assert "wrong: exercise 'everything at once'" in prose(result)
    assert "beta is ignored: S_t = S_{t-1} + (v_t - S_{t-1} k_t)(d_t * k_t)^T" in prose(result)
    assert (
        run(
            "--kernel", "support.crosscheck.eager_kernels:beta_ignored", "--stream", "interpolating"
        ).exit_code
        == 3
    )


def test_one_exercise_says_what_it_would_not_have_seen() -> None:
    result = run("--kernel", "support.crosscheck.eager_kernels:right", "--exercise", "one token")
    assert result.exit_code == 0
    assert "1 exercises inside their bounds" not in prose(result)
    assert "would not have seen: " in prose(result)
    assert "token before" in prose(result)


def test_what_is_required_must_hold_bit_for_bit() -> None:
    asked = ["--kernel", "support.crosscheck.eager_kernels:right", "--exercise", "one token", "--require"]
    assert run(*asked, "deterministic,batch-invariant").exit_code == 0
    result = run(*asked, "packed-invariant")
    assert result.exit_code == 1
    assert "packed-invariant: not exercised" in prose(result)


def test_gradients_of_a_stranger_need_nothing_but_torch() -> None:
    asked = ["--exercise", "everything at once", "--gradients", "--json"]
    document = json.loads(run("--kernel", "support.crosscheck.eager_kernels:right", *asked).stdout)
    assert document["verdict"] == "right"
    assert {item["name"] for item in document["backward"]["comparisons"]} >= {"grad q", "grad k", "grad v"}
    result = run("--kernel", "support.crosscheck.eager_kernels:half_of_the_key_gradient", *asked)
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert any(item["explains"] for item in document["backward"]["explanations"])
    assert "the forward results given here are inside their bounds" in document["sentence"]


def test_a_kernel_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (TESTS / "support" / "crosscheck" / "eager_kernels.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    for name in ("mine:right", "mine.py:right"):
        assert run("--kernel", name, "--exercise", "one token").exit_code == 0

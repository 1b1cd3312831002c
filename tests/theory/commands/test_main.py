"""The command: exit codes, clean JSON on stdout, one clear line for every kind of wrong input."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.report.fake_verification import FakeVerification, bad, good
from typer.testing import CliRunner

from osdn_theory import __version__
from osdn_theory.commands import options
from osdn_theory.commands.console import Output, known_names, number_or, progress_bar, split_names
from osdn_theory.commands.main import app
from osdn_theory.verification import run as verification
from osdn_theory.verification.tightness import TIGHTENABLE

FAST = ["verify", "--stream", "scalar", "--bounds", "T5,T15"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def strict_json(text: str) -> Any:
    def refuse(literal: str) -> float:
        raise AssertionError(f"{literal} in JSON")

    return json.loads(text, parse_constant=refuse)


def give(monkeypatch: pytest.MonkeyPatch, result: FakeVerification) -> None:
    monkeypatch.setattr(verification, "verify", lambda **_: result)


@pytest.fixture
def activations(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "tiny.npz"
    np.savez(path, **{name: rng.normal(size=(1, 12, 2, 6)) for name in "qkv"})
    return path


def test_verify_prints_tables_and_writes_the_report(tmp_path: Path) -> None:
    result = run(*FAST, "--out", str(tmp_path / "report"))
    assert result.exit_code == 0, result.output
    assert "T5 Interpolating regret" in result.stdout
    assert "0 violated" in result.stdout
    page = (tmp_path / "report" / "index.html").read_text()
    assert "scalar" in page
    assert "T15" in page
    assert strict_json((tmp_path / "report" / "results.json").read_text())["seed"] == 0


def test_verify_json_is_pure_and_strict() -> None:
    result = run(*FAST, "--no-report", "--json", "--seed", "5")
    assert result.exit_code == 0
    document = strict_json(result.stdout)
    assert document["seed"] == 5
    assert {check["theorem"] for check in document["checks"]} == {"T5", "T15"}


def test_verify_passes_every_option_on(monkeypatch: pytest.MonkeyPatch, activations: Path) -> None:
    seen: dict[str, Any] = {}

    def fake(**options: Any) -> FakeVerification:
        options.pop("progress")("isotropic", 1, 2)
        seen.update(options)
        return good()

    monkeypatch.setattr(verification, "verify", fake)
    arguments = [
        "--stream",
        "Scalar,long",
        "--stream",
        "isotropic",
        "--bounds",
        "t5",
        "--seeds",
        "3",
        "--seed",
        "4",
    ]
    assert run("verify", *arguments, "--file", str(activations), "--no-report").exit_code == 0
    assert seen == {
        "streams": ["scalar", "long", "isotropic"],
        "file": activations,
        "bounds": ["T5"],
        "seeds": 3,
        "seed": 4,
    }


@pytest.mark.parametrize(("outcome", "code"), [("violated", 1), ("undecided", 3)])
def test_verify_exit_codes(monkeypatch: pytest.MonkeyPatch, outcome: str, code: int) -> None:
    give(monkeypatch, bad(outcome))
    result = run("verify", "--no-report")
    assert result.exit_code == code
    assert f"{outcome}: T8" in result.stdout
    assert "too wide: 1e-3" in result.stdout
    assert run("verify", "--no-report", "--json").exit_code == code


def test_verify_exits_0_where_all_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, good())
    result = run("verify", "--no-report", "--json")
    assert result.exit_code == 0
    assert strict_json(result.stdout)["checks"][0]["log10_slack"] == "inf"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "--stream", "isotropc"], "did you mean 'isotropic'?"),
        (["verify", "--stream", "zzz"], "Valid: isotropic, "),
        (["verify", "--bounds", "T5,T99"], "--bounds: unknown name 'T99'"),
        (["verify", "--file", "missing.npz", "--no-report"], "missing.npz"),
        (["verify", "--out", "/proc/none", "--stream", "scalar"], "cannot write to the folder '/proc/none'"),
        (["analyze", "missing.safetensors"], "missing.safetensors"),
        (["analyze", "--eta", "-1"], "eta: expected finite and >= 0"),
        (["analyze", "--d-min", "2", "--d-max", "1"], "the box is empty"),
        (["analyze", "--forgetting", "1.5"], "forgetting: expected values in (0, 1]"),
        (["analyze", "--forgetting", "often"], "--forgetting: expected a number or 'token', got 'often'"),
        (["analyze", "--forgetting", "token", "--layer", "layer0"], "forget"),
        (["analyze", "--anchor", "x"], "--anchor: expected a number or 'initial'"),
        (["analyze", "--beta", "x"], "--beta: expected a number or 'random'"),
        (["analyze", "--layer", "layer9"], "layer9"),
        (["analyze", "--layer", "layer0", "--out", "/proc/none"], "cannot write to the folder"),
        (["converge", "--rule", "ful"], "did you mean 'full'?"),
        (["converge", "--condition", "0.5"], "condition: expected >= 1"),
        (["converge", "--steps", "2", "--out", "/proc/none"], "cannot write to the folder"),
        (["tighten", "--bounds", "T3"], "--bounds: unknown name 'T3'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["verify", "--seeds", "0"], ["verify", "--nonsense"], ["nonsense"], ["converge", "--steps", "-1"], []],
)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.output


def test_debug_lets_the_error_through() -> None:
    result = run("--debug", "analyze", "--eta", "-1")
    assert isinstance(result.exception, ValueError)


def test_an_internal_error_is_not_dressed_up_as_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise AssertionError("a defect")

    monkeypatch.setattr(verification, "verify", broken)
    assert isinstance(run("verify", "--no-report").exception, AssertionError)


def test_version_and_help() -> None:
    assert run("--version").stdout == f"osdn-theory {__version__}\n"
    result = run("--help")
    assert result.exit_code == 0
    for name in ("verify", "analyze", "converge", "central", "bench", "tighten", "streams"):
        assert name in result.stdout


def test_streams_lists_every_stream() -> None:
    assert strict_json(run("streams", "--json").stdout) == dict(verification.STREAM_DESCRIPTIONS)
    table = run("streams").stdout
    assert all(name in table for name in verification.STREAM_NAMES)


def test_analyze_reports_every_head(activations: Path, tmp_path: Path) -> None:
    arguments = ["analyze", str(activations), "--eta", "0.5", "--forgetting", "0.9", "--anchor", "initial"]
    result = run(*arguments, "--silu", "--beta", "random", "--json", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    document = strict_json(result.stdout)
    assert document["rule"]["eta"] == 0.5
    assert document["rule"]["anchor"] == "initial"
    assert [head["index"] for head in document["heads"]] == [[0, 0], [0, 1]]
    assert {check["theorem"] for check in document["checks"]} >= {"T5", "T19"}
    assert strict_json((tmp_path / "out" / "analysis.json").read_text()) == document


def test_analyze_prints_a_row_per_head_and_the_bounds(activations: Path) -> None:
    with_bounds = run("analyze", str(activations))
    assert with_bounds.exit_code == 0, with_bounds.output
    assert "[0,1]" in with_bounds.stdout
    assert "T19" in with_bounds.stdout
    assert "T19" not in run("analyze", str(activations), "--no-bounds").stdout


def test_analyze_defaults_to_the_packaged_activations() -> None:
    result = run("analyze", "--layer", "layer0", "--no-bounds", "--json")
    heads = strict_json(result.stdout)["heads"]
    assert len(heads) == 12
    assert heads[0]["stream"] == "minilm/layer0"


def test_converge_writes_figures_and_data(tmp_path: Path) -> None:
    arguments = ["converge", "--condition", "2", "--condition", "3", "--steps", "40", "--key-dim", "3"]
    result = run(*arguments, "--rule", "gradient,full", "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    document = strict_json(result.stdout)
    assert set(document) == {"2", "3"}
    assert set(document["2"]["log10_suboptimality"]) == {"gradient", "full"}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "convergence-2.png",
        "convergence-2.svg",
        "convergence-3.png",
        "convergence-3.svg",
        "convergence.json",
    ]
    assert strict_json((tmp_path / "convergence.json").read_text()) == document


def test_converge_table_says_where_the_bound_is_vacuous(tmp_path: Path) -> None:
    arguments = ["converge", "--condition", "3", "--key-dim", "2", "--no-rotate", "--out", str(tmp_path)]
    result = run(*arguments, "--steps", "30")
    assert "vacuous until step" in result.stdout
    assert "vacuous until T >" in result.stdout
    assert "none" in result.stdout
    assert "convergence-3.png" in result.stdout
    assert "vacuous throughout" in run(*arguments, "--steps", "1").stdout


def test_bench_quick() -> None:
    assert strict_json(run("bench", "--quick", "--json").stdout)["quick"] is True
    table = run("bench", "--quick").stdout
    assert "scan: bounded" in table
    assert "chunk: speedup" in table


def test_tighten_reports_the_slack() -> None:
    few = ["--restarts", "1", "--evaluations", "20"]
    (found,) = strict_json(run("tighten", "--bounds", "t5", *few, "--json").stdout)["results"]
    assert found["theorem"] == "T5"
    assert found["slack"] >= 1 - 1e-9
    table = run("tighten", "--bounds", "T10,T28", *few).stdout
    assert "T10" in table
    assert "not searched" in table
    assert "T5" in TIGHTENABLE


def test_names_keep_the_valid_spelling() -> None:
    assert known_names("--x", None, ["A"]) is None
    assert known_names("--x", ["a, b", "A"], ["A", "B"]) == ["A", "B", "A"]
    assert split_names(["a,,b "]) == ["a", "b"]
    assert split_names([]) is None
    assert number_or("--x", "0.5", []) == 0.5
    assert number_or("--x", None, []) is None
    assert number_or("--x", "token", ["token"]) == "token"


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress("[red]name", 1, 2)
    captured = capsys.readouterr()
    assert captured.out == captured.err.strip() == ""


COMMAND = str(Path(sys.executable).with_name("osdn-theory"))


def test_installed_command_in_its_own_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, *FAST, "--json", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert strict_json(done.stdout)["command"].startswith("osdn-theory verify --stream scalar")
    assert (tmp_path / "index.html").exists()
    failed = subprocess.run(
        [COMMAND, "analyze", "no.npz"], capture_output=True, text=True, check=False, timeout=60
    )
    assert failed.returncode == 2
    assert failed.stderr == "error: no.npz: no such file\n"


def test_the_package_runs_as_the_command() -> None:
    for arguments, said in (
        (["--version"], f"osdn-theory {__version__}\n"),
        (["streams", "--json"], "isotropic"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "osdn_theory", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert said in done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "osdn_theory", "nonsense"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "Usage: osdn-theory" in wrong.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [COMMAND, "streams"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "scipy", "sympy", "numba", "matplotlib", "torch", "triton", "flint", "threadpoolctl")
    code = (
        "import sys; from typer.testing import CliRunner; from osdn_theory.commands.main import app;"
        "names = [command.callback.__name__ for command in app.registered_commands];"
        "helps = [['--help'], *([name, '--help'] for name in names)];"
        "assert len(names) == 12 and not any(CliRunner().invoke(app, help).exit_code for help in helps);"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_a_broken_pipe_is_not_mistaken_for_a_violation() -> None:
    with pytest.raises(BrokenPipeError):
        Output().on_broken_pipe()


def test_the_table_of_options_has_no_row_that_no_command_reads() -> None:
    commands = {command.callback.__name__: command.callback for command in app.registered_commands}
    for name, rows in options._TABLE.items():
        assert set(rows) <= set(inspect.signature(commands[name]).parameters)


def test_a_parameter_without_a_row_is_an_error() -> None:
    def bench(quick: bool = False, new: int = 0) -> None: ...

    with pytest.raises(KeyError, match="new"):
        options.described(bench)

"""converge and central: contexts from files, figures named after what they show, wrong sources in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.context.convergence import LABELS, context_convergence
from osdn_theory.measures.central import central_streams
from osdn_theory.measures.token_curves import token_curves

KEYS = np.random.default_rng(0).normal(size=(9, 3))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def matrix(tmp_path: Path) -> str:
    path = tmp_path / "mine.csv"
    np.savetxt(path, KEYS, delimiter=",", fmt="%.17g")
    return str(path)


@pytest.fixture
def activations(tmp_path: Path) -> str:
    rng = np.random.default_rng(1)
    path = tmp_path / "tiny.npz"
    np.savez(path, **{name: rng.normal(size=(1, 9, 2, 4)) for name in "qkv"})
    return str(path)


def test_a_matrix_of_keys(matrix: str, tmp_path: Path) -> None:
    result = run(
        "converge", matrix, "--steps", "5", "--value-dim", "2", "--seed", "3", "--out", str(tmp_path / "a")
    )
    assert result.exit_code == 0, result.output
    values = np.random.default_rng(3).normal(size=(9, 2))
    expected = context_convergence(KEYS, values, steps=5).as_dict()
    document = json.loads((tmp_path / "a" / "convergence.json").read_text())
    assert document["mine"]["log10_suboptimality"] == expected["log10_suboptimality"]
    for name in ("convergence-mine.png", "convergence-mine.svg", "convergence.json"):
        assert f"written: {tmp_path / 'a' / name}\n" in result.stdout
        assert (tmp_path / "a" / name).exists()
    assert "mine full" in result.stdout


def test_a_gram_matrix_has_the_rates_of_its_keys(matrix: str, tmp_path: Path) -> None:
    gram = tmp_path / "g.npy"
    np.save(gram, KEYS.T @ KEYS)
    common = ("--steps", "8", "--rule", "full", "--json", "--out", str(tmp_path / "b"))
    first, second = (
        json.loads(run("converge", *source, *common).stdout) for source in ([matrix], [str(gram), "--gram"])
    )
    assert second["g"]["vacuous_sum"]["full"] == pytest.approx(first["mine"]["vacuous_sum"]["full"])
    assert second["g"]["parameters"]["condition"] == pytest.approx(first["mine"]["parameters"]["condition"])


def test_a_head_of_activations(activations: str, tmp_path: Path) -> None:
    common = ("--steps", "3", "--json", "--out", str(tmp_path / "c"))
    (name,) = json.loads(run("converge", activations, *common).stdout)
    assert name == "tiny/layer0[0,0]"
    (name,) = json.loads(run("converge", activations, "--layer", "0", "--head", "0,1", *common).stdout)
    assert name == "tiny/layer0[0,1]"
    assert (tmp_path / "c" / "convergence-tiny-layer0-0-1.png").exists()


def test_gradient_descent_is_not_called_delta_net() -> None:
    assert not [label for label in LABELS.values() if "DeltaNet" in label]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{matrix}", "--condition", "3"], "--condition: a file has its own"),
        (["{matrix}", "--key-dim", "3"], "--key-dim: a file has its own"),
        (["{matrix}", "--gram"], "mine.csv: expected a square matrix, got shape (9, 3)"),
        (["{matrix}", "--head", "0,0"], "has no layers and heads"),
        (["{activations}", "--head", "0,5"], "head: expected (batch, head) below (1, 2), got (0, 5)"),
        (["{activations}", "--head", "first"], "--head: expected numbers such as 0,3, got 'first'"),
        (["{activations}", "--layer", "9"], "no layer9"),
        (["{activations}", "--value-dim", "3"], "has values"),
        (["{activations}", "--gram"], "expected one matrix, the Gram matrix"),
        (["--gram"], "--gram: expected a file as well"),
        (["--head", "0,0"], "--head: expected a file as well"),
        (["--layer", "0"], "--layer: expected a file as well"),
        (["--rule", ","], "--rule: expected at least one name"),
        (["--eta", "nan"], "eta: expected finite numbers, got nan"),
    ],
)
def test_wrong_sources_are_one_line(
    arguments: list[str], message: str, matrix: str, activations: str, tmp_path: Path
) -> None:
    given = [part.format(matrix=matrix, activations=activations) for part in arguments]
    result = run("converge", *given, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_central_writes_its_figures_and_their_data(tmp_path: Path) -> None:
    small = ["--tokens", "30", "--key-dim", "6", "--steps", "20", "--seeds", "2", "--seed", "1"]
    result = run("central", *small, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    names = ["central-narrow.png", "central.json", "central.png", "tokens.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(f"written: {tmp_path / name}\n" in result.stdout for name in names)
    document = json.loads((tmp_path / "central.json").read_text())
    curves = token_curves(central_streams(1, key_dim=6, length=30, seeds=2)["isotropic"])
    assert document["tokens"]["isotropic"] == json.loads(json.dumps(curves.as_dict()))
    assert document["contexts"]["count"] == 2
    (row,) = (line for line in result.stdout.splitlines() if "│ isotropic" in line and "η = 1/M" in line)
    assert f"{np.median(curves.log10_product['osdn'][:, -1]):.4g}" in row
    assert f"{np.median(curves.log10_bound['osdn'][:, -1]):.4g}" in row

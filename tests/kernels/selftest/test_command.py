"""The self-test: it reaches every kernel, and what is broken, unwritten or not launched does not pass."""

import json
from dataclasses import replace

import pytest
import torch
from osdn_kernels.boundary.results import State
from osdn_kernels.chunk.feature.pairs import REACH
from osdn_kernels.chunk.state import CHAIN
from osdn_kernels.launch import precompile
from osdn_kernels.launch.forced import forced
from osdn_kernels.launch.tuning import TUNED, configurations, fitting, unrolled
from osdn_kernels.selftest import (
    cases as selftest_cases,
    decode as selftest_decode,
    determinism as selftest_determinism,
    planned as selftest_planned,
    runs as selftest_runs,
)
from osdn_kernels.selftest.cases import CASES, SLOW, draw, evaluate, scan_paths, split
from osdn_kernels.selftest.command import app
from osdn_kernels.selftest.findings import FAILED, OK, UNREACHED, WRONG
from support.kernels.compiler_process import outside_of_the_interpreter
from support.kernels.faults import FAULTS, break_kernel
from typer.testing import CliRunner

TINY = {"key_dim": 16, "value_dim": 16, "lengths": (18, 1)}
CHUNK, NORM = (next(case for case in CASES if case.name == name) for name in ("chunk bf16", "norm bf16"))


class StopHereError(Exception):
    """Raised in the place of a pool."""


def tiny(case, **changes):
    return replace(case, **{**TINY, **changes})


def verdicts(findings):
    return {finding.verdict for finding in findings}


@pytest.mark.slow
def test_every_kernel_is_reached_and_right():
    findings = list(selftest_runs.run_all(quick=False, workers=1))
    assert verdicts(findings) == {OK}
    repeated = set(selftest_determinism.OPERATORS.values())
    planned = {f"{case.operator}, planned" for case in selftest_planned.cases()}
    assert {finding.kernel for finding in findings} == {*TUNED, "decode_kernel", *repeated, *planned}
    for finding in findings:
        assert 0.0 < finding.error <= finding.allowed or finding.kernel in repeated | planned
    assert len([f for f in findings if "chunks clip" in f.note]) == sum(c.operator == "chunk" for c in CASES)


def test_kernels_that_no_case_runs_are_told():
    _, findings = selftest_runs.expect(tiny(NORM))
    assert verdicts(findings) == {OK}
    missed = selftest_runs.unreached(findings)
    assert verdicts(missed) == {UNREACHED}
    assert {f.kernel for f in findings} == {"norm_kernel", "norm_backward_kernel"}
    assert {f.kernel for f in missed} == set(TUNED) - {f.kernel for f in findings}


def test_processes_are_spread_over_the_gpus(monkeypatch):
    """Those that compile first, and those that run."""
    asked = []

    def pool(workers, device="cpu"):
        asked.append((workers, device))
        raise StopHereError

    monkeypatch.setattr(precompile, "pool_of", pool)
    monkeypatch.setattr(selftest_runs, "pool_of", pool)
    monkeypatch.setattr(selftest_runs, "device", lambda: torch.device("cuda"))
    with pytest.raises(StopHereError):
        next(selftest_runs.spread([], 4))
    monkeypatch.setattr(selftest_runs, "precompile", lambda *args, **options: 0)
    with pytest.raises(StopHereError):
        next(selftest_runs.spread([], 4))
    assert asked == [(4, "cuda"), (4, "cuda")]


def test_a_case_says_which_way_its_scan_went():
    """Steps of 1/20 are swept, those of the fast rule stepped."""
    for options, sweeps in ((SLOW, 2), ({}, 0)):
        problem = draw(tiny(CHUNK, lengths=(70, 33), options=options | {"chunk_size": 16}))
        assert scan_paths(problem, torch.device("cpu")).endswith(f"chunks clip, {sweeps} sweeps, 0 left open")
    assert scan_paths(draw(tiny(NORM)), torch.device("cpu")) == ""


def test_strong_gates_are_met_both_ways():
    """A block of 16 tokens at once and, where a slice of features fades by more than e^-60, half by half."""
    most = {}
    for name in ("chunk OS-KDA bf16", "chunk OS-KDA bf16, strong gates"):
        case = next(case for case in CASES if case.name == name)
        first = sum(case.lengths[:3])
        gates = draw(case).tensors["g"][0, first : first + 128]
        most[name] = -gates.unflatten(0, (8, 16)).sum(1).unflatten(-1, (4, 32)).amin(-1)
    weak, strong = most.values()
    assert weak.max() <= REACH.value
    assert (strong > REACH.value).any()
    assert (strong <= REACH.value).any()


@pytest.mark.parametrize("fault", ["the last partial chunk is dropped", "the erase term is lost backward"])
def test_a_broken_kernel_is_found_wrong(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, *FAULTS[fault])
    _, findings = selftest_runs.expect(tiny(CHUNK, lengths=(70, 33)))
    assert verdicts(findings) == {WRONG}


def test_the_decoding_step_is_checked(monkeypatch):
    assert verdicts(selftest_decode.findings(torch.device("cpu"))) == {OK}
    step = selftest_decode.decode_step_

    def without_the_anchor(*args, anchor, **kwargs):
        return step(*args, **kwargs)

    def writes_nowhere(*args, state, **kwargs):
        return step(*args, state=State(*map(torch.clone, state)), **kwargs)

    def fails(*args, **kwargs):
        raise RuntimeError("no such instruction")

    for broken, verdict in ((without_the_anchor, WRONG), (writes_nowhere, WRONG), (fails, FAILED)):
        monkeypatch.setattr(selftest_decode, "decode_step_", broken)
        assert verdicts(selftest_decode.findings(torch.device("cpu"))) == {verdict}


def test_processes_find_the_same(monkeypatch):
    monkeypatch.setattr(selftest_decode, "cases", list)
    monkeypatch.setattr(selftest_determinism, "cases", list)
    monkeypatch.setattr(selftest_planned, "cases", list)
    case = tiny(NORM)
    found = list(selftest_runs.spread([case, replace(tiny(CHUNK), options={"chunk_size": 7})], 2))
    assert {f for f in found if f.case == case.name and f.verdict == OK} == set(selftest_runs.expect(case)[1])
    (broken,) = (f for f in found if f.verdict != OK)
    assert (broken.verdict, broken.good) == (FAILED, False)


def test_what_is_not_written_is_found():
    """Poisoned memory: PyTorch's allocator hands out NaN."""
    with selftest_runs.poisoned():
        assert torch.empty(100).isnan().all()
    case = tiny(NORM)
    values = evaluate(draw(case), torch.device("cpu"), exact=True)
    found = {name: x.clone() for name, x in values.items()}
    found["y"][0, -1, 0, 3] = torch.nan
    assert selftest_runs.errors(found, values, case, 1)["y"] == float("inf")


@pytest.mark.slow
def test_the_factor_covers_write_keys_that_are_stored_once_more():
    """d = 1/2 leaves write keys exact, d = 0.507 rounds them: the same system otherwise."""

    def errors(d):
        case = replace(CHUNK, key_dim=16, value_dim=16, lengths=(20, 1, 0, 35), gated=False)
        case = replace(case, options={"d_min": d, "d_max": d})
        problem = draw(case)
        problem.tensors["initial_preconditioner"].fill_(d)
        exact, found = (evaluate(problem, torch.device("cpu"), exact=each) for each in (True, False))
        compared = selftest_runs.errors(found, exact, case, 1)
        return {n: compared[n] for n in ("o", "state", "grad q", "grad k", "grad v", "grad beta")}

    stored, plain = errors(0.507), errors(0.5)
    ratios = {name: stored[name] / plain[name] for name in plain}
    assert 1.3 < max(ratios.values()) < selftest_runs.FACTOR


def test_the_worst_repetition_counts():
    case = tiny(NORM)
    values = evaluate(draw(case), torch.device("cpu"), exact=True)
    repeated = {name: torch.cat([x, x], 1) for name, x in values.items()}
    assert split(repeated, case, 2)["y"].shape[0] == 2
    assert max(selftest_runs.errors(repeated, values, case, 2).values()) == 0.0
    repeated["y"][:, -19:] *= 1.5
    assert selftest_runs.errors(repeated, values, case, 2)["y"] == pytest.approx(0.5)


def test_a_failure_is_a_finding(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such instruction")

    expected, _ = selftest_runs.expect(tiny(NORM))
    monkeypatch.setattr(selftest_runs, "evaluate", fail)
    (finding,) = selftest_runs.judge(expected, {}, ["norm_kernel"])
    assert (finding.verdict, finding.good) == (FAILED, False)
    assert "no such instruction" in finding.note


def test_a_configuration_that_was_not_launched_is_no_success():
    expected, _ = selftest_runs.expect(tiny(NORM))
    (finding,) = selftest_runs.judge(expected, {}, ["memory_kernel"])
    assert finding.verdict == FAILED
    assert finding.note == "another configuration was launched"


def test_forcing_takes_the_configuration_named_and_puts_all_back(monkeypatch):
    kernel = TUNED["norm_kernel"]
    several = configurations([{"ROWS": 16}, {"ROWS": 64}])
    monkeypatch.setattr(kernel, "configs", several)
    case = tiny(NORM)
    with forced({"norm_kernel": 1}) as launches:
        evaluate(draw(case), torch.device("cpu"))
    assert launches["norm_kernel"] is several[1]
    assert list(launches) == ["norm_kernel", "norm_backward_kernel"]
    assert kernel.configs is several
    assert "run" not in vars(kernel)


def test_tiles_wider_than_the_tensors_are_left_out():
    configs = configurations([{"BK": 64}, {"BK": 128}])
    assert fitting(configs, {}, K=128) == configs
    assert fitting(configs, {}, K=40) == configs[:1]
    assert fitting(configs, {}, K=20) == configs[:1]


@pytest.mark.parametrize("width", [16, 32, 64, 128])
def test_a_launch_beside_others_has_one_configuration_of_its_width(width):
    """It would wait for ever while others are measured."""
    (config,) = fitting(CHAIN, {}, K=128, V=128, BESIDE=width)
    assert config.kwargs["BV"] == width
    assert len(fitting(CHAIN, {}, K=128, V=128, BESIDE=0)) > 4
    assert len(fitting(CHAIN, {}, K=128, V=128, BESIDE=width, PRECISION="ieee")) == 1


def test_products_in_full_float32_have_configurations_of_their_own():
    for_tensor_cores, for_float32 = configurations([{"BK": 64}, {"BK": 128}]), unrolled(BK=32)
    both = for_tensor_cores + for_float32
    assert fitting(both, {}, K=128, PRECISION="ieee") == for_float32
    assert fitting(both, {}, K=16, PRECISION="ieee") == for_float32
    for precision in ({}, {"PRECISION": "tf32"}, {"PRECISION": "tf32x3"}):
        assert fitting(both, {}, K=128, **precision) == for_tensor_cores
    assert fitting(for_tensor_cores, {}, K=128, PRECISION="ieee") == for_tensor_cores


def test_the_command_says_and_writes_what_it_found(monkeypatch, tmp_path):
    monkeypatch.setattr(selftest_determinism, "cases", list)
    monkeypatch.setattr(selftest_planned, "cases", list)
    monkeypatch.setattr(selftest_runs, "CASES", [NORM])
    monkeypatch.setattr(selftest_cases, "SMALL", TINY)
    document = tmp_path / "found.json"
    result = CliRunner().invoke(app, ["--json", str(document)])
    assert result.exit_code == 1  # every other kernel was not reached
    assert UNREACHED in result.output
    written = json.loads(document.read_text())
    assert {f["verdict"] for f in written["findings"]} == {OK, UNREACHED}
    assert written["environment"]["device"] == "Triton's interpreter"
    assert written["complete"]


def test_a_killed_run_keeps_its_findings(monkeypatch, tmp_path):
    def killed(**options):
        yield from selftest_runs.expect(tiny(NORM))[1]
        raise KeyboardInterrupt

    monkeypatch.setattr(selftest_runs, "run_all", killed)
    document = tmp_path / "found.json"
    CliRunner().invoke(app, ["--json", str(document)])
    written = json.loads(document.read_text())
    assert len(written["findings"]) == 2
    assert not written["complete"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problem", "none"], "is none of"),
        (["--compile", "90"], "interpreter"),
        (["--workers", "-1"], "workers"),
    ],
)
def test_bad_usage(arguments, message):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_problem_runs_alone():
    result = CliRunner().invoke(app, ["--problem", "preconditioner bf16"])
    assert result.exit_code == 0
    assert "preconditioner bf16: ran adjoint_kernel, chain_kernel, " in result.output
    assert "nothing was compared" in result.output


REACHED = """
from osdn_kernels.machine_code.compiling import jobs
from osdn_kernels.launch.tuning import TUNED, Unrolled

every = jobs(90, quick=False)
reached = {(job.launch.kernel, job.index) for job in every}
assert reached >= {(name, i) for name, kernel in TUNED.items() for i in range(len(kernel.configs))}
for job in every:
    configs = TUNED[job.launch.kernel].configs if job.launch.kernel in TUNED else []
    if any(isinstance(config, Unrolled) for config in configs):
        full = dict(job.launch.constants)["PRECISION"] == "ieee"
        assert isinstance(configs[job.index], Unrolled) == full, job
"""

COMPILE = """
import sys
from dataclasses import replace
from osdn_kernels.machine_code.compiling import compile_job, jobs
from osdn_kernels.launch.tuning import TUNED
from osdn_kernels.selftest.findings import NO_ROOM

capability = int(sys.argv[1])
asked = jobs(capability, quick=True)
first = {job.launch.kernel: job for job in reversed(asked)}
elsewhere = set() if capability == 90 else {"hopper_memory_kernel"}
assert set(first) == {*TUNED, "decode_kernel"} - elsewhere, set(first)
for one in first.values():
    # Of an older GPU's shared memory the first may ask too much.
    tried = (compile_job(job) for job in asked if job.launch == one.launch)
    found = next(finding for finding in tried if finding.verdict != NO_ROOM)
    assert found.verdict == "ok", found
launch = first["norm_kernel"].launch
types = tuple((name, type.replace("bf16", "i64")) for name, type in launch.types if name != "rows")
assert compile_job(replace(first["norm_kernel"], launch=replace(launch, types=types))).verdict == "FAILED"
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_every_kernel_compiles_for_gpus_that_are_not_here(capability):
    """The first configuration of each that fits, outside of the interpreter; and what cannot compile is told."""
    outside_of_the_interpreter(COMPILE, capability)


def test_the_cases_launch_every_configuration_in_its_precision():
    outside_of_the_interpreter(REACHED)

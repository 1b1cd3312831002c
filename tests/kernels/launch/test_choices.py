"""Tuned choices: found again by whom they were made for, and by nobody else; broken files do no harm."""

import json
import warnings

import pytest
from osdn_kernels.launch import choices
from osdn_kernels.launch.choices import Launch
from support.kernels.compiler_process import outside_of_the_interpreter

LAUNCH = Launch("a card", "3.6.0", "kernel", "digest", '{"K": 64}')
OTHER = {name: LAUNCH._replace(**{name: "another"}) for name in Launch._fields}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A shipped file and one to add to, both empty; `choices` forgets what it has read."""
    shipped, kept = tmp_path / "shipped.jsonl", tmp_path / "cache" / "kept.jsonl"
    monkeypatch.setattr(choices, "SHIPPED", shipped)
    monkeypatch.setattr(choices, "kept", lambda: kept)
    choices.known.cache_clear()
    yield shipped, kept
    choices.known.cache_clear()


def test_a_choice_is_found_by_a_later_process(files):
    choices.keep(LAUNCH, {"BV": 64, "num_warps": 4}, {"BV: 64": 0.5, "BV: 32": 0.75})
    assert choices.find(LAUNCH) == {"BV": 64, "num_warps": 4}
    choices.known.cache_clear()
    assert choices.find(LAUNCH) == {"BV": 64, "num_warps": 4}
    (line,) = filter(None, files[1].read_text().splitlines())
    assert json.loads(line)["milliseconds"] == {"BV: 64": 0.5, "BV: 32": 0.75}


@pytest.mark.parametrize("name", Launch._fields)
def test_a_choice_is_for_its_card_triton_source_and_purpose_alone(name, files):
    choices.keep(LAUNCH, {"BV": 64}, {})
    assert choices.find(OTHER[name]) is None
    choices.known.cache_clear()
    assert choices.find(OTHER[name]) is None


def test_what_was_kept_here_counts_more_than_what_was_shipped(files):
    shipped, kept = files
    choices.keep(LAUNCH, {"BV": 64}, {})
    shipped.write_text(kept.read_text())
    choices.keep(LAUNCH, {"BV": 32}, {})
    choices.known.cache_clear()
    assert choices.find(LAUNCH) == {"BV": 32}
    kept.unlink()
    choices.known.cache_clear()
    assert choices.find(LAUNCH) == {"BV": 64}


BROKEN = {
    "cut off": '{"card": "a card", "triton": "3.6',
    "not JSON": "\0\1\2",
    "a number": "3",
    "no config": json.dumps(LAUNCH._asdict()),
    "a config that is a number": json.dumps({**LAUNCH._asdict(), "config": 3}),
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_line_is_ignored_with_a_warning(fault, files):
    choices.keep(LAUNCH, {"BV": 64}, {})
    with files[1].open("a", errors="surrogateescape") as target:
        target.write(BROKEN[fault])
    choices.keep(LAUNCH._replace(kernel="next"), {"BV": 16}, {})
    choices.known.cache_clear()
    with pytest.warns(UserWarning, match="1 lines are no tuned choices and are ignored"):
        assert choices.find(LAUNCH) == {"BV": 64}
    assert choices.find(LAUNCH._replace(kernel="next")) == {"BV": 16}


def test_a_file_that_cannot_be_read_or_written_is_done_without(files):
    files[1].parent.mkdir()
    files[1].mkdir()
    with pytest.warns(UserWarning, match="cannot be read"):
        assert choices.find(LAUNCH) is None
    with pytest.warns(UserWarning, match="cannot be kept"):
        choices.keep(LAUNCH, {"BV": 64}, {})
    assert choices.find(LAUNCH) == {"BV": 64}


def test_no_file_is_no_fault(files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choices.find(LAUNCH) is None


def test_what_is_shipped_can_be_read():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shipped = list(choices.read(choices.SHIPPED))
    assert all(config["num_warps"] in (1, 2, 4, 8, 16) for _, config in shipped)


DIGESTS = """
import importlib.util
import sys
from pathlib import Path
from osdn_kernels.launch.choices import digest

TEXT = '''import triton
import triton.language as tl


@triton.jit
def inner(x):
    return x + 1


@triton.jit
def unused(x):
    return x


@triton.jit
def kernel(p):
    x = tl.load(p)
    tl.store(p, inner(x))
'''


def digest_of(text, name):
    path = Path(sys.argv[1]) / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return digest(module.kernel)


base = digest_of(TEXT, "base")
same = {
    "moved": "\\n\\n# above\\n" + TEXT,
    "commented": TEXT.replace("x = tl.load(p)", "x = tl.load(p)  # here"),
    "another function": TEXT.replace("    return x\\n", "    return -x\\n"),
    "broken over lines": TEXT.replace("inner(x))", "\\n        inner(x)\\n    )"),
}
other = {
    "body": TEXT.replace("tl.load(p)", "tl.load(p + 1)"),
    "callee": TEXT.replace("x + 1", "x + 2"),
    "nesting": TEXT.replace("    tl.store(p, inner(x))", "    if True:\\n        tl.store(p, inner(x))"),
}
for name, text in same.items():
    assert digest_of(text, name.replace(" ", "_")) == base, name
for name, text in other.items():
    assert digest_of(text, name) != base, name
print(base)
"""


def test_a_digest_changes_with_what_a_kernel_does_alone(tmp_path):
    first = outside_of_the_interpreter(DIGESTS, tmp_path)
    assert len(first.strip()) == 16
    assert outside_of_the_interpreter(DIGESTS, tmp_path) == first


SHIPPING = """
import json
import sys
from pathlib import Path
from osdn_kernels import ops
from osdn_kernels.launch import choices
from osdn_kernels.layers.norm import norm_kernel
from osdn_kernels.launch.tuning import function_of

choices.SHIPPED = Path(sys.argv[1]) / "shipped.jsonl"
right = {"card": "a card", "triton": "3.6.0", "kernel": "norm_kernel", "key": "{}",
         "source": choices.digest(function_of(norm_kernel)), "config": norm_kernel.configs[1].all_kwargs()}
wrong = [
    {**right, "key": "1", "source": "another"},
    {**right, "key": "2", "kernel": "no_kernel"},
    {**right, "key": "3", "config": {**right["config"], "ROWS": 7}},
]
given = Path(sys.argv[1]) / "given.jsonl"
given.write_text("".join(json.dumps(line) + chr(10) for line in [right, *wrong]))
choices.ship(str(given))
assert [launch.key for launch, _ in choices.read(choices.SHIPPED)] == ["{}"]
given.write_text(json.dumps({**right, "card": "another card"}))
choices.ship(str(given))
assert [launch.card for launch, _ in choices.read(choices.SHIPPED)] == ["a card", "another card"]
"""


def test_what_is_out_of_date_is_not_shipped(tmp_path):
    outside_of_the_interpreter(SHIPPING, tmp_path)


TUNING = """
import sys
from types import SimpleNamespace

import torch
import triton
from osdn_kernels.launch import choices, precompile, runtime, tuning
from osdn_kernels.layers.norm import norm_kernel
from osdn_kernels.launch.tuning import TUNED
from triton.runtime.jit import JITFunction

choices.card = lambda: sys.argv[1]
launched, measured, compiled = [], [], []


def run(function, *args, grid, warmup, **kwargs):
    (compiled if warmup else launched).append(kwargs["ROWS"])


JITFunction.run = run
for kernel in TUNED.values():
    kernel._do_bench = lambda call, quantiles: measured.append(1) or [float(len(measured))] * 3

x = torch.ones(4, 64)
if sys.argv[2:] == ["one fits"]:
    norm_kernel.early_config_prune = lambda configs, named_args, **options: configs[2:3]
if sys.argv[2:] == ["untuned"]:
    with tuning.untuned():
        norm_kernel[(1,)](x, x, x, 4, K=64, BK=64)
        precompile.compile_ahead(lambda: norm_kernel[(1,)](x, x, x, 4, K=64, BK=64))
    print(len(measured), len(launched), len(compiled), norm_kernel.best_config == norm_kernel.configs[0])
    norm_kernel[(1,)](x, x, x, 4, K=64, BK=64)
    print(len(measured))
elif sys.argv[2:] == ["ahead"]:
    precompile.compile_ahead(lambda: norm_kernel[(1,)](x, x, x, 4, K=64, BK=64))
    assert not launched and not measured
    print(len(compiled))
else:
    norm_kernel[(1,)](x, x, x, 4, K=64, BK=64)
    norm_kernel[(1,)](x, x, x, 5, K=64, BK=64)
    print(len(measured), launched)
"""


@pytest.mark.slow
def test_a_later_process_measures_nothing_on_the_same_card_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    everything = outside_of_the_interpreter(TUNING, "a card", "ahead")
    assert int(everything) == 4
    # Nothing is kept of it, neither there nor on disk.
    assert outside_of_the_interpreter(TUNING, "a card", "untuned").split() == ["0", "1", "1", "True", "4"]
    (tmp_path / "osdn-tuned.jsonl").unlink()
    assert outside_of_the_interpreter(TUNING, "a card").startswith("4 ")
    again = outside_of_the_interpreter(TUNING, "a card")
    assert again.startswith("0 ")
    # Without tuning, too, what was chosen is taken: the first that was measured was the fastest.
    assert outside_of_the_interpreter(TUNING, "a card", "untuned").split() == ["0", "1", "1", "True", "0"]
    assert outside_of_the_interpreter(TUNING, "a card", "ahead").strip() == "1"
    assert outside_of_the_interpreter(TUNING, "another card").startswith("4 ")
    file = tmp_path / "osdn-tuned.jsonl"
    gone = file.read_text().replace('"ROWS": ', '"ROWS": 9')
    file.write_text(gone)  # configurations that the kernel no longer has
    assert outside_of_the_interpreter(TUNING, "a card").startswith("4 ")


def test_where_one_configuration_fits_nothing_is_measured_or_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert outside_of_the_interpreter(TUNING, "a card", "one fits").startswith("0 ")
    assert not (tmp_path / "osdn-tuned.jsonl").exists()


STALE = """
import sys
from pathlib import Path
from osdn_kernels.launch import choices
for launch, config in choices.read(Path(sys.argv[1])):
    if not choices.is_up_to_date(launch, config):
        print(launch.kernel, launch.source, config["num_warps"])
"""


def test_what_is_shipped_is_for_the_kernels_as_they_are(tmp_path):
    assert outside_of_the_interpreter(STALE, choices.SHIPPED) == ""
    line = json.loads(choices.SHIPPED.read_text().splitlines()[0])
    source = line | {"source": "of-before"}
    configuration = line | {"config": line["config"] | {"num_warps": 3}}
    other = tmp_path / "other.jsonl"
    other.write_text("".join(f"{json.dumps(each)}\n" for each in (source, line, configuration)))
    assert outside_of_the_interpreter(STALE, other).splitlines() == [
        f"{line['kernel']} of-before {line['config']['num_warps']}", f"{line['kernel']} {line['source']} 3",
    ]  # fmt: skip

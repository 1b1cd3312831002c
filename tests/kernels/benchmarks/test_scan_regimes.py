"""The calls whose kernels are timed in every regime."""

import pytest
import torch
from osdn_kernels.benchmarks import scan_regimes
from osdn_kernels.benchmarks.scan_regimes import BOXES, draw

SIZES = (1, 20, 1, 16)


@pytest.mark.parametrize("regime", BOXES)
def test_every_regime_is_a_call(regime):
    call, both = draw(regime, *SIZES, grad=False, device="cpu")
    o = call()
    assert both is None
    assert o.shape == (1, 20, 1, 16)
    assert o.isfinite().all()
    assert o.abs().max() > 0


@pytest.mark.parametrize("regime", ["OS-GDN", "OS-KDA"])
def test_a_form_is_its_operator_differentiated_by_its_gate(regime, monkeypatch):
    form = BOXES[regime]["form"]
    seen = []

    def watched(**given):
        seen.append(given)
        return operator(**given)

    operator = scan_regimes.FORMS[form]
    monkeypatch.setitem(scan_regimes.FORMS, form, watched)
    _, both = draw(regime, *SIZES, grad=True, device="cpu")
    both()
    (given,) = seen
    assert operator.__name__ == f"chunk_{form}"
    assert given["g"].dim() == (4 if form == "oskda" else 3)
    assert given["g"].requires_grad


def test_gates_of_d_are_no_gates_of_the_memory(monkeypatch):
    seen = {}
    monkeypatch.setitem(scan_regimes.FORMS, "osgdn", lambda **given: seen.update(given) or (torch.zeros(1),))
    draw("OS-GDN, forgetting to 0", *SIZES, grad=False, device="cpu")[0]()
    assert {"g", "g_d"} <= set(seen)
    assert not torch.equal(seen["g"], seen["g_d"])


def test_a_peer_may_refuse_but_no_failure_of_ours_is_hidden(monkeypatch):
    def refuse():
        raise RuntimeError("another version of Triton")

    def overflow():
        raise torch.OutOfMemoryError

    assert scan_regimes.refuses(refuse)
    assert not scan_regimes.refuses(lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        scan_regimes.refuses(overflow)
    monkeypatch.setattr(scan_regimes, "milliseconds", lambda call, rep: 1.0)
    with pytest.raises(RuntimeError, match="another version"):
        scan_regimes.measure(lambda: None, refuse, 1, profiled=False)

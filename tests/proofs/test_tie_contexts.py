"""T17, T20 to T28, T12 with gates and the whole algorithm: a statement or a definition that is changed is refused."""

from __future__ import annotations

import shutil

import pytest
from support.proofs.coq_parts import altered, definitions_of, part_of_the_library, refused

from proofs_check.coq_prover.library import Compiled, compile_library
from proofs_check.exact.collection import LAWS
from proofs_check.gallina.tie import untied

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed"),
]

FILES = (
    "definitions vectors token sums projection regret agnostic context newton_run newton_quadratic "
    "quadratic_regret chunk scan gated gated_chunk algorithm recall identity_limit implicit_bias probability "
    "lyapunov context_rate stability tracking forgetting causal driven sweeps near_deltanet fixed_point blindness "
    "one_feature negative_stability negative_plain "
    "euler tight gates gated_stability"
)

CHANGES = [
    # Where the text stands ("statement", or a definition), what becomes of it, and in which theorems.
    ("statement", "@Order.le ", "@Order.lt ",
     "T20_quadratic_regret T21_super_geometric T21_distance T25_mean_rate "
     "T25_speed_limit T27_product_bound T15_robust T23_limit_window T23_pull T26_near_deltanet T27_decaying_gaps "
     "T27_gated_norm T28_tight"),
    ("statement", "@GRing.opp", "@nat_of_ord",
     "T22_residual T22_context_loss T22_deltanet "
     "T23_span T23_projection T25_expected_contraction T16_many_steps"),
    ("statement", "leq (S t) T", "leq (S (S t)) T",
     "T21_forgetting_regret "
     "T27_product_bound T23_projection_exists"),
    ("statement", "GRing.one", "GRing.zero", "T23_pull T27_decaying_gaps T28_tight T17_plain_feedback_leaves"),
    ("statement", "a t", "a T", "T27_gated_product"),
    ("statement", "(S (S O))", "(S O)", "T27_gated_contraction T17_beta_aware_token_losses T28_alternating_product"),
    ("negative_stability.alternating", "match odd t", "match negb (odd t)", "T28_tight"),
    ("negative_plain.in_turn", "(S O)", "O", "T27_needs_metric_cost_plain"),
    ("gated.kda_write", "alpha", "(@GRing.opp _ alpha)", "T27_gated_product"),
    ("statement", " u ", " d1 ", "T20_super_geometric T21_forgetting_regret"),
    ("statement", "(S (S O))", "(S O)", "T22_context_loss T22_beats_deltanet_iff"),
    ("quadratic_regret.quadratic_bound", "(S (S O))", "(S O)", "T20_quadratic_regret T20_is_T5"),
    ("quadratic_regret.distance_limit", "gamma t'", "w t'", "T21_distance"),
    ("recall.times_read", "@nat_of_ord T t", "S (@nat_of_ord T t)", "T22_residual T22_deltanet"),
    ("recall.recalled", "w (order t)", "w (order (S t))", "T22_residual"),
    ("algorithm.certified", "(S (@nat_of_ord C i))", "(@nat_of_ord C i)", "T11_chunk_scan T12_chunked"),
    ("algorithm.osdn", "(alpha t')", "(alpha (S t'))", "T12_osdn T12_chunked"),
    ("gated_chunk.gated_A", "(S (@nat_of_ord C j))", "(@nat_of_ord C j)", "T12_gated_chunk_values"),
    ("stability.metric_cost", "@Order.max", "@Order.min", "T27_product_bound"),
    ("context_rate.rate_matrix", "(beta o)", "(P o)", "T25_mean_rate T25_expected_contraction"),
    ("definitions.scan", "(gamma t')", "(w t')", "T21_distance T12_osdn"),
]  # fmt: skip


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_library(part_of_the_library(tmp_path_factory.mktemp("part") / "coq", tuple(FILES.split())))


def test_the_statements_as_they_are_agree(compiled: Compiled) -> None:
    definitions = definitions_of(compiled)
    assert compiled.errors == {}
    for name, statement in compiled.answers.statements.items():
        assert untied(LAWS[name], statement.full, definitions) == "", name


@pytest.mark.parametrize(
    ("place", "old", "new", "theorem"), [(p, o, w, t) for p, o, w, names in CHANGES for t in names.split()]
)
def test_what_is_changed_is_refused(compiled: Compiled, place: str, old: str, new: str, theorem: str) -> None:
    statement, changed = compiled.answers.statements[theorem].full, {}
    if place == "statement":
        statement = altered(statement, old, new)
    else:
        printed = compiled.answers.definitions[place].full
        assert old in printed
        changed = {place: printed.replace(old, new, 1)}
    assert refused(theorem, statement, definitions_of(compiled, changed))

"""Sequences say what they claim to say, splits are disjoint, keys have the statistics that they are named for."""

import numpy as np
import pytest
from osdn_kernels.experiments.recall_task import (
    CONDITION,
    SEPARATOR,
    SPLITS,
    STATISTICS,
    Batch,
    BatchKind,
    RecallTask,
    draw,
    draw_training,
    key_vectors,
)

TASK = RecallTask()


def drawn(cell, count=20, split="train", seed=0, task=TASK):
    return draw(task, cell, count, split, np.random.default_rng(seed))


def contradiction(batch: Batch, cell: BatchKind, task: RecallTask = TASK) -> str | None:
    """What a reader who looks every query up in the context finds wrong."""
    for row, targets, distances in zip(*batch, strict=True):
        if len(row) != cell.length or row[cell.context] != SEPARATOR:
            return "layout"
        context = row[: cell.context].reshape(-1, 2)
        if not np.array_equal(context, np.tile(context[: cell.pairs], (cell.repeats, 1))):
            return "the repeats differ"
        if len(set(context[: cell.pairs, 0])) != cell.pairs:
            return "a key occurs twice"
        if set(row[cell.context + 1 :]) != set(context[:, 0]):
            return "not every key is asked for"
        for i, (target, distance) in enumerate(zip(targets, distances, strict=True)):
            place = cell.context + 1 + i
            if row[place - distance - 1] != row[place] or row[place - distance] != task.first_value + target:
                return "a target is not the value of its key at its distance"
            if row[place] in row[place - distance : cell.context]:
                return "a later write is nearer"
    return None


@pytest.mark.parametrize("cell", [BatchKind(s, r, p) for s in STATISTICS for r in (1, 2, 3) for p in (4, 32)])
def test_every_query_is_answered_by_the_context(cell):
    batch = drawn(cell)
    assert contradiction(batch, cell) is None
    low = TASK.first_key(cell.statistic)
    keys = batch.tokens[:, cell.context + 1 :]
    assert keys.min() >= low
    assert keys.max() < low + TASK.keys


@pytest.mark.parametrize("field", [0, 1, 2])
def test_a_wrong_token_target_or_distance_is_noticed(field):
    cell = BatchKind("isotropic", 2, 8)
    batch = [x.copy() for x in drawn(cell)]
    batch[field][3, -1] = (batch[field][3, -1] + 1) % TASK.values
    assert contradiction(Batch(*batch), cell) is not None


def test_no_context_of_one_split_is_one_of_another():
    cell = BatchKind("isotropic", 1, 4)
    small = RecallTask(keys=4, values=3, pairs=(4,))
    seen = []
    for split in SPLITS:
        batch = drawn(cell, 400, split, task=small)
        values = batch.tokens[:, 1 : cell.context : 2] - small.first_value
        assert set(values.sum(1) % 3) == {SPLITS.index(split)}
        pairs = batch.tokens[:, : cell.context].reshape(len(batch.tokens), -1, 2)
        seen.append({frozenset(map(tuple, rows)) for rows in pairs.tolist()})
    # All 27 assignments of three values to the three free keys are drawn, so the sets are full and still disjoint.
    assert [len(s) for s in seen] == [27, 27, 27]
    assert not (seen[0] & seen[1])
    assert not (seen[0] & seen[2])
    assert not (seen[1] & seen[2])


def test_values_are_even_in_every_split():
    batch = drawn(BatchKind("isotropic", 1, 32), 2000, "test")
    counts = np.bincount(batch.targets.ravel(), minlength=TASK.values)
    expected = batch.targets.size / TASK.values
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_batches_repeat_from_their_seed_and_mix_the_statistics():
    first, again, other = (draw_training(TASK, 9, "train", np.random.default_rng([3, s])) for s in (5, 5, 6))
    assert np.array_equal(first.tokens, again.tokens)
    assert first.tokens.shape != other.tokens.shape or not np.array_equal(first.tokens, other.tokens)
    kinds = (first.tokens[:, 0] - 1) // TASK.keys
    assert np.bincount(kinds).tolist() == [3, 3, 3]


def spectrum(rows):
    values = np.linalg.eigvalsh(rows.T.astype(float) @ rows / len(rows))
    return values[-1] / values[0]


def test_key_vectors_have_their_statistics():
    task = RecallTask(keys=4096, features=8)
    isotropic, anisotropic, nonstationary = np.split(key_vectors(task, 0), 3)
    assert spectrum(isotropic) < 1.5
    assert CONDITION / 3 < spectrum(anisotropic) < 3 * CONDITION
    first, second = np.split(nonstationary, 2)
    assert spectrum(first) > CONDITION / 3
    assert spectrum(second) > CONDITION / 3
    # Together they fill the space that each half leaves.
    assert spectrum(nonstationary) < 2
    for rows in (isotropic, anisotropic, nonstationary):
        assert np.allclose(np.mean(np.square(rows), 1), 1)


def test_nonstationary_contexts_show_the_first_half_first():
    keys = drawn(BatchKind("nonstationary", 1, 8)).tokens[:, 0:16:2] - TASK.first_key("nonstationary")
    assert (keys[:, :4] < TASK.keys // 2).all()
    assert (keys[:, 4:] >= TASK.keys // 2).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"pairs": (66,)}, "pairs: expected at most the 64 distinct keys of a context, got 66"),
        ({"pairs": (3,)}, "pairs: expected even numbers from 2 on, got 3"),
        ({"pairs": (4, 4)}, r"pairs: expected distinct numbers, got \(4, 4\)"),
        ({"pairs": ()}, "pairs, repeats: expected at least one of each"),
        ({"values": 10}, "values: expected a positive multiple of 3, got 10"),
        ({"keys": 7}, "keys: expected an even number, got 7"),
        ({"repeats": (0,)}, "repeats: expected 1 or more, got 0"),
        ({"features": 1}, "features: expected at least 2, got 1"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        RecallTask(**sizes)

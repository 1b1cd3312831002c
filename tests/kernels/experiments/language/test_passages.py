"""Tokens stand for the text, and questions ask for what they say."""

import sys

import numpy as np
import pytest
from osdn_kernels.experiments.language.data import Windows, load
from osdn_kernels.experiments.language.passages import lines, mentions, repeated
from osdn_kernels.experiments.language.tokens import ByteTokenizer, make_tokenizer
from osdn_kernels.experiments.recall_task import BatchKind
from support.kernels.language_cases import make_texts, tiny_plan


def spell(tokens):
    return bytes(int(token) - 1 for token in tokens if token).decode()


@pytest.fixture(params=[257, 300])
def tokenizer(request, tmp_path):
    if request.param > 257:
        pytest.importorskip("tokenizers")
    return make_tokenizer(request.param, make_texts(), tmp_path / "tokenizer.json")


def test_tokens_cover_the_bytes_of_a_text(tokenizer):
    text = "the preconditioner of ünicode \n\tkeys"
    tokens = tokenizer.encode(text)
    assert tokenizer.lengths(tokens).sum() == len(text.encode())
    assert 0 < tokens.min() <= tokens.max() < tokenizer.vocabulary
    assert len(tokens) <= len(text.encode())


def test_merges_are_trained_once(tmp_path):
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    first = make_tokenizer(300, make_texts(), path)
    assert first.vocabulary == 300
    assert len(first.encode("preconditioner")) < len("preconditioner")
    again = make_tokenizer(300, ["other text"], path)
    assert np.array_equal(first.encode("preconditioner"), again.encode("preconditioner"))


def test_without_the_library_bytes_are_left(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ValueError, match=r"vocabulary: .*needs the library tokenizers: pip install -e '\.\[language"
    ):
        make_tokenizer(300, [], tmp_path / "t")
    assert isinstance(make_tokenizer(257, [], tmp_path / "t"), ByteTokenizer)
    with pytest.raises(ValueError, match="vocabulary: expected at least 257"):
        make_tokenizer(100, [], tmp_path / "t")


def test_windows_begin_with_their_documents(tmp_path):
    plan = tiny_plan(tmp_path)
    data = load(plan.data, 257)
    for split in ("validation", "test"):
        windows = data.windows(split, 2, 40)
        for tokens, text in zip(windows.tokens, windows.texts, strict=True):
            assert tokens[0] == 0
            assert spell(tokens) == text[:40]
    assert {*data.held_out["test"]}.isdisjoint(data.held_out["validation"])
    assert all(text not in spell(data.train) for text in data.held_out["test"])
    with pytest.raises(
        ValueError, match=r"corpus: expected documents of 90000 tokens in the test split .*, got none"
    ):
        data.windows("test", 1, 90000)


def test_passages_are_read_again(tmp_path):
    data = load(tiny_plan(tmp_path).data, 257)
    found = repeated(data, 2, 8, 3)
    assert found.shape == (2, 25)
    assert np.array_equal(found[:, 1:9], found[:, 9:17])
    assert np.array_equal(found[:, 1:9], found[:, 17:])


def test_names_are_found_with_what_was_met_before(tokenizer):
    text = "ü the_first_name, other_names; the_first_name = 3\nshort the_first_name.the_first_names"
    tokens = tokenizer.encode(text)
    found = list(mentions(Windows(np.concatenate([[0], tokens])[None], [text]), tokenizer))
    ends = np.cumsum(tokenizer.lengths(tokens))
    raw = text.encode()
    for each in found:
        first, last = (0 if i == 0 else int(ends[i - 1]) for i in (each.tokens.start, each.tokens.stop))
        asked = raw[first:last].decode()
        assert asked
        assert (
            "the_first_names".endswith(asked)
            or "the_first_name".endswith(asked)
            or "other_names".endswith(asked)
        )
    if isinstance(tokenizer, ByteTokenizer):
        assert [each.seen for each in found] == [0, 0, 1, 2, 0]
        assert [each.distance for each in found if each.seen] == [29, 25]


def test_lines_ask_for_every_value(tokenizer):
    kind = BatchKind("isotropic", 2, 8)
    asked = lines(tokenizer, kind, 2, 0)
    questions = asked.question[asked.question >= 0]
    assert set(questions) == set(range(16))
    assert asked.question.shape == (2, asked.tokens.shape[1] - 1)
    if isinstance(tokenizer, ByteTokenizer):
        for row, question in zip(asked.tokens, asked.question, strict=True):
            context, queries = spell(row).strip("\n").split("\n\n")
            told = context.splitlines()
            assert told[:8] == told[8:]
            assert sorted(told[:8]) == sorted(queries.splitlines())
            wanted = "".join(line.split(" = ")[1] + "\n" for line in queries.splitlines())
            assert spell(row[1:][question >= 0]) == wanted

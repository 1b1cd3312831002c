"""Texts are read with their licences, split by document, and carried in one file; what is no text is said."""

import bz2
import gzip
from pathlib import Path

import pytest
from osdn_kernels.experiments.language import corpus as corpus_module, sources
from osdn_kernels.experiments.language.corpus import (
    SPLITS,
    Corpus,
    Document,
    decode,
    read_corpus,
    write_corpus,
)
from osdn_kernels.experiments.language.sources import read_dictionary, read_folder, read_installed
from support.kernels.language_cases import make_corpus, write_folder


def test_the_library_of_python_is_always_there():
    documents, licences = read_installed(("python",))
    assert licences == {"python": "PSF-2.0"}
    assert sum(len(each.text) for each in documents) > 5_000_000
    names = {each.name for each in documents}
    assert "argparse.py" in names
    assert not any("site-packages" in name for name in names)


def test_a_dictionary_is_cut_between_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ENTRIES_OF_A_DOCUMENT", 60)
    entries = [f"word{n}\n   n 1: the {n}th of them\n        [syn: {{word}}]\n" for n in range(9)]
    path = tmp_path / "words.dict.dz"
    path.write_bytes(gzip.compress("".join(entries).encode()[:-1] + b"\xff\n"))
    pieces = [each.text for each in read_dictionary("words", path)]
    assert "".join(pieces)[:-3] == "".join(entries)[:-2]
    assert len(pieces) > 2
    assert all(piece.startswith("word") for piece in pieces)
    assert list(read_dictionary("words", tmp_path / "none")) == []


def test_files_of_other_encodings_are_left_out(tmp_path):
    (tmp_path / "a.py").write_text("a = 1\n")
    (tmp_path / "b.py").write_bytes("b = 'ü'\n".encode("latin-1"))
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "c.py").write_text("c = 1\n")
    assert [each.name for each in read_folder("x", tmp_path, ("*.py",))] == ["a.py"]


def test_documents_lie_on_one_side_with_their_copies():
    corpus = make_corpus()
    again = Corpus(
        (*corpus.documents, *(Document("b", each.name, each.text) for each in corpus.documents)), {}
    )
    texts = [{each.text for each in again.split(name)} for name in SPLITS]
    assert sum(map(len, texts)) == len(set.union(*texts)) == len(corpus.documents)
    assert [len(again.split(name)) for name in SPLITS] == [2 * len(corpus.split(name)) for name in SPLITS]
    assert len(corpus.split("train")) > 10 * len(corpus.split("test")) > 0


def test_the_fingerprint_is_of_the_texts_alone():
    corpus = make_corpus()
    assert Corpus(corpus.documents[::-1], {"made up": "other"}).fingerprint == corpus.fingerprint
    changed = (corpus.documents[0]._replace(text="x"), *corpus.documents[1:])
    assert Corpus(changed, corpus.licences).fingerprint != corpus.fingerprint


def test_a_corpus_is_carried_in_a_file(tmp_path):
    corpus = make_corpus()
    write_corpus(corpus, tmp_path / "corpus")
    again = read_corpus(tmp_path / "corpus", 1)
    assert again == corpus
    assert again.describe()["sources"] == {
        "made up": {"licence": "CC0", "documents": 60, "bytes": corpus.size}
    }
    folder = read_corpus(write_folder(tmp_path / "texts"), 1)
    assert folder.fingerprint == corpus.fingerprint
    assert folder.licences == {"texts": "not recorded"}


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "corpus"
    write_corpus(make_corpus(), path)

    class Full:
        def __init__(self, part, *given, **options):
            Path(part).write_bytes(b"half")

        def __enter__(self):
            raise OSError(28, "No space left on device")

        def __exit__(self, *error):
            raise AssertionError

    before = path.read_bytes()
    monkeypatch.setattr(corpus_module.bz2, "open", Full)
    with pytest.raises(OSError, match="No space left"):
        write_corpus(make_corpus(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


HEAD = b'{"format": "osdn-corpus/1", "licences": {"a": "CC0"}}\n'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        bz2.compress(b"{}\n"),
        bz2.compress(b'["a"]\n'),
        bz2.compress(HEAD + b'["a", "b", 3]\n'),
        bz2.compress(HEAD + b'["a", "b", "\\ud800"]\n'),
        None,
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "corpus"
    write_corpus(make_corpus(), path)
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=r"corpus: .*corpus' is damaged, or no file of --gather"):
        read_corpus(path, 1)


def test_what_is_missing_small_or_no_text_is_said(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"none' is not there; make one by osdn-theory train --gather"
    ):
        read_corpus(tmp_path / "none", 1)
    texts = write_folder(tmp_path / "texts")
    with pytest.raises(ValueError, match=r"corpus: expected at least 50 MB of text \(give a larger --corpus"):
        read_corpus(texts, 50_000_000)
    monkeypatch.setattr(sources, "SOURCES", sources.SOURCES[:1])
    with pytest.raises(
        ValueError, match=r"at least 900 MB of text \(apt install .*got .* MB in .* documents"
    ):
        read_corpus(None, 900_000_000)
    (texts / "picture.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"picture\.png: not text"):
        read_corpus(texts, 1)
    with pytest.raises(ValueError, match="x: not text: it has NUL bytes"):
        decode(b"a\0b", "x")
    one = tmp_path / "one"
    one.mkdir()
    (one / "a.txt").write_text("a" * 100)
    with pytest.raises(ValueError, match="corpus: expected documents enough for a"):
        read_corpus(one, 1)

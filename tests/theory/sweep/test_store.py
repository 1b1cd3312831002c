"""The folder: no row lost or torn by a kill or a full disk, none mixed with those of other code."""

from __future__ import annotations

import errno
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
from support.sweep_cases import SMALL, ids_in, quick

from osdn_theory.sweep import journal as journal_module, store as store_module
from osdn_theory.sweep.columns import COLUMNS
from osdn_theory.sweep.journal import Journal
from osdn_theory.sweep.store import CodeMismatchError, open_store, read_rows

CELLS = SMALL.cells()
CODE = "1.0+abc"


def row(number: int, error: str | None = None, code: str = CODE) -> dict[str, Any]:
    cell = CELLS[number]
    measured = quick(cell) if error is None else {}
    return {"cell": cell.id, **asdict(cell), **measured, "error": error, "code": code}


def saved(folder: Path, *rows: dict[str, Any]) -> Path:
    """A folder whose sweep stopped after these rows."""
    with open_store(folder, code=CODE) as store, store.writing():
        for each in rows:
            store.add(each)
    return folder


def test_a_journal_gives_back_the_same_bits(tmp_path: Path) -> None:
    numbers = [0.1, 5e-324, -0.0, math.inf, -math.inf, math.nan, 1 / 3, None, 2**60, "a\n\r\u2028b"]
    kept = {"cell": "x", "numbers": numbers}
    journal = Journal(tmp_path / "j")
    with journal.writing():
        journal.append(kept)
    ((back,), torn) = journal.read()
    assert torn == 0
    assert repr(back) == repr(kept)


@pytest.mark.parametrize("cut", [1, 2, 30, 5000])
def test_a_torn_row_is_noticed_and_the_next_one_is_whole(tmp_path: Path, cut: int) -> None:
    folder = saved(tmp_path, row(0), row(1), row(2))
    path = folder / "journal.jsonl"
    content = path.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    path.write_bytes(content[: max(len(content) - cut, len(content) - last + 1)])
    with open_store(folder, code=CODE) as store:
        assert store.finished() == {CELLS[0].id, CELLS[1].id}
        assert store.torn == 1
        assert "1 torn rows" in store.warnings[0]
        with store.writing():
            store.add(row(3))
    with open_store(folder, code=CODE) as store:
        assert store.torn == 0
        assert store.finished() == {CELLS[n].id for n in (0, 1, 3)}


def test_a_flipped_bit_anywhere_spoils_one_row_only(tmp_path: Path) -> None:
    folder = saved(tmp_path, row(0), row(1), row(2))
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for position in range(0, len(lines[1]) - 1, 7):
        spoiled = bytearray(lines[1])
        spoiled[position] ^= 4
        path.write_bytes(lines[0] + spoiled + lines[2])
        with open_store(folder, code=CODE) as store:
            assert store.finished() == {CELLS[0].id, CELLS[2].id}, position


def test_a_full_disk_is_one_clear_error_and_tears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, row(0))
    before = (folder / "journal.jsonl").read_bytes()
    write = os.write

    def half_then_full(file: int, content: bytes) -> int:
        if len(content) < 200:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content[: len(content) // 2])

    with open_store(folder, code=CODE) as store, store.writing(), monkeypatch.context() as patch:
        patch.setattr(journal_module.os, "write", half_then_full)
        with pytest.raises(OSError, match="No space left on device; the cells before are saved"):
            store.add(row(1))
    assert (folder / "journal.jsonl").read_bytes() == before


def test_a_table_that_does_not_fit_leaves_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, row(0))

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_store(folder, code=CODE) as store, monkeypatch.context() as patch:
        patch.setattr(store_module, "write_atomically", full)
        with pytest.raises(OSError, match="No space left on device; every row is in the journal"):
            store.compact([CELLS[0].id])
    with open_store(folder, code=CODE) as store:
        assert ids_in(store.compact([CELLS[0].id])) == [CELLS[0].id]


def test_the_table_is_tidy_described_and_sorted(tmp_path: Path) -> None:
    folder = saved(tmp_path, row(5), row(0), row(9, error="ValueError: no"))
    with open_store(folder, code=CODE) as store:
        table = parquet.read_table(store.compact([]))
    assert table.column_names == [column.name for column in COLUMNS]
    for field, column in zip(table.schema, COLUMNS, strict=True):
        assert str(field.type) == column.kind
        assert field.metadata[b"description"].decode() == column.meaning
    places = [(each["stream"], each["key_dim"], each["seed"]) for each in table.to_pylist()]
    assert places == sorted((CELLS[n].stream, CELLS[n].key_dim, CELLS[n].seed) for n in (0, 5, 9))
    failed = next(each for each in table.to_pylist() if each["error"] is not None)
    assert failed["cell"] == CELLS[9].id
    assert failed["gap_sum"] is None
    assert not (folder / "journal.jsonl").exists()


def test_rows_survive_a_kill_between_the_table_and_the_end_of_the_journal(tmp_path: Path) -> None:
    folder = saved(tmp_path, row(0), row(1))
    journal = (folder / "journal.jsonl").read_bytes()
    with open_store(folder, code=CODE) as store:
        store.compact([])
    (folder / "journal.jsonl").write_bytes(journal)
    with open_store(folder, code=CODE) as store:
        assert sorted(ids_in(store.compact([]))) == sorted([CELLS[0].id, CELLS[1].id])


def test_a_result_replaces_a_failure_and_never_the_other_way(tmp_path: Path) -> None:
    folder = saved(tmp_path, row(0, error="MemoryError: "), row(1))
    with open_store(folder, code=CODE) as store:
        assert store.finished() == {CELLS[1].id}
        store.compact([])
        with store.writing():
            store.add(row(0))
            store.add(row(1, error="ValueError: late"))
        rows = {each["cell"]: each["error"] for each in read_rows(store.compact([]))}
    assert rows == {CELLS[0].id: None, CELLS[1].id: None}


def test_other_code_is_refused_with_the_remedy_or_mixed_on_purpose(tmp_path: Path) -> None:
    folder = saved(tmp_path, row(0))
    with open_store(folder, code=CODE) as store:
        store.compact([])
    with (
        pytest.raises(CodeMismatchError, match=r"holds rows of 1.0\+abc, this is 2.0: choose another --out"),
        open_store(folder, code="2.0"),
    ):
        pass
    with open_store(folder, code="2.0", mix_versions=True) as store:
        with store.writing():
            store.add(row(1, code="2.0"))
        assert {each["code"] for each in read_rows(store.compact([]))} == {CODE, "2.0"}


def test_a_failure_of_other_code_stands_in_nobodys_way(tmp_path: Path) -> None:
    folder = saved(tmp_path, row(0, error="ValueError: no", code="0.9"))
    with open_store(folder, code=CODE) as store:
        assert store.finished() == set()


def test_another_format_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path, row(0))
    with open_store(folder, code=CODE) as store:
        store.compact([])
    monkeypatch.setattr(store_module, "FORMAT", 2)
    with (
        pytest.raises(ValueError, match=r"has format 1 .* choose another --out"),
        open_store(folder, code=CODE),
    ):
        pass


def test_a_foreign_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sweep.parquet"
    parquet.write_table(pyarrow.table({"cell": ["x"]}), path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="not a table of osdn-theory sweep"), open_store(tmp_path, code=CODE):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_table_is_put_aside_and_said(tmp_path: Path, damage: str) -> None:
    folder = saved(tmp_path, *(row(n) for n in range(6)))
    with open_store(folder, code=CODE) as store:
        store.compact([])
    path = folder / "sweep.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content[:-40] if damage == "cut" else content)
    with open_store(folder, code=CODE) as store:
        assert store.finished() == set()
        assert "is damaged" in store.warnings[0]
    assert (folder / "sweep.damaged").exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        open_store(tmp_path, code=CODE),
        pytest.raises(OSError, match=rf"another sweep is at work .* {os.getpid()}"),
        open_store(tmp_path, code=CODE),
    ):
        pass
    with open_store(tmp_path, code=CODE):
        pass


def test_a_table_that_lacks_or_doubles_a_cell_is_never_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, row(0), row(1))
    whole = store_module._to_parquet
    with open_store(folder, code=CODE) as store:
        for wrong, message in (
            (lambda rows: whole(rows[:-1]), "1 cells missing"),
            (lambda rows: whole([*rows, rows[0]]), "1 doubled"),
        ):
            monkeypatch.setattr(store_module, "_to_parquet", wrong)
            with pytest.raises(RuntimeError, match=message):
                store.compact([])
        monkeypatch.setattr(store_module, "_to_parquet", whole)
        with pytest.raises(RuntimeError, match="1 cells missing"):
            store.compact([CELLS[7].id])
    assert (folder / "journal.jsonl").exists()

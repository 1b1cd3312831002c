"""Documents are read whole or refused with the place of what is wrong: every field of every kind, altered in turn."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support.report.fake_crosschecks import (
    backward,
    document_of,
    examination,
    exercise,
    explanation,
    invariances,
    stream_run,
)
from support.report.fake_documents import proofs_document
from support.report.recall_summaries import recall_summary

from osdn_theory import __version__
from osdn_theory.base import documents
from osdn_theory.base.documents import Count, DocumentKind, Number, StaleError, read_typed
from osdn_theory.base.jsonable import jsonable, stated
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.document import CROSSCHECK
from osdn_theory.proofs import PROOFS
from osdn_theory.recall.document import RECALL
from osdn_theory.report.document import REPORT

Place = tuple[str | int, ...]

KINDS: dict[str, tuple[DocumentKind[Any], Any]] = {
    "crosscheck": (
        CROSSCHECK,
        document_of(
            examination(
                exercises=(exercise(excess=3),),
                streams=(stream_run(excess=3),),
                explanations=(explanation("q and k normalised", "never clips"),),
                backward=backward(excess=3),
                invariances=invariances(excess=9)[1:2],
            )
        ),
    ),
    "proofs": (PROOFS, proofs_document()),
    "recall": (RECALL, recall_summary(seeds=3)),
}

WRONG: Any = {"": [{}]}
"""What no field may be."""


@dataclass(frozen=True)
class Field:
    """A place in a document; `kind` "field" of a dataclass, "entry" of a mapping, or "item" of a list."""

    place: Place
    kind: str

    @property
    def text(self) -> str:
        return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in self.place)[1:]


def resolved(schema: Any, root: Any, value: Any) -> Any:
    """The schema that a value is held to, references and alternatives followed."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" not in schema:
        return schema
    names = {dict: "object", list: "array"}
    options = [resolved(each, root, value) for each in schema["anyOf"]]
    return next((each for each in options if each.get("type") == names.get(type(value))), {})


def places(value: Any, schema: Any, root: Any, place: Place = ()) -> Iterator[Field]:
    """Every place in a document, of lists the last item: where its schema says anything."""
    known = resolved(schema, root, value)
    if isinstance(value, dict):
        for name, entry in value.items():
            listed = name in known.get("properties", ())
            inner = known["properties"][name] if listed else known.get("additionalProperties", True)
            if inner not in (True, {}):
                yield Field((*place, name), "field" if listed else "entry")
                yield from places(entry, inner, root, (*place, name))
    elif isinstance(value, list) and value and "items" in known:
        yield Field((*place, len(value) - 1), "item")
        yield from places(value[-1], known["items"], root, (*place, len(value) - 1))


def value_at(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def altered(document: Any, place: Place, to: Any) -> Any:
    """A copy with one value replaced, or without it where `to` is `Ellipsis`."""
    changed = copy.deepcopy(document)
    at = value_at(changed, place[:-1])
    if to is ...:
        del at[place[-1]]
    else:
        at[place[-1]] = to
    return changed


def fields_of(kind: DocumentKind[Any], document: Any) -> list[Field]:
    schema = kind.schema()
    return [each for each in places(document, schema, schema) if each.text != "format"]


FIELDS = {name: fields_of(*known) for name, known in KINDS.items()}


CONTRADICTING = {
    ("exercises", "explanations: there is nothing to explain"),
    (
        "invariances[0].difference",
        "invariances[0]: outcome: 'wrong' does not follow from the difference and the reason",
    ),
}
"""Fields without which the rest contradicts itself, and what is said then."""


def complaint(name: str, document: Any) -> str:
    with pytest.raises(ValueError) as caught:
        KINDS[name][0].decode(json.dumps(document))
    return str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_a_document_fits_its_schema_and_is_read_and_written_as_it_was(name: str) -> None:
    kind, document = KINDS[name]
    jsonschema.validate(document, kind.schema())
    stamp, content = kind.decode(json.dumps(document))
    assert stamp.command == document["command"]
    assert not kind.other_code(stamp)
    again = json.loads(kind.encode(content, stamp.command), parse_constant=pytest.fail)
    assert {**again, "osdn": document["osdn"]} == document


@pytest.mark.parametrize("kind", [CROSSCHECK, PROOFS, RECALL, REPORT])
def test_a_schema_demands_every_field_and_no_other(kind: DocumentKind[Any]) -> None:
    schema = kind.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    objects = [schema, *(each for each in schema["$defs"].values() if "properties" in each)]
    assert len(objects) >= 3
    for each in objects:
        assert each["required"] == list(each["properties"])
        assert each["additionalProperties"] is False


@pytest.mark.parametrize("name", KINDS)
def test_fields_of_every_depth_are_altered(name: str) -> None:
    assert {each.kind for each in FIELDS[name]} == {"field", "entry", "item"}
    assert len(FIELDS[name]) > 50
    assert max(len(each.place) for each in FIELDS[name]) >= 4


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_field_is_named_by_its_place(name: str) -> None:
    for field in FIELDS[name]:
        if field.kind == "field":
            wrong = altered(KINDS[name][1], field.place, ...)
            if field.place != ("code",):
                told = complaint(name, wrong)
                assert told == f"{field.text}: is missing" or (field.text, told) in CONTRADICTING


@pytest.mark.parametrize("name", KINDS)
def test_a_value_of_another_type_is_named_by_its_place(name: str) -> None:
    for field in FIELDS[name]:
        if field.place[0] == "code":
            continue
        for wrong in (
            ([WRONG],) if isinstance(value_at(KINDS[name][1], field.place), dict) else (WRONG, [WRONG])
        ):
            told = complaint(name, altered(KINDS[name][1], field.place, wrong)).partition(": ")[0]
            # What follows from an array is named where the array is at fault, and the other way round.
            assert (
                told == field.text
                or told.startswith((f"{field.text}[", f"{field.text}."))
                or (field.kind == "item" and field.text.startswith(told))
            ), (field.text, told)


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_field_is_named_by_its_place(name: str) -> None:
    document = KINDS[name][1]
    objects = {each.place[:-1] for each in FIELDS[name] if each.kind == "field"}
    assert () in objects
    for place in objects:
        wrong = altered(document, (*place, "surprise"), 1)
        where = Field((*place, "surprise"), "field").text
        assert complaint(name, wrong) == f"{where}: there is no such field"


@pytest.mark.parametrize("name", KINDS)
def test_whatever_is_accepted_is_read_back_as_it_stands(name: str) -> None:
    """Numbers, texts and flags altered to others of their type: refused with a place, or kept to the letter."""
    kind, document = KINDS[name]
    refused = 0
    for field in FIELDS[name]:
        value = value_at(document, field.place)
        if field.place[0] == "code" or isinstance(value, dict | list | None):
            continue
        other = not value if isinstance(value, bool) else value + ("x" if isinstance(value, str) else 1)
        wrong = altered(document, field.place, other)
        told = ""
        try:
            stamp, content = kind.decode(json.dumps(wrong))
        except ValueError as error:
            told = str(error)
        if told:
            refused += 1
            assert re.match(r"[\w.\[\] ]+: ", told), told
        else:
            assert json.loads(kind.encode(content, stamp.command)) == {**wrong, "osdn": __version__}
    assert refused > 10


@pytest.mark.parametrize("name", KINDS)
def test_a_truncated_document_is_called_so(name: str) -> None:
    kind, document = KINDS[name]
    text = json.dumps(document)
    for end in (0, 1, len(text) // 3, len(text) // 2, len(text) - 1):
        with pytest.raises(ValueError, match="not a JSON document, or a truncated one"):
            kind.decode(text[:end])


@pytest.mark.parametrize("name", KINDS)
def test_another_format_is_refused_with_what_makes_it_anew(name: str) -> None:
    kind, document = KINDS[name]
    for found in ("osdn-other/1", kind.format + "0", None, 1, WRONG):
        with pytest.raises(StaleError, match=re.escape(f"make it anew by `{kind.remake}`")):
            kind.decode(json.dumps({**document, "format": found}))


@pytest.mark.parametrize("name", KINDS)
def test_other_code_is_told_by_its_hash(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, document = KINDS[name]
    hashes = document["code"]
    assert set(hashes) == set(kind.code)
    for root in kind.code:
        for code in ({**hashes, root: "0" * 12}, {each: hashes[each] for each in hashes if each != root}):
            text = json.dumps({**document, "code": code})
            if kind.outlives_code:
                assert f"another `{root}`" in kind.other_code(kind.decode(text)[0])
            else:
                with pytest.raises(StaleError, match=f"made by other code .*another `{root}`"):
                    kind.decode(text)
    # What is not installed cannot be compared.
    monkeypatch.setattr(documents, "source_hash", lambda root: "")
    kind.decode(json.dumps({**document, "code": {}}))


def test_the_report_has_a_schema_without_arrays() -> None:
    text = json.dumps(REPORT.schema())
    assert '"within_bound"' in text
    assert (
        not {"tokens", "error", "bound", "excess"}
        & REPORT.schema()["$defs"]["Comparison"]["properties"].keys()
    )


@dataclass(frozen=True)
class Part:
    name: str
    size: Count


@dataclass(frozen=True, eq=False)
class Whole:
    """Made up."""

    parts: dict[str, Part]
    array: Array
    number: Number | None

    @property
    @stated
    def largest(self) -> Number:
        return float(self.array.max())


WHOLE = DocumentKind("whole/1", Whole, "a document", "make", ())


def test_numbers_that_are_none_are_texts_and_come_back() -> None:
    content = Whole({"a": Part("x", 1)}, np.array([[1.0, np.inf], [-np.inf, 2.0]]), float("nan"))
    text = WHOLE.encode(content, "make it")
    assert json.loads(text, parse_constant=pytest.fail)["array"] == [[1.0, "inf"], ["-inf", 2.0]]
    jsonschema.validate(json.loads(text), WHOLE.schema())
    _, again = WHOLE.decode(text)
    np.testing.assert_array_equal(again.array, content.array)
    assert (np.isnan(again.number), again.largest) == (True, np.inf)


@pytest.mark.parametrize(
    ("place", "to", "told"),
    [
        (("parts", "a", "size"), -1, "parts.a.size: Expected `int` >= 0"),
        (("parts", "b c"), {"name": "x", "size": True}, "parts.b c.size: Expected `int`, got `bool`"),
        (("parts", "b c"), {"name": "x"}, "parts.b c.size: is missing"),
        (("array", 0, 1), True, "array: Expected a number, got True"),
        (("array", 0, 1), "big", "array: Expected a number, got 'big'"),
        (("array", 0), [1.0], "array: "),
        (("number",), "infinite", "number: Expected a number, got 'infinite'"),
        (("largest",), 2.0, "largest: 2.0 does not follow from the rest, which gives 3.0"),
    ],
)
def test_places_are_named_with_keys_and_numbers(place: Place, to: Any, told: str) -> None:
    content = Whole({"a": Part("x", 1), "d": Part("y", 2)}, np.array([[1.0, 2.0], [3.0, 0.0]]), None)
    wrong = altered(WHOLE.as_dict(content, ""), place, to)
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        WHOLE.decode(json.dumps(wrong))
    assert json.loads(json.dumps(wrong)) == wrong


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    WHOLE.write(path, Whole({}, np.ones((1, 1)), None), "make it")
    assert WHOLE.read(path)[0].command == "make it"
    assert read_typed(path, Whole).largest == 1.0
    path.write_text(path.read_text().replace('"largest"', '"smallest"'))
    with pytest.raises(ValueError, match=r"whole\.json: largest: is missing"):
        WHOLE.read(path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"whole\.json: not a JSON document"):
        read_typed(path, Whole)
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        read_typed(tmp_path / "none.json", Whole)


def test_without_arrays_the_rest_is_stated() -> None:
    content = Whole({}, np.ones((1, 1)), None)
    assert jsonable(content, arrays=False) == {"parts": {}, "number": None, "largest": 1.0}

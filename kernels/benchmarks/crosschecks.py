"""Tables of cross-checks: ``python -m osdn_kernels.benchmarks.crosschecks FOLDER OUT``.

FOLDER holds the ``crosscheck.json`` of several commands, each in a folder of its own; OUT gets ``examinations.csv`` (a
row for each kernel), ``crosscheck.csv`` (for each exercise or stream and quantity) and ``verdicts.csv`` (for each
stream and theorem).
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def examinations(name: str, document: Row) -> Iterator[Row]:
    reaches = document["power"]["reaches"] if document["power"] else ()
    possible = [row for row in reaches if row["obstacle"] is None]
    yield {
        "run": name,
        "command": document["command"],
        "kernel": document["statement"]["kernel"],
        "dtype": document["dtype"],
        "verdict": document["verdict"],
        "exercises": len(document["exercises"]),
        "faults seen": sum(row["seen"] for row in possible),
        "faults possible": len(possible),
        "faults unseen": "; ".join(row["fault"]["key"] for row in possible if not row["seen"]),
        "not bit for bit": "; ".join(
            f"{item['name']}: {item['outcome']}"
            for item in document["invariances"]
            if item["outcome"] != "equal bit for bit"
        ),
        "sentence": document["sentence"],
    }


def quantities(name: str, document: Row) -> Iterator[Row]:
    for kind in ("exercises", "streams"):
        for item in document[kind]:
            for check in item.get("checks", [item]):
                for each in check["comparisons"]:
                    yield {
                        "run": name,
                        kind[:-1]: check["stream"],
                        "quantity": each["name"],
                        "worst error": each["worst_error"],
                        "median error": each["median_error"],
                        "worst error over bound": each["worst_excess"],
                        "median bound over error": each["median_slack"],
                        "basis": each["basis"],
                    }


def verdicts(name: str, document: Row) -> Iterator[Row]:
    for check in document["streams"]:
        for verdict in check["verdicts"]:
            told = ("theorem", "outcome", "reason")
            yield {"run": name, "stream": check["stream"], **{key: verdict[key] for key in told}}


TABLES = {"examinations.csv": examinations, "crosscheck.csv": quantities, "verdicts.csv": verdicts}


def main(folder: str, out: str) -> None:
    documents = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(Path(folder).rglob("crosscheck.json"))
    }
    for file, table in TABLES.items():
        rows = [_short(row) for name, document in documents.items() for row in table(name, document)]
        names = list(dict.fromkeys(key for row in rows for key in row))
        with (Path(out) / file).open("w", newline="") as target:
            writer = csv.DictWriter(target, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _short(row: Row) -> Row:
    return {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Take over what an experiment on a GPU brought: python -m generate.take_results FOLDER... in `notebooks`.

Of a folder with ``train.json``: that, as ``train_PRESET.json``, and the streams of trained layers, as data of the
package. Of one with ``recall.json``: that, as ``recall_CARD.json``. Pages, claims and notebooks show them from then on.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from osdn_theory.base.folders import write_atomically
from osdn_theory.language.document import FILE as TRAIN
from osdn_theory.language.streams import DELIVERED, cut
from osdn_theory.language.summary import write_language_summary
from osdn_theory.recall import data
from osdn_theory.recall.document import FILE as RECALL
from osdn_theory.recall.summary import write_summary


def take(folder: Path) -> Iterator[Path]:
    """The files that are written. The summaries are made anew from the runs, where these are there."""
    if (folder / "runs").is_dir():
        (write_language_summary if (folder / "data").is_dir() else write_summary)(folder)
    if (folder / TRAIN).is_file():
        document = json.loads((folder / TRAIN).read_text())
        yield _compact(document, data.PACKAGED / f"train_{document['preset']}.json")
        for name in DELIVERED:
            path = folder / "streams" / f"{name}_streams.safetensors"
            if path.is_file():
                write_atomically(data.PACKAGED / path.name, cut(path, {}))
                yield data.PACKAGED / path.name
    if (folder / RECALL).is_file():
        document = json.loads((folder / RECALL).read_text())
        device = document["environment"]["device"]
        card = next((card for card in ("H100", "H200") if card in device), "cpu")
        yield _compact(document, data.PACKAGED / f"recall_{card.lower()}.json")


def _compact(document: object, path: Path) -> Path:
    """One line for each entry of the uppermost level, so that differences can be read."""
    assert isinstance(document, dict)
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return path


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        for written in take(Path(folder)):
            print(f"{written} ({written.stat().st_size / 1e6:.2f} MB)")

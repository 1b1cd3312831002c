"""The documents that other commands left in a report folder, each read, refused or missing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from osdn_theory.base.documents import DocumentKind, StaleError
from osdn_theory.crosscheck.document import CROSSCHECK
from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.crosscheck.verdicts.theorems import GRAVITY
from osdn_theory.language.data import PACKAGED as LANGUAGE_PACKAGED
from osdn_theory.language.document import FILE as LANGUAGE_FILE, LANGUAGE, LanguageSummary
from osdn_theory.proofs import FILE, METHODS, PROOFS, ProofsRun, ProvedClaim, Standing
from osdn_theory.recall.data import packaged_files
from osdn_theory.recall.document import FILE as RECALL_FILE, RECALL, RecallSummary

State = Literal["read", "absent", "corrupt", "stale"]

PACKAGED = "osdn_theory/data/"
"""What the names of documents begin with that are delivered with the package."""

T = TypeVar("T")


@dataclass(frozen=True)
class ReportDocument(Generic[T]):
    """A document of the folder.

    - `file`: Its path in the folder.
    - `state`: Only a document that was read counts as evidence.
    - `notice`: Why it does not count, or what to know of one that does; mostly empty.
    - `written`: When the file was last written, UTC; empty where it is absent.
    - `content`, parsed document or None: None unless it was read.
    - `command`: The command line that made it; empty unless it was read.
    """

    file: str
    state: State
    notice: str = ""
    written: str = ""
    content: T | None = None
    command: str = ""

    @property
    def packaged(self) -> bool:
        """Whether it was delivered with the package instead of made in the report folder."""
        return self.file.startswith(PACKAGED)


def read_document(path: Path, kind: DocumentKind[T], *, name: str) -> ReportDocument[T]:
    """Read a document, which the page calls `name`; whatever is wrong is in its state and notice."""
    try:
        raw, changed = path.read_bytes(), path.stat().st_mtime
    except FileNotFoundError:
        return ReportDocument(name, "absent", f"{name} is not in the report folder")
    except OSError as error:
        return ReportDocument(name, "corrupt", f"{name} cannot be read: {error.strerror}")
    written = datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        stamp, content = kind.decode(raw)
    except StaleError as error:
        return ReportDocument(name, "stale", f"{name} is stale: {error}", written)
    except ValueError as error:
        return ReportDocument(name, "corrupt", f"{name} is corrupt: {error}", written)
    other = kind.other_code(stamp)
    notice = f"{name.removeprefix(PACKAGED)} was {other}" if other else ""
    return ReportDocument(name, "read", notice, written, content, stamp.command)


def label(check: CrossCheck) -> str:
    """Kernel, configuration, stream, rule and precision of a check in one line."""
    parts = (check.statement["kernel"], check.configuration, check.stream, check.rule, check.dtype)
    return ", ".join(part for part in parts if part)


def outcome(check: CrossCheck) -> str:
    """The gravest verdict of a check; a quantity outside its bound counts as a contradiction."""
    if not check.within:
        return "contradicted"
    found = {verdict.outcome for verdict in check.verdicts}
    return next((each for each in GRAVITY if each in found), "not applicable")


PATTERN = "crosscheck*.json"
"""Name of such documents, in the report folder and in folders inside it, one for each kernel."""


def read_crosschecks(folder: Path) -> list[ReportDocument[Examination]]:
    """The cross-check documents of a report folder, in the order of their names."""
    paths = sorted(folder.rglob(PATTERN))
    return [read_document(path, CROSSCHECK, name=str(path.relative_to(folder))) for path in paths]


ShownStanding = Standing | Literal["not run here", "not usable"]


@dataclass(frozen=True)
class ProofStatus:
    """Where a theorem stands with its proofs, as the page shows it.

    - `standing`: That of the document; "not run here" where there is none or it leaves the theorem out; "not usable"
      where the document is corrupt or stale.
    - `summary`: The best method and its scope.
    """

    standing: ShownStanding
    summary: str
    claim: ProvedClaim | None = None


def read_proofs(folder: Path) -> ReportDocument[ProofsRun]:
    """The proofs document of a report folder."""
    return read_document(folder / FILE, PROOFS, name=FILE)


def proof_status(document: ReportDocument[ProofsRun], theorem: str) -> ProofStatus:
    """Where one theorem stands; nothing but a document that was read can make it proved."""
    if document.content is None:
        absent = document.state == "absent"
        return ProofStatus("not run here" if absent else "not usable", document.notice)
    claim = document.content.claim(theorem)
    if claim is None:
        return ProofStatus("not run here", f"{document.file} holds no proof of it: only a part was asked for")
    return ProofStatus(claim.standing, _summary(claim), claim)


def _summary(claim: ProvedClaim) -> str:
    if claim.general:
        methods = [f"{METHODS[method]} ({count})" for method, count in claim.general.items()]
        return f"in all dimensions by {', '.join(methods)}"
    passed = [proof for proof in claim.proofs if proof.verdict == "passed"]
    if not passed:
        return "nothing passed"
    best = min(passed, key=lambda proof: list(METHODS).index(proof.method))
    scope = "" if best.scope == "instances" else f" in {best.scope}"
    return f"no general proof passed; the best that did: {best.method_name}{scope}"


def read_recalls(folder: Path) -> list[ReportDocument[RecallSummary]]:
    """The summaries in a report folder, in the order of their names; where there are none, the package's last."""
    return _read_experiments(folder, RECALL_FILE, RECALL, packaged_files())


def read_languages(folder: Path) -> list[ReportDocument[LanguageSummary]]:
    """The language-model experiments in a report folder; where there are none, the package's last."""
    return _read_experiments(folder, LANGUAGE_FILE, LANGUAGE, packaged_files(LANGUAGE_PACKAGED))


def _read_experiments(
    folder: Path, file: str, kind: DocumentKind[T], packaged: list[Path]
) -> list[ReportDocument[T]]:
    found = [
        read_document(path, kind, name=str(path.relative_to(folder))) for path in sorted(folder.rglob(file))
    ]
    # Of those delivered the last has the largest models. When it was installed says nothing of when it was made.
    return found or [
        replace(read_document(path, kind, name=f"{PACKAGED}{path.name}"), written="")
        for path in packaged[-1:]
    ]


def count_missed(summary: RecallSummary) -> int:
    """How many predictions did not come out."""
    return sum(row.outcome == "not as predicted" for row in summary.predictions)


def facts(value: Mapping[str, Any]) -> dict[str, str]:
    """A JSON object as names and texts, whatever it holds."""
    return {name: _plain(entry) for name, entry in value.items()}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)

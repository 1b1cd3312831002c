"""A Coq library: its project file, its sources, and what Coq says of it when compiled from scratch."""

import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from proofs_check.coq_prover.compiler import Compiler, require_coq
from proofs_check.coq_prover.questions import Answers, ask
from proofs_check.coq_prover.source import Source, read_source

_NAMED = re.compile(r"-[QR]\s+\.\s+(\w+)")
_WARNINGS = re.compile(r"-arg\s+-w\s+-arg\s+\S+")


def read_project(folder: Path) -> tuple[str, list[str]]:
    """The library's logical name and its files without ``.v``: all that ``_CoqProject`` may say, but for warnings.

    Raises ValueError: for any other option (it could weaken Coq), and where the files listed are not the files there.
    """
    lines = (folder / "_CoqProject").read_text().splitlines()
    text = " ".join(line.strip() for line in lines if not line.startswith("#"))
    names = _NAMED.findall(text)
    files = _WARNINGS.sub("", _NAMED.sub("", text)).split()
    for file in files:
        if not re.fullmatch(r"\w+\.v", file):
            raise ValueError(f"_CoqProject: expected a file of the library, got {file!r}")
    if len(names) != 1:
        raise ValueError(f"_CoqProject: expected one line that names the library, got {len(names)}")
    differing = {path.name for path in folder.glob("*.v")} ^ set(files)
    if differing:
        raise ValueError(f"_CoqProject: listed but not there, or there but not listed: {sorted(differing)}")
    return names[0], [file.removesuffix(".v") for file in files]


def read_sources(folder: Path) -> list[Source]:
    """The sources of a library, as :func:`read_project` lists them."""
    prefix, files = read_project(folder)
    return [read_source(name, (folder / f"{name}.v").read_text(), prefix) for name in files]


@dataclass(frozen=True)
class Compiled:
    """A library after compilation.

    - `version`: Coq's version.
    - `errors`, file -> the compiler's message, for files that did not compile
    - `seconds`, file -> time of its compilation
    - `answers`: What Coq says of the files that compiled.
    """

    version: str
    sources: list[Source]
    errors: dict[str, str]
    seconds: dict[str, float]
    answers: Answers


def compile_library(folder: Path) -> Compiled:
    """Compile the sources of `folder` in a fresh temporary folder and question the result.

    Only the sources are copied: compiled files beside them are of no account.

    Raises ProverMissingError: without Coq.
    Raises ValueError: for a malformed ``_CoqProject``, and where Coq refuses a question.
    """
    require_coq()
    (prefix, files), sources = read_project(folder), read_sources(folder)
    with tempfile.TemporaryDirectory(prefix="osdn-coq-") as work:
        compiler = Compiler(Path(work), prefix)
        for source in sources:
            shutil.copyfile(folder / f"{source.name}.v", compiler.place / f"{source.name}.v")
        errors: dict[str, str] = {}
        seconds: dict[str, float] = {}
        for name in compiler.order(files):
            started = time.perf_counter()
            errors[name] = compiler.compile(name)
            seconds[name] = time.perf_counter() - started
        answers = ask(compiler, [source for source in sources if not errors[source.name]])
        version = compiler.version()
    return Compiled(
        version, sources, {name: error for name, error in errors.items() if error}, seconds, answers
    )

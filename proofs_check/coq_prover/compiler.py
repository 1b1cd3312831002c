"""Coq's programs, run in one folder."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from proofs_check.proof import ProverMissingError

PACKAGES = (
    "coq",
    "libcoq-mathcomp",
    "libcoq-mathcomp-algebra-tactics",
    "libcoq-mathcomp-real-closed",
    "libcoq-flocq",
    "libcoq-interval",
    "libcoq-coquelicot",
)
"""Debian packages that hold Coq and what the library imports."""

FILE_SECONDS = 600
"""Limit for one file: a proof that runs for ever must not hold up the others."""

_PROGRAMS = ("coqc", "coqdep")
_ERROR = re.compile(r'File "\./(?P<file>[^"]+)", line (?P<line>\d+)[^\n]*\n(?P<message>Error:.*)', re.DOTALL)


def require_coq() -> None:
    """Raise ProverMissingError, with what to install, unless Coq's programs are there."""
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    if absent:
        raise ProverMissingError(
            f"{' and '.join(absent)} not found; on Debian: apt-get install {' '.join(PACKAGES)}"
        )


class Compiler:
    """Coq in the folder `place`, which holds a library with the logical name `prefix`."""

    def __init__(self, place: Path, prefix: str) -> None:
        self.place = place
        self.prefix = prefix
        self._library = ("-Q", ".", prefix)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            cwd=self.place,
            capture_output=True,
            text=True,
            check=False,
            timeout=FILE_SECONDS,
        )

    def version(self) -> str:
        return self._run("coqc", "--print-version").stdout.split()[0]

    def order(self, names: Iterable[str]) -> list[str]:
        """The files (without ``.v``), each after those that it requires."""
        names = list(names)
        files = [f"{name}.v" for name in names]
        found = [
            Path(file).stem for file in self._run("coqdep", *self._library, "-sort", *files).stdout.split()
        ]
        ordered = [name for name in dict.fromkeys(found) if name in names]
        # What coqdep cannot read is still compiled, so that Coq reports what is wrong with it.
        return ordered + [name for name in names if name not in ordered]

    def compile(self, name: str) -> str:
        """Compile a file; the compiler's message in one line, or "" where there is none."""
        try:
            result = self._run("coqc", "-w", "none", *self._library, f"{name}.v")
        except subprocess.TimeoutExpired:
            return f"{name}.v: not compiled within {FILE_SECONDS} s"
        if result.returncode == 0:
            return ""
        return _one_line(result.stderr) or f"{name}.v: coqc ended with {result.returncode}"


def _one_line(stderr: str) -> str:
    found = _ERROR.search(stderr)
    if not found:
        return " ".join(stderr.split())
    return f"{found['file']} line {found['line']}: {' '.join(found['message'].split())}"

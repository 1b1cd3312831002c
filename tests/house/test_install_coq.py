"""Coq is installed where it may be, and only there: `.ci/install-coq` with a machine made of fakes on its PATH."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.checkout import ROOT

from proofs_check.coq_prover.compiler import PACKAGES

SCRIPT = ROOT / ".ci" / "install-coq"
TOOLS = ("bash", "cat", "dirname", "env", "grep", "mktemp", "rm", "sort", "tail")


@dataclass
class Machine:
    """A folder of commands that stands for a machine; each fake one writes its call down."""

    folder: Path
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.folder / tool).symlink_to(found)

    def add(self, name: str, body: str = "exit 0") -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {self.folder}/calls\n{body}\n')
        path.chmod(0o755)

    def user(self, number: int) -> None:
        (self.folder / "id").write_text(f"#!/bin/bash\necho {number}\n")
        (self.folder / "id").chmod(0o755)

    def run(self, *packages: str, **environment: str) -> tuple[int, list[str]]:
        """Exit code and the lines printed; `calls` then has the fakes that were called."""
        done = subprocess.run(
            [SCRIPT, *packages],
            env={"PATH": str(self.folder), "TMPDIR": str(self.folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        written = self.folder / "calls"
        self.calls = written.read_text().splitlines() if written.exists() else []
        return done.returncode, done.stdout.splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Debian with apt-get, as root, without Coq."""
    made = Machine(tmp_path)
    made.user(0)
    made.add("apt-get")
    return made


def add_coq(machine: Machine, body: str = "exit 0") -> None:
    machine.add("coqc", body)
    machine.add("coqdep")


INSTALLED = ["apt-get update -qq", f"apt-get install -y -qq {' '.join(PACKAGES)}"]


def test_root_installs_the_packages_that_the_prover_names_and_says_so(machine: Machine) -> None:
    code, lines = machine.run()
    assert (code, machine.calls) == (0, INSTALLED)
    (line,) = lines
    assert line.endswith(f"installing with apt-get (COQ=skip leaves Coq out): {' '.join(PACKAGES)}")


def test_it_is_asked_for_without_a_question(machine: Machine) -> None:
    machine.add("apt-get", f'echo "$DEBIAN_FRONTEND" >> {machine.folder}/calls')
    machine.run()
    assert machine.calls[1::2] == ["noninteractive", "noninteractive"]


def test_sudo_without_a_password_is_used(machine: Machine) -> None:
    machine.user(1000)
    machine.add("sudo", 'shift; exec "$@"')
    machine.add("true")
    code, _ = machine.run()
    assert code == 0
    assert [call for call in machine.calls if call.startswith("apt-get")] == INSTALLED
    assert all(call.startswith("sudo -n ") for call in machine.calls if call.startswith("sudo"))


@pytest.mark.parametrize("sudo", [None, "exit 1"])
def test_who_may_not_is_told_and_nothing_is_installed(machine: Machine, sudo: str | None) -> None:
    machine.user(1000)
    if sudo is not None:
        machine.add("sudo", sudo)
    code, (line,) = machine.run()
    assert code == 3
    assert "neither root nor sudo without a password" in line
    assert not any(call.startswith("apt-get") for call in machine.calls)


def test_a_machine_without_apt(machine: Machine) -> None:
    (machine.folder / "apt-get").unlink()
    code, (line,) = machine.run()
    assert (code, "no apt-get here" in line) == (3, True)


def test_it_can_be_left_out(machine: Machine) -> None:
    code, (line,) = machine.run(COQ="skip")
    assert (code, machine.calls) == (3, [])
    assert "COQ=skip: Coq is left out" in line


def test_coq_that_is_there_is_left_alone(machine: Machine) -> None:
    add_coq(machine)
    assert machine.run() == (0, [])
    assert machine.run(COQ="skip") == (0, [])
    assert not any(call.startswith("apt-get") for call in machine.calls)


def test_coq_without_its_libraries_gets_them(machine: Machine) -> None:
    add_coq(machine, "exit 1")
    code, _ = machine.run()
    assert code == 0
    assert machine.calls[-2:] == INSTALLED


def test_coq_is_asked_for_all_that_the_proofs_import(machine: Machine) -> None:
    add_coq(machine, f"cat imports.v >> {machine.folder}/calls")
    machine.run()
    imports = [line for line in machine.calls if line.startswith("From ")]
    assert any("all_algebra" in line for line in imports)
    assert any("Flocq" in line for line in imports)
    assert not any("OSDN" in line for line in imports)


@pytest.mark.parametrize("failing", ["update", "install"])
def test_a_failure_of_apt_is_shown_and_is_a_failure(machine: Machine, failing: str) -> None:
    machine.add("apt-get", f'[ "$1" = {failing} ] || exit 0; echo "E: no network" >&2; exit 100')
    code, lines = machine.run()
    assert code == 1
    assert lines[1:] == ["install-coq: apt-get failed:", "E: no network"]


def test_other_packages_are_installed_where_their_command_is_lacking(machine: Machine) -> None:
    add_coq(machine)
    machine.add("there")
    assert machine.run("there")[0] == 0
    assert machine.run("chromium", "there")[0] == 0
    assert machine.calls[-1] == "apt-get install -y -qq chromium"
    machine.add("coqc", "exit 1")
    code, _ = machine.run("chromium", COQ="skip")
    assert code == 3
    assert machine.calls[-1] == "apt-get install -y -qq chromium"


def test_verify_and_ci_use_it() -> None:
    recipe = (ROOT / "Makefile").read_text().split("verify:")[1].split("\n\n")[0]
    assert recipe.index("step .ci/install-coq") < recipe.index("osdn-theory prove")
    ci = (ROOT / ".ci" / "run").read_text()
    assert ".ci/install-coq chromium" in ci
    assert "apt-get" not in ci

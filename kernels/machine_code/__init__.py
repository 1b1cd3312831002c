"""Faults of an assembler that show in a program's machine code, found without a GPU.

On Hopper, `ptxas` of CUDA 12 miscompiles some programs whose warpgroup products (HGMMA) take their left operand from
registers: it forgets to write a part of a shared-memory descriptor, or reuses an operand's registers before the product
has read them (triton-lang/triton issue 11366 and pull request 11781). Such a program reads whatever another left in a
uniform register, so that its result is wrong, or its memory access illegal, in some processes and right in others.
"""

import re
import subprocess
from bisect import bisect_left
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import triton

UNWRITTEN = "reads uniform register UR{register}, which nothing has written"
REUSED = "overwrites R{register} while the product at {product} may read it"

_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", re.MULTILINE)
_GUARD = re.compile(r"^@!?U?P\w+\s+")
_PREDICATE = re.compile(r"!?U?P[\dT]$")
_COMPARES = re.compile(r"\w*SETP|FCHK")
_UNIFORM = re.compile(r"(g?desc)?\[?\bUR(\d+)\b")
_REGISTER = re.compile(r"U?R(\d+)\b")
_LABEL = re.compile(r"^\s*(\.L\w+):", re.MULTILINE)
_TARGET = re.compile(r"\((\.L\w+)\)")
_BETWEEN = re.compile(r",(?![^\[]*\])\s*")

LEFT_OPERAND = 4
"""Registers that a thread's share of a product's left operand takes."""


class Instruction(NamedTuple):
    """One of a program's instructions, disassembled; `operands` with what it writes first, if it writes a register,
    without the predicates that it writes before that."""

    address: str
    name: str
    operands: list[str]

    @property
    def width(self) -> int:
        """Registers from the one that is named on."""
        if self.name.startswith("LDSM"):
            return int(self.name[-1]) if self.name[-1] in "24" else 1
        if self.name == "CS2R":
            return 2
        wide = {".128": 4, ".64": 2, ".WIDE": 2}
        return next((n for mark, n in wide.items() if mark in self.name), 1)

    @property
    def writes(self) -> str:
        """The first register written, or nothing."""
        first = self.operands[0] if self.operands else ""
        # RED adds to memory, REDUX leaves a warp's sum or extreme in a register.
        stores = self.name.startswith(("ST", "RED", "BRA", "BAR")) and not self.name.startswith("REDUX")
        return first if _REGISTER.match(first) and not stores else ""

    @property
    def left(self) -> range:
        """Registers of a product's left operand, if that is where it lies."""
        if not self.name.startswith("HGMMA") or not self.operands[1].startswith("R"):
            return range(0)
        start = _number(self.operands[1])
        return range(start, start + LEFT_OPERAND)

    @property
    def reads_uniform(self) -> Iterator[int]:
        """Numbers of the uniform registers read. Of a descriptor's four, the first two are the left operand's.

        Pairs are counted as such in sums and descriptors alone: elsewhere one register may stand for an address.
        """
        for operand in self.operands[1:] if self.writes else self.operands:
            for kind, number in _UNIFORM.findall(operand):
                start, count = int(number), 1
                if kind == "gdesc":
                    start, count = (start + 2, 2) if self.left else (start, 4)
                elif kind == "desc" or self.name == "UIADD3.64":
                    count = 2
                yield from range(start, start + count)


def disassemble(cubin: bytes) -> str:
    """Machine code as text, by the disassembler that comes with Triton."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "program.cubin"
        file.write_bytes(cubin)
        command = [triton.knobs.nvidia.nvdisasm.path, "-c", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def instructions(text: str) -> list[Instruction]:
    """The instructions in a disassembler's output."""
    found = []
    for address, body in _LINE.findall(text):
        name, _, rest = _GUARD.sub("", body).partition(" ")
        operands = _BETWEEN.split(rest.strip()) if rest else []
        if not _COMPARES.match(name):
            operands = [*dropwhile(_PREDICATE.match, operands)]
        found.append(Instruction(f"0x{address}", name, operands))
    return found


def faults(text: str) -> list[str]:
    """What is wrong with a program, one sentence for each instruction that shows it."""
    program = instructions(text)
    rounds = [program[:first] + 2 * program[first:end] for first, end in loops(text, program)]
    overwritten = dict.fromkeys(fault for each in (program, *rounds) for fault in reused(each))
    return [*unwritten(program), *overwritten]


def trapped(text: str) -> list[str]:
    """Of a program that the compiler gave up on: it has no way out but a trap."""
    return [] if any(found.name == "EXIT" for found in instructions(text)) else ["never ends but by a trap"]


def unwritten(program: list[Instruction]) -> Iterator[str]:
    """Reads of uniform registers that no earlier instruction has written."""
    written: set[int] = set()
    for instruction in program:
        for register in instruction.reads_uniform:
            if register not in written:
                yield f"{instruction.address} {UNWRITTEN.format(register=register)}"
        if instruction.writes.startswith("UR"):
            start = _number(instruction.writes)
            written.update(range(start, start + instruction.width))


def loops(text: str, program: list[Instruction]) -> Iterator[tuple[int, int]]:
    """Where each loop begins and ends, as indices of instructions: branches back to a label."""
    lines = [line.start() for line in _LINE.finditer(text)]
    begins = {label[1]: bisect_left(lines, label.start()) for label in _LABEL.finditer(text)}
    for i, instruction in enumerate(program):
        target = _TARGET.search(" ".join(instruction.operands)) if instruction.name == "BRA" else None
        first = begins.get(target[1]) if target else None
        if first is not None and first < i:
            yield first, i + 1


def reused(program: list[Instruction]) -> Iterator[str]:
    """Writes to left operands of products that have been issued and not been waited for.

    A product with a barrier closes a group of them; groups end in order, and a wait names how many may be under way.
    """
    closed: list[dict[int, str]] = []
    group: dict[int, str] = {}
    for instruction in program:
        if instruction.name.startswith("HGMMA"):
            group.update(dict.fromkeys(instruction.left, instruction.address))
            if "gsb0" in instruction.operands:
                closed, group = [*closed, group], {}
        elif instruction.name == "WARPGROUP.DEPBAR.LE":
            closed = closed[max(len(closed) - int(instruction.operands[-1], 16), 0) :]
        elif instruction.writes.startswith("R"):
            start = _number(instruction.writes)
            written = set(range(start, start + instruction.width))
            for reading in (*closed, group):
                for register in sorted(written & reading.keys()):
                    text = REUSED.format(register=register, product=reading[register])
                    yield f"{instruction.address} {text}"


def _number(operand: str) -> int:
    found = _REGISTER.match(operand)
    assert found is not None
    return int(found[1])

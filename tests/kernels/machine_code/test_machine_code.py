"""Faults of an assembler are seen in machine code: in excerpts that show one, and in a program that has one."""

import pytest
from osdn_kernels.machine_code import faults, trapped
from support.kernels.compiler_process import outside_of_the_interpreter


def code(*lines):
    return "\n".join(f"        /*{16 * i:04x}*/                   {line} ;" for i, line in enumerate(lines))


DESCRIPTOR = ("UMOV UR6, 0x40", "UMOV UR7, 0x80000020")
ISSUE = "HGMMA.64x32x16.F32.BF16 R60, R36, gdesc[UR4].tnspB, R60, gsb0"
WAIT = "WARPGROUP.DEPBAR.LE gsb0, 0x0"


def test_a_sound_program_has_none():
    program = code(
        "S2R R89, SR_TID.X",
        "ULDC.64 UR8, c[0x0][0x210]",
        "@!P0 LDG.E.128 R36, desc[UR8][R176.64]",
        "UMOV UR16, 0x400",
        "LDS.64 R22, [UR16+0x10000]",
        *DESCRIPTOR,
        ISSUE,
        "FADD R40, RZ, -R83",
        WAIT,
        "STG.E.128 desc[UR8][R4.64], R36",
        "IMAD.MOV.U32 R36, RZ, RZ, RZ",
    )
    assert faults(program) == []


@pytest.mark.parametrize(
    ("line", "register"),
    [
        ("UIADD3 UR4, UP0, UR17, 0x40, URZ", 17),
        ("UIADD3.64 UR4, UR6, 0x40, URZ", 7),
        ("STS.128 [R122+UR16], R28", 16),
        ("HGMMA.64x32x16.F32.BF16 R60, R36, gdesc[UR4].tnspB, R60", 7),
        ("HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4].tnspA, RZ, !UPT", 4),
        ("@P1 LDG.E R5, desc[UR6][R2.64]", 7),
    ],
)
def test_a_uniform_register_that_nothing_wrote_is_seen(line, register):
    found = faults(code("UMOV UR6, 0x40", line))
    assert f"0x0010 reads uniform register UR{register}, which nothing has written" in found


@pytest.mark.parametrize(
    ("line", "written"), [("REDUX.MAX.S32 UR8, R41", True), ("RED.E.ADD.F32 [UR8], R41", False)]
)
def test_a_warp_s_extreme_is_written_and_what_is_added_to_memory_is_not(line, written):
    assert (faults(code(line, "UISETP.NE.U32.OR UP0, UPT, UR8, URZ, UP0")) == []) == written


@pytest.mark.parametrize("line", ["R2UR P0, UR8, R3", "ELECT P1, UR8, PT"])
def test_a_register_after_a_predicate_is_written(line):
    assert faults(code(line, "UMOV UR9, UR8")) == []


@pytest.mark.parametrize(
    "line", ["UISETP.NE.U32.AND UP0, UPT, UR8, URZ, UPT", "FSETP.GT.AND P0, PT, R3, UR8, PT"]
)
def test_what_is_compared_is_not_written(line):
    assert faults(code(line))
    assert faults(code(*DESCRIPTOR, ISSUE, "ISETP.NE.AND P0, PT, R37, R3, PT", WAIT)) == []


@pytest.mark.parametrize(
    "line",
    [
        "IMAD.MOV.U32 R39, RZ, RZ, RZ",
        "LDS.128 R36, [R3]",
        "LDS.64 R38, [R3]",
        "CS2R R38, SRZ",
        "LDSM.16.M88.4 R36, [R3]",
        "@P2 PRMT R37, R1, 0x5410, R2",
        "SHFL.BFLY PT, R38, R3, 0x1, 0x1f",
        "LOP3.LUT P0, R36, R3, 0x1, RZ, 0xc0, !PT",
        "ATOMG.E.EXCH.STRONG.GPU PT, R39, desc[UR6][R2.64], R3",
    ],
)
def test_an_operand_overwritten_before_the_product_is_waited_for_is_seen(line):
    found = faults(code(*DESCRIPTOR, ISSUE, line, WAIT))
    assert found
    assert all("while the product at 0x0020 may read it" in text for text in found)
    assert faults(code(*DESCRIPTOR, ISSUE, WAIT, line)) == []


def test_a_program_without_a_way_out_is_seen():
    assert trapped(code("BPT.TRAP 0x1", "BRA 0x10", "NOP")) == ["never ends but by a trap"]
    assert trapped(code("@P0 EXIT", "BPT.TRAP 0x1")) == []


TRAPPED = """
from osdn_kernels.machine_code import compiling

tuned = compiling.TUNED
left = [
    tuned[job.launch.kernel].configs[job.index]
    for job in compiling.jobs(100, quick=True) if job.launch.kernel in tuned
]
print(any(config.kwargs.get("FLIP") for config in left))
compiling.sound = lambda configs, capability: configs
job = next(
    job for job in compiling.jobs(100, quick=True)
    if job.launch.kernel == "memory_kernel" and dict(job.launch.constants)["STATE_GATE"] == 1
    and dict(job.launch.constants)["READ"]
)
found = compiling.compile_job(job)
print(found.verdict, found.note)
"""


@pytest.mark.slow
def test_transposed_memories_are_left_out_from_blackwell_on():
    left_in, found = outside_of_the_interpreter(TRAPPED).splitlines()
    assert left_in == "False"
    assert found == "MISCOMPILED never ends but by a trap"


MISCOMPILED = """
from dataclasses import replace
import triton
from osdn_kernels.machine_code.compiling import compile_job, jobs
from osdn_kernels.launch.tuning import TUNED, configurations

name = "gradients_kernel"
job = next(
    job for job in jobs(90, quick=False)
    if job.launch.kernel == name and dict(job.launch.constants)["K"] == 32
)
print(compile_job(job).verdict)
TUNED[name].configs = configurations([{"BV": 64}], warps=(4,), stages=(2,))
found = compile_job(replace(job, index=0))
print(found.verdict, found.note)
print(triton.knobs.nvidia.ptxas.version)
"""


@pytest.mark.slow
def test_what_was_wrong_on_a_gpu_is_seen_without_one():
    """Keys of 32 features on four warps in the gradients' kernel, by the assembler of Triton 3.6 and 3.7."""
    ours, narrow, assembler = outside_of_the_interpreter(MISCOMPILED).splitlines()
    assert ours == "ok"
    if not assembler.startswith("12.8"):
        pytest.skip(f"ptxas {assembler} may compile it rightly")
    assert narrow.startswith("MISCOMPILED")
    assert "which nothing has written" in narrow


FIRST = "HGMMA.64x64x8.F32.TF32 R24, R84, gdesc[UR4], R24, gsb0"
SECOND = "HGMMA.64x64x8.F32.TF32 R24, R56, gdesc[UR4], R24, gsb0"
ONE_LEFT = "WARPGROUP.DEPBAR.LE gsb0, 0x1"
SET_UP = ("UMOV UR4, 0x40", "UMOV UR5, 0x80", "UMOV UR6, 0x40", "UMOV UR7, 0x80")


@pytest.mark.parametrize(("register", "wrong"), [(87, False), (56, True), (59, True), (60, False)])
def test_of_two_groups_of_products_the_first_has_ended_where_one_may_be_left(register, wrong):
    found = faults(code(*SET_UP, FIRST, SECOND, ONE_LEFT, f"IMAD.SHL.U32 R{register}, R1, 0x2, RZ"))
    assert found == (
        [f"0x0070 overwrites R{register} while the product at 0x0050 may read it"] if wrong else []
    )


@pytest.mark.parametrize(("wait", "wrong"), [(ONE_LEFT, True), (WAIT, False)])
def test_what_one_round_of_a_loop_leaves_under_way_is_seen_in_the_next(wait, wrong):
    """In the order of the program the register is loaded before the product reads it."""
    begun = code(*SET_UP)
    body = code("NOP", "NOP", "NOP", "NOP", "LDS.U16 R56, [R3]", SECOND, wait, "@P3 BRA `(.L_x_0)", "EXIT")
    program = f"{begun}\n.L_x_0:\n" + "\n".join(body.splitlines()[4:])
    assert faults(program) == (
        ["0x0040 overwrites R56 while the product at 0x0050 may read it"] if wrong else []
    )


DEPENDENT = """
import triton
from triton.backends.compiler import GPUTarget
from osdn_kernels.launch.tuning import TUNED, function_of
from osdn_kernels.machine_code.compiling import jobs, source_of

for name, constant in (("chain_kernel", "LED"), ("sum_gates_kernel", "FOLLOWS")):
    launches = {job.launch for job in jobs(90, quick=True) if job.launch.kernel == name}
    launch = next(each for each in launches if dict(each.constants)[constant] == 1 and dict(each.constants)["C"] == 64)
    for value in (1, 0):
        constants = dict(launch.constants) | {constant: value} | TUNED[name].configs[0].kwargs
        source = source_of(function_of(TUNED[name]), dict(launch.types), constants)
        code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
        print(code.count("griddepcontrol.launch_dependents"), code.count("griddepcontrol.wait"))
"""


@pytest.mark.slow
def test_launches_beside_a_chain_begin_with_it_and_end_after_it():
    """What follows waits for the last of them alone; and what has no launch beside it says nothing."""
    assert outside_of_the_interpreter(DEPENDENT).splitlines() == ["1 0", "0 0", "0 1", "0 0"]

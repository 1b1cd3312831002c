"""An operator on float32 inputs beside the float64 reference: results and every gradient."""

from osdn_kernels import chunk_osdn
from osdn_kernels.reference.tokenwise import osdn_reference
from support.kernels.reference_cases import Call, differentiated, relative_error

FLOAT32 = 2e-6
OUTPUTS = ("o", "state", "preconditioner")


def in_float32(call: Call) -> Call:
    return Call({name: x.float() for name, x in call.tensors.items()}, call.options)


def assert_agrees(
    call: Call, operator=chunk_osdn, reference=osdn_reference, *, tolerance: float = FLOAT32
) -> None:
    """Of `call` in float32 with itself in float64."""
    narrow = in_float32(call)
    wide = Call({name: x.double() for name, x in narrow.tensors.items()}, call.options)
    expected, slopes = differentiated(wide, reference, OUTPUTS)
    found, gradients = differentiated(narrow, operator, OUTPUTS)
    for name, x in found.items():
        assert relative_error(x, expected[name]) <= tolerance, name
    for name, x in gradients.items():
        assert x.dtype == narrow.tensors[name].dtype
        assert relative_error(x, slopes[name]) <= tolerance, f"gradient of {name}"

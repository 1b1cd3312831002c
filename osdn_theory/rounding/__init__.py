r"""Rounding: exact emulation of float formats, running error bounds along a trajectory, and the residual floor (T18).

Usage::

    bounds = error_bounds(stream, BOUNDED, CHUNK_FP32, chunk_size=64, scale=K**-0.5)
    bounds.stream            # what the kernel reads: the stream rounded to the model's input format
    bounds.trajectory        # the exact (float64) trajectory on exactly those inputs
    bounds.preconditioner    # (..., T, K)  |d_t computed - d_t exact|, componentwise
    bounds.state             # (..., T)     ||S_t computed - S_t exact||_F
    bounds.outputs           # (..., T, V)  |o_t computed - o_t exact|, componentwise
    floor = residual_floor(bounds)
    floor.gap                # (..., T)     what rounding leaves of |1 - beta_t a_t|

Feed `bounds.stream` (its entries are numbers of the input format) to the kernel, and compare what it returns with
`bounds.trajectory`: a kernel that works as the model says stays below the bounds on every stream. Run through Triton's
interpreter, use ``in_interpreter(model)``. `round_stream` alone says what a kernel reads, and
``np.abs(osdn(stream).outputs - bounds.trajectory.outputs)`` what rounding the inputs alone does.

A stream with a ``state_gate`` is that of a kernel whose memory fades (T17), with gates per token or per feature.
Layouts are the theory's: (..., T, K), states (..., V, K).

What is assumed: operations round as the model says, to nearest unless it drops bits; nothing overflows, which
``bounds.overflow`` tells (None, or the first `Overflow`; from its token on bounds are infinite); and sums are taken in
whatever order, but for matrix products of a model that is ``ordered``: `CHUNK_FP32`, whose products are chains of fused
multiply-adds on a GPU. For a float32 chunk kernel whose order is not known, use
`CHUNK_ANY_ORDER`. What worst cases cost: they let T roundings add up where in a kernel these average out, so a bound
lies above the error by about 10 to 100 times on short streams of few features, and by hundreds of times for the float32
chunk form in any order, whose write values go through four products. With bfloat16 storage or TF32 products, errors
feed back on themselves through the rounding of what they are added to: the bounds on memory and outputs then grow
exponentially, and say little after some hundreds of tokens. The bounds on d do not.

Names load on first use; ``__init__.pyi`` lists them.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

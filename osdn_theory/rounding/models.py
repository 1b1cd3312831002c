"""What a kernel computes in which precision and order: the hypotheses of a rounding bound (T18)."""

import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

from osdn_theory.base.validation import require
from osdn_theory.rounding.errors.lemmas import Products
from osdn_theory.rounding.formats import BFLOAT16, FLOAT16, FLOAT32, TF32, Format

Order = Literal["recurrent", "chunk"]


@dataclass(frozen=True)
class KernelModel:
    """Formats and order of operations of a kernel; scalar arithmetic is float32.

    - `order`, "recurrent" or "chunk": Token by token, or the WY form (T11, T12).
    - `inputs`: Queries, keys and values as the kernel reads them. Gates, states and d_1 are read as float32.
    - `storage`: Write keys, the triangular system's results, overlaps, and the memory where products read it (chunk
      order).
    - `operands`: What factors of the memory's matrix products are rounded to once more: TF32, or `storage` where they
      are not.
    - `outputs`: o_t.
    - `preconditioner`: d between two tokens (recurrent order) or two chunks.
    - `memory`: The memory between two tokens (recurrent order), its start included: what is kept of it for the next
      one.
    - `either_way`: Whether the memory is rounded up or down by chance, rather than to nearest.
    - `compensated`: Whether d carries what its last rounding lost, from token to token or, where nothing is
      forgotten, from chunk to chunk.
    - `accumulation`: Unit roundoff of sums inside matrix products.
    - `exact_product`: Relative error of a product inside the "exact" matrix products (calibration, inverses).
    - `inverse_product`: The same for the inverse that the memory is written by, of factors split into bfloat16 parts,
      which overflow as these do; None: `exact_product` (chunk order).
    - `formed_product`: The same where the d_t of a chunk's own tokens are formed from its gains, to scale their keys
      and be gone, and where rows that feature gates have scaled meet each other; None: `exact_product` (chunk order).
    - `chopped`: Whether conversions to `storage`, `outputs` and `memory` drop bits rather than round to nearest.
    - `fused`: Whether a matrix product may be accumulated on top of what it is added to, term by term.
    - `substitution`: Chunk order: whether triangular systems are solved by substitution, apart for the right sides
      that meet the chunk's entry and for those that do not (`substitution.Substituted`), log gates are summed in
      float32, and one head that clips has all heads of the run stepped. Otherwise blocks of the inverse meet the
      entry's own right side.
    - `residuals`: Chunk order: whether the inverse meets beta (V - K S), formed first and stored, rather than V and K
      apart, to form U = T V and W = T K, T = (I + A)^-1 Diag(beta).
    - `wide_steps`: Whether chunks that clip are stepped in float64 rather than float32 (chunk order).
    - `swept`: Steps eta up to which these chunks, and all chunks of a stream with gates, are instead walked in
      float32 with what roundings lose of d carried along, from entries that sweeps certify to 2^-24 (chunk order,
      T29).
    - `ordered`: Whether matrix products are float32 fused multiply-adds over their terms in order, in blocks of 16 or
      of a multiple of 16 terms, which may be added to each other in any order (`ordered.ordered_error`). Otherwise
      nothing is taken to be known of the order: sums split over lanes or threads are covered then, and only then.
    - `ordered_gram`: The number of key features up to which this holds of keys times transposed write keys too.
    - `wide_gates`: Where the memory fades: whether sums of its log gates go without rounding up to that of their
      differences, and weak gates are applied by what they take away. Otherwise every sum is rounded, and e^g is a
      factor.
    - `gate_sums`: Chunk order with `wide_gates`: relative error of the sums of log gates whose differences are decays.
      None: `GATE_RESTS` for a gate per token; of a kernel with a gate for every key feature, which folds decays into
      rows and blocks of 16 tokens (`memory.features`), nothing is known.
    - `feature_reach`: Up to which logarithm factors above 1 scale what tokens of such a block meet of each other; none,
      at 0.
    """

    name: str
    order: Order
    inputs: Format = FLOAT32
    storage: Format = FLOAT32
    operands: Format = FLOAT32
    outputs: Format = FLOAT32
    preconditioner: Format = FLOAT32
    memory: Format = FLOAT32
    either_way: bool = False
    compensated: bool = False
    accumulation: float = FLOAT32.unit_roundoff
    exact_product: float = FLOAT32.unit_roundoff
    inverse_product: float | None = None
    formed_product: float | None = None
    chopped: bool = False
    fused: bool = True
    substitution: bool = False
    residuals: bool = False
    wide_steps: bool = False
    swept: float = 0.0
    ordered: bool = False
    ordered_gram: int = 0
    wide_gates: bool = False
    gate_sums: float | None = None
    feature_reach: int = 0

    def __post_init__(self) -> None:
        narrow = self.storage != FLOAT32 or self.operands != FLOAT32
        require(not (self.substitution and narrow), "substitution: expected float32 storage and operands")
        whole = self.order == "recurrent" or self.memory == FLOAT32
        require(whole, f"memory: expected float32 between chunks, got {self.memory.name}")
        require(not (self.substitution and self.residuals), "residuals: expected no substitution")

    @property
    def operand_product(self) -> float:
        """Relative error of a product inside the memory's matrix products.

        Products of 16-bit numbers fit in float32. TF32 operands may lose an ulp each, as some hardware drops the bits.
        """
        if self.operands != self.storage:
            lost = 2 * self.operands.unit_roundoff
            return 2 * lost + lost**2
        return 0.0 if 2 * self.operands.significand <= FLOAT32.significand else FLOAT32.unit_roundoff

    @property
    def products(self) -> Products:
        """How the memory's matrix products round."""
        return Products(self.operand_product, self.accumulation, self.ordered)

    def gram_products(self, key_dim: int) -> Products:
        """How keys times transposed write keys round."""
        return self.products._replace(ordered=self.ordered and key_dim <= self.ordered_gram)

    def faded_products(self, key_dim: int) -> Products:
        """How the same rounds of rows and columns that feature gates have scaled."""
        return self.gram_products(key_dim)._replace(product=self.formation)

    @property
    def exact_products(self) -> Products:
        """How the products of calibration round."""
        return Products(self.exact_product, self.accumulation, self.ordered)

    @property
    def inverse_products(self) -> Products:
        """How those of the memory's inverse round."""
        product = self.exact_product if self.inverse_product is None else self.inverse_product
        return self.exact_products._replace(product=product)

    @property
    def inverse_factors(self) -> Format:
        """The format of the maximum that their factors go through."""
        return FLOAT32 if self.inverse_product is None else BFLOAT16

    @property
    def formation(self) -> float:
        """Relative error of a product that forms d_t for its own token."""
        return self.exact_product if self.formed_product is None else self.formed_product

    @property
    def kept_sums(self) -> float:
        """Relative error of the sums of log gates as they are kept, under `wide_gates`."""
        return GATE_RESTS if self.gate_sums is None else self.gate_sums

    @property
    def held(self) -> Format:
        """The format of the least maximum that numbers of products go through: as stored, or as operands."""
        return min((self.storage, self.operands), key=lambda fmt: fmt.largest)

    @property
    def memory_factor(self) -> float:
        """Error of a conversion to `memory`, in units of half a spacing."""
        return 2.0 if self.either_way or self.chopped else 1.0

    @property
    def converted(self) -> float:
        """Relative error of a conversion to `storage`."""
        return 0.0 if self.storage == FLOAT32 else self.rounding_factor * self.storage.unit_roundoff

    @property
    def rounding_factor(self) -> float:
        """Error of a conversion to `storage`, in units of half a spacing."""
        return 2.0 if self.chopped else 1.0


TENSOR_CORE_UNIT = 2.0**-22
"""Sums in tensor cores drop bits of the smaller terms: an ulp and its carries instead of half an ulp."""

TF32X3_UNIT = 2.0**-21
"""Product of two numbers split into two TF32 parts each, without the product of the two small parts."""

BFLOAT16X3_UNIT = 2.0**-15 + 2.0**-21
"""The same of two bfloat16 parts each: the product of the small parts, at most 1/257 of their numbers, and what these
lose, at most 2^-17; and the additions of the small terms, 2^-8 of the others."""

TF32_UNIT = 2.0**-9 + 2.0**-20
"""Product of two numbers that each lose up to an ulp of TF32, as hardware drops the bits."""

LARGEST_SWEPT_STEP = 1 / 16
"""Steps eta up to which `osdn_kernels.chunk_osdn` goes by sweeps."""

GATE_RESTS = 2.0**-46
"""Of sums of log gates that carry along, in float32, what float32 loses of them."""

FEATURE_REACH = 60
"""Of TF32 products of a block of 16 tokens with itself."""

RECURRENT_FP32 = KernelModel("recurrent, float32", "recurrent", compensated=True, wide_gates=True)
"""`osdn_kernels.fused_recurrent_osdn`, `fused_recurrent_osgdn` and `fused_recurrent_oskda` on float32 inputs."""

RECURRENT_BF16 = replace(RECURRENT_FP32, name="recurrent, bfloat16 inputs", inputs=BFLOAT16, outputs=BFLOAT16)
"""The same on bfloat16 inputs: arithmetic stays float32."""

RECURRENT_FP16 = replace(RECURRENT_FP32, name="recurrent, float16 inputs", inputs=FLOAT16, outputs=FLOAT16)

RECURRENT_PLAIN = KernelModel("recurrent, float32, plain sums", "recurrent")
"""A token-by-token kernel that adds calibrate steps to d without compensation."""

MEMORY_IN_BF16 = replace(
    RECURRENT_PLAIN, name="recurrent, float32, memory kept in bfloat16", memory=BFLOAT16, wide_gates=True
)
"""`osdn_kernels.decode_step_` on a bfloat16 memory."""

CHUNK_ANY_ORDER = KernelModel("chunk, float32", "chunk")
"""Any kernel of the WY form in float32, whatever the order of its sums."""

CHUNK_SUBSTITUTED = replace(CHUNK_ANY_ORDER, name="chunk, float32, by substitution", substitution=True)
"""`osdn_kernels.chunk_osdn_reference` on float32 inputs."""

_OURS: dict[str, Any] = {
    **dict.fromkeys(("compensated", "residuals", "wide_steps", "wide_gates"), True),
    "swept": LARGEST_SWEPT_STEP,
}
"""What the chunk kernels of this project have in common."""

CHUNK_FP32 = replace(
    CHUNK_ANY_ORDER,
    name="chunk, float32 in order",
    **_OURS,
    gate_sums=GATE_RESTS,
    ordered=True,
    ordered_gram=sys.maxsize,
)
"""`osdn_kernels.chunk_osdn`, `chunk_osgdn` and `chunk_oskda` on float32 inputs with full float32 products.

Triton turns such products into fused multiply-adds, one thread per entry, from the first term to the last.
"""

CHUNK_TF32 = replace(
    CHUNK_ANY_ORDER,
    name="chunk, TF32",
    operands=TF32,
    accumulation=TENSOR_CORE_UNIT,
    formed_product=TF32_UNIT,
    **_OURS,
    gate_sums=GATE_RESTS,
    feature_reach=FEATURE_REACH,
)
"""The same where ``torch.set_float32_matmul_precision`` allows TF32."""

CHUNK_BF16 = KernelModel(
    "chunk, bfloat16",
    "chunk",
    inputs=BFLOAT16,
    storage=BFLOAT16,
    operands=BFLOAT16,
    outputs=BFLOAT16,
    accumulation=TENSOR_CORE_UNIT,
    exact_product=TF32X3_UNIT,
    inverse_product=BFLOAT16X3_UNIT,
    formed_product=TF32_UNIT,
    **_OURS,
    gate_sums=FLOAT32.unit_roundoff,
    feature_reach=FEATURE_REACH,
)
"""`osdn_kernels.chunk_osdn`, `chunk_osgdn` and `chunk_oskda` on bfloat16 inputs."""

CHUNK_FP16 = replace(
    CHUNK_BF16, name="chunk, float16", inputs=FLOAT16, storage=FLOAT16, operands=FLOAT16, outputs=FLOAT16
)
"""`osdn_kernels.chunk_osdn`, `chunk_osgdn` and `chunk_oskda` on float16 inputs."""

D_IN_BF16 = replace(RECURRENT_PLAIN, name="recurrent, float32, d stored in bfloat16", preconditioner=BFLOAT16)
"""A faulty kernel: it quantises the very thing that it learns."""

MODELS = {
    "recurrent_fp32": RECURRENT_FP32,
    "recurrent_bf16": RECURRENT_BF16,
    "recurrent_fp16": RECURRENT_FP16,
    "recurrent_plain": RECURRENT_PLAIN,
    "memory_in_bf16": MEMORY_IN_BF16,
    "chunk_fp32": CHUNK_FP32,
    "chunk_any_order": CHUNK_ANY_ORDER,
    "chunk_substituted": CHUNK_SUBSTITUTED,
    "chunk_tf32": CHUNK_TF32,
    "chunk_bf16": CHUNK_BF16,
    "chunk_fp16": CHUNK_FP16,
    "d_in_bf16": D_IN_BF16,
}
"""The ready models by name."""


def in_interpreter(model: KernelModel) -> KernelModel:
    """The model as Triton's CPU interpreter runs it.

    Its conversions from float32 to bfloat16 drop bits, and a matrix product is formed before it is added. It has no
    TF32: d_t is formed by products as exact as all of calibration's. Bfloat16 parts that drop bits are off by twice as
    much each, and the product of two by four times. The product is NumPy's, hence its BLAS's, which
    adds in whatever order suits the processor: on some, terms of even and of odd index apart.
    """
    chops = BFLOAT16 in (model.storage, model.outputs, model.memory)
    return replace(
        model,
        name=f"{model.name}, interpreter",
        chopped=model.chopped or chops,
        fused=False,
        inverse_product=None if model.inverse_product is None else 4 * model.inverse_product,
        formed_product=None,
        ordered=False,
    )

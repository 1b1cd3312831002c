from .emulation.run import (
    Emulated as Emulated,
    emulate as emulate,
)
from .floor import (
    ResidualFloor as ResidualFloor,
    residual_floor as residual_floor,
)
from .formats import (
    BFLOAT16 as BFLOAT16,
    FLOAT16 as FLOAT16,
    FLOAT32 as FLOAT32,
    FLOAT64 as FLOAT64,
    FORMATS as FORMATS,
    TF32 as TF32,
    Format as Format,
    is_representable as is_representable,
    round_to as round_to,
    spacing as spacing,
    truncate_to as truncate_to,
    ulp_distance as ulp_distance,
)
from .inputs import (
    round_rule as round_rule,
    round_stream as round_stream,
)
from .models import (
    CHUNK_ANY_ORDER as CHUNK_ANY_ORDER,
    CHUNK_BF16 as CHUNK_BF16,
    CHUNK_FP16 as CHUNK_FP16,
    CHUNK_FP32 as CHUNK_FP32,
    CHUNK_SUBSTITUTED as CHUNK_SUBSTITUTED,
    CHUNK_TF32 as CHUNK_TF32,
    D_IN_BF16 as D_IN_BF16,
    MEMORY_IN_BF16 as MEMORY_IN_BF16,
    MODELS as MODELS,
    RECURRENT_BF16 as RECURRENT_BF16,
    RECURRENT_FP16 as RECURRENT_FP16,
    RECURRENT_FP32 as RECURRENT_FP32,
    RECURRENT_PLAIN as RECURRENT_PLAIN,
    KernelModel as KernelModel,
    in_interpreter as in_interpreter,
)
from .overflow import (
    Overflow as Overflow,
)
from .running import (
    ErrorBounds as ErrorBounds,
    ReadBounds as ReadBounds,
    error_bounds as error_bounds,
)

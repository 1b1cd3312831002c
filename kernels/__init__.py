"""Production Triton kernels for Online Scaled DeltaNet.

Operators with flash-linear-attention's layouts (`chunk_osdn`, `fused_recurrent_osdn`, `osdn_preconditioner`,
`decode_step_`) and their gated forms (`chunk_osgdn`, `chunk_oskda`, `fused_recurrent_osgdn`, `fused_recurrent_oskda`);
the same in plain PyTorch (`osdn_reference`, `chunk_osdn_reference`, `preconditioner_reference`, and gated
`osgdn_reference`, `oskda_reference`); and layers, `OnlineScaledDeltaNet` among them. Names load on first use: the
references and the layers do not need Triton.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "boundary.results": ["ExactState", "State", "Trajectory"],
        "layers.cache": ["LayerCache"],
        "layers.gated": ["OnlineScaledGatedDeltaNet", "OnlineScaledKDA"],
        "layers.layer": ["OnlineScaledDeltaNet"],
        "ops": [
            "chunk_osdn",
            "chunk_osgdn",
            "chunk_oskda",
            "fused_recurrent_osdn",
            "fused_recurrent_osgdn",
            "fused_recurrent_oskda",
            "osdn_preconditioner",
            "sequential_scan",
        ],
        "parallel.operator": ["context_parallel"],
        "parallel.ranks": ["local_cu_seqlens"],
        "recurrent.decode": ["decode_step_"],
        "reference.chunkwise": ["chunk_osdn_reference"],
        "reference.tokenwise": [
            "osdn_reference",
            "osgdn_reference",
            "oskda_reference",
            "preconditioner_reference",
        ],
    },
)

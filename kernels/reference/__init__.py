"""The operators in plain PyTorch, of any dtype and under autograd: what kernels are compared with."""

from .chunkwise import chunk_osdn_reference
from .tokenwise import osdn_reference, osgdn_reference, oskda_reference

__all__ = ["chunk_osdn_reference", "osdn_reference", "osgdn_reference", "oskda_reference"]

"""One sequence over several ranks (context parallelism): each holds a stretch of tokens, in the order of the ranks."""

from .operator import context_parallel
from .ranks import local_cu_seqlens
from .tails import exchange_tails

__all__ = ["context_parallel", "exchange_tails", "local_cu_seqlens"]

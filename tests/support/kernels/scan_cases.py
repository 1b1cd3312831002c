"""Keys of scans, and directions in which their gradients are tried."""

import torch


def keys(generator, *shape, norm=1.0):
    """Random keys of about the given norm, no two coordinates alike in scale."""
    x = torch.randn(shape, generator=generator) * torch.linspace(0.4, 1.6, shape[-1])
    lengths = norm * (0.8 + 0.4 * torch.rand((*shape[:-1], 1), generator=generator))
    return torch.nn.functional.normalize(x, dim=-1) * lengths


def directions(problem, *, final=True, key=True, seed=1):
    generator = torch.Generator().manual_seed(seed)
    sequences = len(problem.spans())
    shape = (sequences, *problem.k.shape[2:])
    return (
        torch.randn(problem.k.shape, generator=generator),
        torch.randn(shape, generator=generator) if final else None,
        torch.randn(problem.k.shape, generator=generator) if key else None,
    )

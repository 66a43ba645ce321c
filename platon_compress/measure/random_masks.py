"""Random masks for measuring kernels and cost tables."""

import numpy as np

__all__ = ["random_mask"]


def random_mask(
    rng: np.random.Generator, shape: tuple[int, int], density: float, block_rows: int = 1
) -> np.ndarray:
    """bool `shape` [out_features, in_features], a share of `density` True; `block_rows` rows share a mask (4: 4x1)."""
    kept = rng.random((-(-shape[0] // block_rows), shape[1])) < density
    return np.repeat(kept, block_rows, axis=0)[: shape[0]]

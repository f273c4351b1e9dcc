"""Flatten vectors for a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


def project(vectors: Array, *, method: str = "pca", seed: int = 0) -> Array:
    """Flatten vectors to two dimensions for a map; directions count, not lengths.

    Parameters
    ----------
    vectors : float array, shape (n, d)
        Everything that goes on one map, users and items stacked.
    method : {"pca", "tsne"}
        "pca" keeps the two directions of largest variance, and so large distances; "tsne" (van der
        Maaten & Hinton 2008, "Visualizing Data using t-SNE") keeps neighbours together, and its
        distances between clusters mean nothing. Another method is a ValueError.

    Returns
    -------
    float64 array, shape (n, 2)
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.asarray(vectors, np.float64) / np.where(lengths > 0, lengths, 1)
    if method == "pca":
        flatten = PCA(2, random_state=seed)
    elif method == "tsne":
        flatten = TSNE(2, perplexity=min(30.0, (len(unit) - 1) / 3), random_state=seed)
    else:
        raise ValueError(f"method must be 'pca' or 'tsne', got {method!r}")
    return np.asarray(flatten.fit_transform(unit), np.float64)

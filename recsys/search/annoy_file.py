"""Check the file of an Annoy index, since Annoy itself trusts what it maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def check_annoy_file(path: Path, n_items: int, d: int) -> None:
    """Raise ValueError unless every place that a query could go to is inside the file.

    The file (Annoy 1.17, annoylib.h) is a row of nodes of equal size: the number of items below,
    two children, d + 1 numbers. The items come first and the roots last. In a node with at most
    d + 3 items below, those items and zeros replace children and numbers. Children are written
    before their parents: one that points ahead could make a query go in circles. What is below two
    children adds up to what is below their parent: a child with many parents could make a query go
    2 ** depth ways. Numbers lead nowhere, and neither do items unless they are children.

    Parameters
    ----------
    path : Path
    n_items, d : int
        Shape of the vectors that were indexed.
    """
    wrong = ValueError(f"'{path}' is no index of these vectors")
    n_nodes, rest = divmod(path.stat().st_size, 4 * (d + 4))
    if rest or n_nodes <= n_items:
        raise wrong
    nodes = np.asarray(np.memmap(path, np.uint32, mode="r", shape=(n_nodes, d + 4)))
    below = nodes[n_items:, 0]
    is_list = below <= d + 3
    outside = nodes[n_items:, 1:].max(axis=1) >= n_items
    parents = n_items + np.flatnonzero(~is_list)
    children = nodes[parents, 1:3]
    if (
        nodes[-1, 0] != n_items
        or (below < 1).any()
        or (below > n_items).any()
        or (outside & is_list).any()
        or (children >= parents[:, None]).any()
        or (nodes[children[children < n_items], 0] != 1).any()
        or (nodes[children, 0].sum(axis=1, dtype=np.int64) != nodes[parents, 0]).any()
    ):
        raise wrong

"""Make sequences by random walks over the graph of which items are neighbours in a history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys.data.sequences import Sequences, offsets_from

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

    Items = npt.NDArray[np.int64]


def random_walks(
    sequences: Sequences,
    *,
    walks_per_item: int = 20,
    walk_length: int = 50,
    p: float = 1.0,
    q: float = 1.0,
    seed: int = 42,
) -> Sequences:
    """Walk at random from every item, for `train_item2vec`; all walkers advance together.

    A walker at v that came from t goes on to x with a probability in proportion to weight(v, x)
    * bias (see `count_neighbours`), where the bias is 1 / p if x is t itself, 1 if there is an edge
    from t to x, and 1 / q otherwise. Biases are applied by rejection: a step is drawn by the
    weights alone, and drawn again with probability 1 - bias / largest bias.

    Parameters
    ----------
    sequences : Sequences
        Histories; every item occurs in one.
    walks_per_item : int
        Each round begins once at every item, in random order.
    walk_length : int, items
        1 from an item without neighbours.
    p, q : float above 0
        The larger p, the less a walk returns to where it came from; the larger q, the more it stays
        near there. 1 and 1 is DeepWalk's walk, with weights.
    seed : int

    Returns
    -------
    Sequences
        One walk per row, numbered from 0, over the same items.

    References
    ----------
    Perozzi, Al-Rfou & Skiena 2014, "DeepWalk: Online Learning of Social Representations"; Grover &
    Leskovec 2016, "node2vec: Scalable Feature Learning for Networks"; for the rejection, Yang et
    al. 2019, "KnightKing: A Fast Distributed Graph Random Walk Engine".
    """
    graph = count_neighbours(sequences)
    rng, n_items = np.random.default_rng(seed), graph.shape[0]
    starts = [rng.permutation(n_items) for _ in range(walks_per_item)]
    offsets, to = graph.indptr.astype(np.int64), graph.indices
    ends = np.cumsum(graph.data)
    bounds = np.concatenate([[0], ends])[offsets]
    edges = np.repeat(np.arange(n_items), np.diff(offsets)) * n_items + to  # ascending

    def bias(came_from: Items, x: Items) -> npt.NDArray[np.float64]:
        wanted = came_from * n_items + x
        near = edges[np.minimum(np.searchsorted(edges, wanted), len(edges) - 1)] == wanted
        return np.where(x == came_from, 1 / p, np.where(near, 1.0, 1 / q))

    walks = np.full((walk_length, n_items * walks_per_item), -1, np.int32)
    walks[0] = np.concatenate(starts)
    for step in range(1, walk_length):
        at = walks[step - 1].astype(np.int64)
        left = np.flatnonzero((at >= 0) & (bounds[at + 1] > bounds[at]))
        while len(left):
            low, high = bounds[at[left]], bounds[at[left] + 1]
            drawn = low + (rng.random(len(left)) * (high - low)).astype(np.int64)
            x = to[np.searchsorted(ends, drawn, side="right")].astype(np.int64)
            taken = np.ones(len(left), bool)
            if step > 1 and not p == q == 1:
                biases = bias(walks[step - 2, left].astype(np.int64), x)
                taken = rng.random(len(left)) * max(1 / p, 1.0, 1 / q) < biases
            walks[step, left[taken]] = x[taken]
            left = left[~taken]
    there = walks.T >= 0
    rows, offsets = np.arange(walks.shape[1]), offsets_from(there.sum(axis=1))
    return Sequences(rows, sequences.item_ids, walks.T[there], offsets)


def count_neighbours(sequences: Sequences) -> csr_array:
    """Count how often two items are neighbours in a sequence; none is its own.

    Directed (a walk only goes on to what came after) and unweighted graphs were worse on nested
    splits of ml-100k.

    Returns
    -------
    int64 sparse array, shape (n_items, n_items)
        Symmetric, the columns of each row ascending.

    Examples
    --------
    >>> codes, offsets = np.array([0, 1, 0, 2, 2]), np.array([0, 3, 5])
    >>> print(count_neighbours(Sequences(np.arange(2), np.arange(3), codes, offsets)).toarray())
    [[0 2 0]
     [2 0 0]
     [0 0 0]]
    """
    from scipy.sparse import csr_array

    n_items, users = len(sequences.item_ids), sequences.user_rows
    first, then = sequences.codes[:-1], sequences.codes[1:]
    edge = (users[:-1] == users[1:]) & (first != then)
    ones = np.ones(int(edge.sum()), np.int64)
    graph = csr_array((ones, (first[edge], then[edge])), shape=(n_items, n_items))
    graph = csr_array(graph + graph.T)
    graph.sort_indices()
    return graph

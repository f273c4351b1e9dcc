"""Smooth item vectors over who watched what: items with the same audience come near each other.

Word2Vec learns from the few items around an event, so the input vectors of two films of one series
that people watch weeks apart need not be near. Their audiences are the same people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.vectors.users import history_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from recsys.data.sequences import Sequences

    Floats = npt.NDArray[np.float32]
    OfUsers = Callable[[Iterable[csr_array], Floats], npt.NDArray[np.float64]]
    Sum = Callable[[OfUsers, Floats], npt.NDArray[np.floating[Any]]]

# Directions kept, and those of them that answer short histories: more find nothing more there.
DIRECTIONS, ANSWERED = 96, 32
# Active users and popular items are in each audience: both weigh count ** -DAMPED.
DAMPED = 0.25
# An item with this many events is trusted by the root of a half, see `support`.
ENOUGH = 10
# Users whose vectors are held at a time.
BLOCK = 1 << 14


def audience_vectors(vectors: Floats, histories: Sequences) -> Floats:
    """Return the audience vectors of all items, float32 of shape (n_items, up to DIRECTIONS).

    With M, the matrix of who watched what (each pair once, damped): one step from items to users
    and back, M' M `vectors`, as in graph embeddings; then that span's own directions of M, those
    that most of M lies in, each scaled to the root of its singular value. So large directions
    (popular against rare) do not drown small ones (one series), and the products of these vectors,
    weighed by the singular values, are how many users two items share. This is a step of subspace
    iteration, begun at Word2Vec's vectors where randomised SVD begins at random.

    Parameters
    ----------
    vectors : float32 array, shape (n_items, d)
        Input vectors.
    histories : Sequences
        Over the same items.

    References
    ----------
    Halko, Martinsson & Tropp 2011, "Finding Structure with Randomness"; a step over the graph of
    users and items: He et al. 2020, "LightGCN".
    """
    if len(histories.codes) == 0:
        return np.zeros((len(vectors), 1), np.float32)
    counts = histories.counts()
    return audience_from(lambda one, matrix: one(damped(histories, counts), matrix), vectors)


def audience_from(over_users: Sum, vectors: Floats) -> Floats:
    """Return audience vectors by two sums over users, wherever these are taken.

    Parameters
    ----------
    over_users : function (`sum_steps` or `sum_products`, float32 array (n_items, r)) -> float array
        Adds up what the function returns for all users, who may be taken in parts.
    vectors : float32 array, shape (n_items, d)
    """
    basis = np.linalg.qr(over_users(sum_steps, vectors))[0].astype(np.float32)
    squares, directions = np.linalg.eigh(over_users(sum_products, basis))
    squares, directions = squares[::-1][:DIRECTIONS], directions[:, ::-1][:, :DIRECTIONS]
    return np.asarray(basis @ (directions * np.maximum(squares, 0) ** 0.25), np.float32)


def sum_steps(parts: Iterable[csr_array], vectors: Floats) -> npt.NDArray[np.float64]:
    """Return M' M `vectors` of users in parts of M, float64 (n_items, d)."""
    step = np.zeros(vectors.shape)
    for part in parts:
        step += part.T @ (part @ vectors)
    return step


def sum_products(parts: Iterable[csr_array], basis: Floats) -> npt.NDArray[np.float64]:
    """Return (M `basis`)' (M `basis`) of users in parts of M, float64 (d, d)."""
    gram = np.zeros((basis.shape[1], basis.shape[1]))
    for part in parts:
        shown = part @ basis
        gram += shown.T @ shown
    return gram


def audience_answers(audience: Floats, counts: npt.NDArray[np.integer[Any]]) -> Floats:
    """Return what items answer an average of the first ANSWERED directions, float32 (n_items, r).

    Their product is how many of the users who watched the one watched the other, damped for active
    users and for what is averaged, but not for what answers: from one or two items, what is popular
    among those users is the best guess.
    """
    first = audience[:, :ANSWERED]
    singular_values = np.square(first).sum(axis=0)
    return np.asarray(first * singular_values * counts[:, None] ** DAMPED, np.float32)


def support(counts: npt.NDArray[np.integer[Any]]) -> Floats:
    """Return how far to trust the cosine of an item with so many events, float32 in [0, 1)."""
    return np.asarray(np.sqrt(counts / (counts + ENOUGH)), np.float32)


def damped(histories: Sequences, counts: npt.NDArray[np.integer[Any]]) -> Iterator[csr_array]:
    """Lay out who watched what, users by items, a block of users at a time.

    `counts` are the events of each item by all users, of whom these may be some.
    """
    damping = np.maximum(counts, 1) ** -DAMPED
    for start in range(0, len(histories), BLOCK):
        part = histories.slice_users(start, start + BLOCK)
        pairs = history_matrix(part).copy()  # a copy, since the next line would shift the offsets
        pairs.sum_duplicates()
        rows = np.repeat(np.arange(len(part)), np.diff(pairs.indptr))
        active = np.maximum(np.diff(pairs.indptr), 1) ** -DAMPED
        pairs.data = (damping[pairs.indices] * active[rows]).astype(np.float32)
        yield pairs

"""Audience vectors: a step of subspace iteration, checked against a dense decomposition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from recsys.data.events import build_sequences
from recsys.vectors import audience
from recsys.vectors.audience import audience_answers, audience_vectors, support

RNG = np.random.default_rng(0)
VIEWS = pd.DataFrame(
    [(u, i) for u in range(40) for i in RNG.integers(0, 12, 2 + u % 9)],
    columns=["user_id", "item_id"],
)
HISTORIES = build_sequences(VIEWS)
COUNTS = HISTORIES.counts()
VECTORS = RNG.normal(size=(12, 12)).astype(np.float32)


def damped() -> np.ndarray:
    """Who watched what, users by items, written out."""
    matrix = np.zeros((40, 12))
    for user, item in VIEWS.itertuples(index=False):
        matrix[user, item] = 1
    active = matrix.sum(axis=1, keepdims=True)
    return matrix / (active * COUNTS) ** 0.25


@pytest.mark.parametrize("block", [7, 1 << 14])
def test_with_as_many_dimensions_as_items_it_is_the_singular_value_decomposition(
    block, monkeypatch
):
    monkeypatch.setattr(audience, "BLOCK", block)
    found = audience_vectors(VECTORS, HISTORIES)
    _, singular_values, directions = np.linalg.svd(damped(), full_matrices=False)
    expected = directions.T * np.sqrt(singular_values)
    assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
    assert_allclose(np.square(found).sum(axis=0), singular_values, rtol=1e-4)
    shared = damped().T @ damped()  # how many users two items share
    assert_allclose(audience_answers(found, COUNTS) @ found.T, COUNTS[:, None] ** 0.25 * shared,
                    atol=1e-4)  # fmt: skip


def test_fewer_dimensions_keep_what_the_vectors_span_after_a_step():
    few = VECTORS[:, :4]
    found = audience_vectors(few, HISTORIES)
    assert found.shape == (12, 4)
    span = damped().T @ damped() @ few
    assert np.linalg.matrix_rank(np.column_stack([span, found]), tol=1e-3) == 4
    lengths = np.linalg.norm(damped() @ found, axis=0)
    assert (np.diff(lengths) < 0).all()


def test_two_items_of_the_same_users_meet_although_nothing_was_learned_of_them():
    twins = [(u, i) for u in range(20) for i in ((0, 1, 2) if u % 2 else (3, 4, 5))]
    histories = build_sequences(pd.DataFrame(twins, columns=["user_id", "item_id"]))
    found = audience_vectors(RNG.normal(size=(6, 8)).astype(np.float32), histories)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    same = np.arange(6) // 3 == np.arange(6)[:, None] // 3
    assert_allclose(unit @ unit.T, same, atol=1e-3)


def test_nobody_and_a_single_event_give_finite_vectors():
    for n in (0, 1):
        histories = build_sequences(VIEWS.head(1)).where(np.arange(1) < n)
        assert np.isfinite(audience_vectors(VECTORS[:1], histories)).all()


def test_many_events_are_trusted_more():
    assert support(np.array([0, 10, 90])).tolist() == pytest.approx([0, 0.5**0.5, 0.9**0.5])

"""Word2Vec on sequences: both matrices, every item, the same each time."""

from __future__ import annotations

import gensim
import numpy as np
import pandas as pd
import pytest

from recsys.data.events import build_sequences
from recsys.data.sequences import Sequences, offsets_from
from recsys.errors import DataError
from recsys.vectors.item2vec import MAX_SENTENCE, _Corpus, train_item2vec

QUICK = {"vector_size": 8, "window": 3, "epochs": 5, "sample": 0}


def two_groups(n_users: int = 200, length: int = 8) -> Sequences:
    """Users of group 0 watch items 0-9, users of group 1 watch items 10-19."""
    rng = np.random.default_rng(0)
    views = [(u, 10 * (u % 2) + i) for u in range(n_users) for i in rng.integers(0, 10, length)]
    return build_sequences(pd.DataFrame(views, columns=["user_id", "item_id"]))


def one_user(*items) -> Sequences:
    return build_sequences(pd.DataFrame({"user_id": [1] * len(items), "item_id": items}))


@pytest.mark.parametrize(("sg", "hs"), [(0, 0), (1, 0), (0, 1)])
def test_items_watched_together_get_near_vectors_and_large_inner_products(sg, hs):
    trained = train_item2vec(two_groups(), sg=sg, hs=hs, **QUICK)
    same = np.arange(20)[:, None] // 10 == np.arange(20) // 10
    for matrix in (trained.vectors,) if hs else (trained.vectors, trained.contexts):
        scores = trained.vectors @ matrix.T
        assert scores[same].mean() > scores[~same].mean() + 0.5 * (1 - hs)
    assert (trained.contexts is None) == hs  # its output vectors are of nodes of a tree


def test_vectors_are_those_of_bare_gensim_on_the_same_corpus():
    sequences = two_groups()
    sentences = [[str(code) for code in sequences.items_of(u)] for u in range(len(sequences))]
    bare = gensim.models.Word2Vec(
        sentences, min_count=1, negative=20, ns_exponent=0.0, seed=1, workers=1,
        alpha=0.05, **QUICK,
    )  # fmt: skip
    trained = train_item2vec(sequences, seed=1, **QUICK)
    rows = [bare.wv.key_to_index[str(code)] for code in range(20)]
    # Items of equal count may be initialised in another order, so compare what they have learned.
    ours = trained.vectors @ trained.contexts.T
    theirs = bare.wv.vectors[rows] @ bare.syn1neg[rows].T
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.95


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(capfd):
    first, again, other = (train_item2vec(two_groups(), seed=s, **QUICK) for s in (1, 1, 2))
    assert np.array_equal(first.vectors, again.vectors)
    assert np.array_equal(first.contexts, again.contexts)
    assert not np.array_equal(first.vectors, other.vectors)
    assert capfd.readouterr().err == ""  # no progress bar where stderr is no terminal


def test_rows_follow_item_ids_and_rare_items_get_no_vector():
    # gensim sorts by count; item "b" is the most frequent and comes second here all the same.
    trained = train_item2vec(one_user(*"bbbbca"), epochs=1, vector_size=4)
    assert trained.item_ids.tolist() == ["a", "b", "c"]
    assert trained.vectors.shape == trained.contexts.shape == (3, 4)
    assert trained.vectors.dtype == trained.contexts.dtype == np.float32
    trained = train_item2vec(one_user(1, 1, 2, 2, 3), min_count=2, epochs=1, vector_size=4)
    assert trained.item_ids.tolist() == [1, 2]
    with pytest.raises(DataError, match="1 users, 0 of 2 items after min_count=5"):
        train_item2vec(one_user(1, 2), min_count=5)
    assert np.isfinite(train_item2vec(one_user(1), vector_size=4).vectors).all()


def test_a_history_longer_than_gensims_limit_is_trained_on_to_its_end():
    # The last items of a long history appear nowhere else: gensim alone would never see them.
    n = 2 * MAX_SENTENCE + 500
    codes = np.concatenate([np.zeros(n, np.int32), np.tile([1, 2], 250).astype(np.int32)])
    sequences = Sequences(np.arange(1), np.arange(3), codes, offsets_from([len(codes)]))
    tokens = [token for sentence in _Corpus(sequences, 1) for token in sentence]
    assert tokens == [str(code) for code in codes]
    assert max(len(sentence) for sentence in _Corpus(sequences, 1)) <= MAX_SENTENCE
    trained = train_item2vec(sequences, vector_size=8, sample=0, epochs=10)
    untrained = np.abs(trained.contexts).sum(axis=1) == 0  # output vectors start at zero
    assert not untrained.any()

"""Training beside bare gensim, and everything from a file to a saved model."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from gensim.models import Word2Vec

from recsys import Recommender, load_items, load_ratings
from recsys.data.events import build_sequences
from recsys.settings import SETTINGS, WORD2VEC
from recsys.vectors.item2vec import MAX_SENTENCE, complete_training, train_item2vec
from recsys.vectors.users import user_vectors
from tests.benchmarks.data import HALF_LIFE, checked, generated, vectors_for
from tests.benchmarks.measure import Case, Row, Works, compare, in_child

BARE, EPOCH = "bare gensim", "an epoch"
# The peak of memory has a target from this many ratings, in million bytes.
LARGEST, LARGEST_MB = 25_000_000, 8_000


def one_epoch(case: Case) -> Works:
    """Train one epoch, against gensim on lists of shared tokens; both make the vocabulary."""
    sequences = build_sequences(checked(case))
    tokens = [str(code) for code in range(len(sequences.item_ids))]
    sentences = [
        [tokens[code] for code in history[start : start + MAX_SENTENCE]]
        for history in map(sequences.items_of, range(len(sequences)))
        for start in range(0, len(history), MAX_SENTENCE)
    ]
    parameters = {name: SETTINGS[name].default for name in WORD2VEC}
    parameters = complete_training(parameters | {"epochs": 1}, sequences)
    return {"recsys": lambda: train_item2vec(sequences, **parameters),
            BARE: lambda: Word2Vec(sentences, **parameters)}  # fmt: skip


def beside_training(case: Case) -> Works:
    """Load, order and average, against one epoch of training: a fifth of five."""
    path, histories = generated(case) / "ratings.csv", build_sequences(checked(case))
    load, vectors = partial(load_ratings, path, cache=False), vectors_for(histories)
    return {
        "recsys": lambda: user_vectors(build_sequences(load()), vectors, half_life=HALF_LIFE),
        EPOCH: lambda: train_item2vec(histories, epochs=1),
    }


def training(case: Case) -> list[Row]:
    """Compare both; what is beside training may take 5% of five epochs, so 25% of one."""
    measure = partial(compare, "training", f"{case.n_ratings:,} ratings", case=case)
    return [
        *measure(one_epoch, ratios={BARE: 1.03}, n_ratings=case.n_ratings),
        *measure(beside_training, ratios={EPOCH: 0.25}, memory=False,
                 what="load, sequences, user vectors"),
    ]  # fmt: skip


def file_to_model(case: Case) -> Works:
    """Load the files, fit for one epoch, save."""
    folder, model = generated(case), Path(case.folder) / "whole"
    shutil.rmtree(model, ignore_errors=True)

    def run() -> None:
        ratings = load_ratings(folder / "ratings.csv", cache=False)
        items = load_items(folder / "movies.csv")
        Recommender(epochs=1, calibrate=False, half_life=HALF_LIFE).fit(ratings, items).save(model)

    return {"recsys": run}


def fit(case: Case) -> list[Row]:
    """Measure the peak of memory from file to saved model, once, in a process of its own."""
    found = in_child(file_to_model, "recsys", case)
    if found["peak_mb"] is None:
        return []
    at_most = LARGEST_MB if case.n_ratings >= LARGEST else None
    seconds, peak_mb = ({"recsys": found[name]} for name in ("seconds", "peak_mb"))
    return [Row("fit", f"{case.n_ratings:,} ratings", "peak memory", "MB", [found["peak_mb"]],
                at_most, seconds, peak_mb, case.n_ratings)]  # fmt: skip


STAGES = {"training": training, "fit": fit}

"""Train Item2Vec: Word2Vec (gensim) on viewing sequences, with items for words."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import rows_of
from recsys.errors import DataError
from recsys.progress import part
from recsys.settings import check_settings, word2vec_params

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt
    from gensim.models import Word2Vec

    from recsys.data.sequences import Sequences
    from recsys.progress import Span

# gensim drops what lies beyond this many tokens of one sentence, without a word.
MAX_SENTENCE = 10_000
TELL = 10_000  # events after which a progress bar moves
WANTED = 2000  # see `complete_training`


@dataclass(frozen=True)
class ItemVectors:
    """The two matrices of Word2Vec, rows aligned with `item_ids`.

    Attributes
    ----------
    item_ids : integer or str array, shape (n_items,)
        Ascending.
    vectors : float32 array, shape (n_items, d)
        The input matrix, the look-up table: near vectors are interchangeable items.
    contexts : float32 array, shape (n_items, d), or None
        The output matrix: a large inner product of a vector with a context says that their items go
        together. None with hierarchical softmax, whose output vectors are of nodes of a tree.
    """

    item_ids: npt.NDArray[Any]
    vectors: npt.NDArray[np.float32]
    contexts: npt.NDArray[np.float32] | None


def complete_training(params: Mapping[str, Any], sequences: Sequences) -> dict[str, Any]:
    """Fill in `epochs` and `negative` where they are None: the fewer, the more events an item has.

    Both are the root of 2000 / the events of an item: 14 at 10 events an item, 6 at 50, 2 at 500;
    but 1 to 20 epochs and 5 to 10 noise items. On nested splits of real data with 10, 13, 50 and
    130 events an item that is where recall stops to grow.

    Examples
    --------
    >>> from recsys.data.sequences import Sequences
    >>> forty_each = np.arange(4000) % 100
    >>> sequences = Sequences(np.arange(1), np.arange(100), forty_each, np.array([0, 4000]))
    >>> complete_training({"epochs": None, "negative": 20}, sequences)
    {'epochs': 7, 'negative': 20}
    """
    counts = sequences.counts()
    kept = counts[counts >= max(1, params.get("min_count", 1))]
    root = round(math.sqrt(WANTED * len(kept) / max(1, int(kept.sum()))))
    by_rule = {"epochs": min(max(root, 1), 20), "negative": min(max(root, 5), 10)}
    return {**params, **{name: n for name, n in by_rule.items() if params[name] is None}}


def train_item2vec(
    sequences: Sequences,
    *,
    sg: int = 0,
    hs: int = 0,
    negative: int | None = None,
    vector_size: int = 256,
    window: int = 10,
    epochs: int | None = None,
    alpha: float = 0.15,
    sample: float = 1e-3,
    ns_exponent: float = 0.0,
    min_count: int = 1,
    shrink_windows: bool = True,
    seed: int = 42,
    workers: int = 1,
    corpus_file: Path | None = None,
) -> ItemVectors:
    """Train Word2Vec on the sequences and return both matrices.

    Parameters
    ----------
    sequences : Sequences
    sg, hs, vector_size, window, alpha, sample, ns_exponent, min_count
        As of `recsys.Recommender`, whose docstring has the ranges.
    negative, epochs : int, optional
        Likewise; None for `complete_training`.
    shrink_windows, seed, workers
        Likewise; with more than one worker, results vary from run to run.
    corpus_file : Path, optional
        The sequences as text, codes with spaces between, a user a line: what gensim then reads,
        faster with many workers than the sequences in memory.

    Raises
    ------
    ValueError
        A parameter is out of range.
    DataError
        No item has `min_count` events.

    Notes
    -----
    With `sg=1` (skip-gram) an item predicts its neighbours, with `sg=0` (CBOW) they predict it. The
    learning rate falls linearly from `alpha` to 0.0001. The default is six times gensim's own: 14
    epochs from 0.15 find what 40 find from 0.05. An item's inner product with a context tends to
    log P(item | context) - ns_exponent * log count: the larger `ns_exponent` is, the less
    popularity is left in the scores. gensim's own default, 0.75, suits words.

    References
    ----------
    Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their
    Compositionality"; Barkan & Koenigstein 2016, "Item2Vec"; for what the inner product tends to,
    Levy & Goldberg 2014, "Neural Word Embedding as Implicit Matrix Factorization"; for
    `ns_exponent` in recommendation, Caselles-Dupré et al. 2018, "Word2vec applied to
    Recommendation: Hyperparameters Matter".
    """
    parameters = dict(locals())
    del parameters["sequences"], parameters["corpus_file"]
    parameters = check_settings(parameters)
    if hs:
        parameters["negative"] = parameters["negative"] or 0
    parameters = complete_training(parameters, sequences)
    counts = sequences.counts()
    kept = np.flatnonzero(counts >= min_count)
    if len(kept) < 1 + hs:  # of one item no tree can be made: gensim would never return
        left = f"{len(sequences)} users, {len(kept)} of {len(counts)} items after {min_count=}"
        raise DataError(f"too little data: {left}{', and hs=1 needs two items' * hs}")
    from gensim.models import Word2Vec

    with _quiet_gensim():
        model = Word2Vec(**parameters)
        model.build_vocab_from_freq({str(code): int(counts[code]) for code in kept})
        if corpus_file is None:
            _train(model, sequences, epochs=parameters["epochs"], alpha=alpha)
        else:
            sizes = {"total_examples": len(sequences), "total_words": len(sequences.codes)}
            passes = {"epochs": parameters["epochs"], "start_alpha": alpha}
            model.train(corpus_file=str(corpus_file), **sizes, **passes)
    return _vectors(model, sequences, kept)


def train_vectors(sequences: Sequences, params: Mapping[str, Any]) -> ItemVectors:
    """Train with those of a model's settings that `train_item2vec` takes."""
    return train_item2vec(sequences, **word2vec_params(params))


def continue_item2vec(
    old: ItemVectors,
    old_counts: npt.NDArray[np.integer[Any]],
    sequences: Sequences,
    news: Sequences,
    *,
    epochs: int,
    alpha: float,
    **parameters: Any,
) -> ItemVectors:
    """Continue training where `train_item2vec` stopped, with more events and more items.

    gensim's model is rebuilt from both matrices and the counts, its vocabulary is extended, and it
    continues as the original would (apart from the state of its random numbers), except that the
    input vectors of old items stay as they are.

    Parameters
    ----------
    old : ItemVectors
    old_counts : integer array, shape (n_old_items,)
        Events of each item at the time.
    sequences, news : Sequences
        All events, which say how often each item occurs, and what to train on (it may be empty),
        over the same items.
    epochs, alpha, parameters
        The keywords of `train_item2vec`, the first two for the news alone.

    Returns
    -------
    ItemVectors
        The old items, and the others with `min_count` events.

    Raises
    ------
    ValueError
        `old` has no output vectors (`hs=1`): there is nothing to continue from.
    DataError
        `old` has no items.

    Notes
    -----
    `build_vocab(update=True)` takes the given counts for those of the whole corpus when it decides
    what is frequent enough to skip at random (`sample`): it would skip nearly all of a small
    update. So it gets all counts, and those that it adds twice are corrected.
    """
    if old.contexts is None:
        raise ValueError("hs=1 keeps no output vectors to continue from: fit on all ratings again")
    if len(old.item_ids) == 0:
        raise DataError("no trained item is left to continue from: fit on all ratings again")
    from gensim.models import Word2Vec

    counts = sequences.counts()
    of_old = rows_of(old.item_ids, sequences.item_ids)
    kept = np.flatnonzero(counts >= parameters["min_count"])
    with _quiet_gensim():
        model = Word2Vec(**parameters, epochs=epochs, alpha=alpha)
        known = {str(code): int(n) for code, n in zip(of_old, old_counts, strict=True)}
        model.build_vocab_from_freq(known)
        order = np.argsort(of_old)[np.searchsorted(np.sort(of_old), _codes(model))]
        model.wv.vectors[:], model.syn1neg[:] = old.vectors[order], old.contexts[order]
        frequencies = {str(code): int(counts[code]) for code in kept}
        model.build_vocab_from_freq(frequencies, update=True)
        for token, count in frequencies.items():
            model.wv.set_vecattr(token, "count", count)
        model.make_cum_table()
        model.wv.vectors_lockf = (np.arange(len(kept)) >= len(of_old)).astype(np.float32)
        _train(model, news, epochs=epochs, alpha=alpha)
    return _vectors(model, sequences, kept)


def _vectors(model: Word2Vec, sequences: Sequences, kept: npt.NDArray[np.intp]) -> ItemVectors:
    """Take both matrices out of gensim's model, in the order of the items."""
    rows = np.argsort(_codes(model))
    # The very same array where all are kept: then sequences need no other codes.
    every = len(kept) == len(sequences.item_ids)
    item_ids = sequences.item_ids if every else sequences.item_ids[kept]
    contexts = None if model.hs else model.syn1neg[rows]
    return ItemVectors(item_ids, model.wv.vectors[rows], contexts)


def _train(model: Word2Vec, sequences: Sequences, *, epochs: int, alpha: float) -> None:
    """Let gensim's model pass over the sequences, as the part of a progress bar."""
    # A token is the text of a code: gensim takes an unknown int for a row number.
    corpus = _Corpus(sequences, epochs)
    if len(corpus) == 0:
        return
    with part(1.0) as corpus.span:
        model.train(corpus, total_examples=len(corpus), epochs=epochs, start_alpha=alpha)


def _codes(model: Word2Vec) -> npt.NDArray[np.int64]:
    """Return the code of each of the model's rows, int64 (n_items,)."""
    return np.array([int(token) for token in model.wv.index_to_key], dtype=np.int64)


class _Corpus:
    """Serve the sequences to gensim as lists of tokens, cut at gensim's limit."""

    def __init__(self, sequences: Sequences, epochs: int) -> None:
        self.codes = sequences.codes
        self.tokens = np.array([str(c) for c in range(len(sequences.item_ids))], dtype=object)
        starts, ends = sequences.offsets[:-1], sequences.offsets[1:]
        self.bounds = [
            (first, min(first + MAX_SENTENCE, end))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            for first in range(start, end, MAX_SENTENCE)
        ]
        self.span: Span | None = None
        self.epochs, self.passes = epochs, 0

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[list[str]]:
        told = 0
        for start, end in self.bounds:
            # All rows share one string per item: 8 bytes an event, and only one sequence at a time.
            yield self.tokens[self.codes[start:end]].tolist()
            if self.span is not None and end - told > TELL:
                told = end
                self.span.at((self.passes + end / len(self.codes)) / self.epochs)
        self.passes += 1


@contextmanager
def _quiet_gensim() -> Iterator[None]:
    """Keep back gensim's advice on batch sizes, which small data sets set off."""
    logger = logging.getLogger("gensim.models.word2vec")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

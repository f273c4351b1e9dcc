"""Fit a model: Spark orders the events, one machine or MLlib trains, the usual folder comes out."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pa_compute
import pyarrow.parquet as pa_parquet

from recsys.data.events import Events
from recsys.data.frames.items import check_items
from recsys.data.frames.names import ITEM, USER
from recsys.data.sequences import Sequences
from recsys.errors import DataError
from recsys.model.fit import fit_model
from recsys.model.storage import refuse_foreign
from recsys.recommender import Recommender
from recsys.settings import word2vec_params
from recsys.spark.histories import store, with_all_users, without_users
from recsys.spark.prepare import check, coded, files_of, open_events, ordered, vocabulary
from recsys.vectors.item2vec import MAX_SENTENCE, ItemVectors, train_item2vec, train_vectors

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from recsys.spark.prepare import Checked

    Train = Callable[[Sequences, Mapping[str, Any]], ItemVectors]

logger = logging.getLogger(__name__)

BLOCK = 1_000_000  # events turned into text at a time
_SHARES = 1 << 20  # steps of the share of users that is drawn


def fit(
    data: DataFrame | Checked | str,
    folder: str | Path,
    *,
    items: pd.DataFrame | None = None,
    params: Mapping[str, Any] | None = None,
    train: str = "gensim",
    users: str = "folder",
    max_events: int = 100_000_000,
    work: str | None = None,
) -> dict[str, Any]:
    """Fit a model on events in Spark and save it, as `Recommender.fit` and `save` would.

    With `workers=1` the folder is the same to the byte. With more, gensim reads a text file.

    Parameters
    ----------
    data : pyspark DataFrame, Checked or str
        What `recsys.spark.check` takes, or gives.
    folder : path
        Of the model. If anything fails, a model saved there before stays whole.
    items : DataFrame of pandas, optional
        As for `Recommender.fit`.
    params : mapping
        Keywords of `Recommender`.
    train : {"gensim", "mllib"}
        "gensim" trains on this machine. "mllib" trains on the executors, in `workers` partitions:
        skip-gram with hierarchical softmax, which takes no notice of `sg`, `hs`, `negative`,
        `sample`, `ns_exponent`, `shrink_windows`. It has no output vectors, so that items answer by
        the ridge regression alone. `epochs` and `alpha` (its step size) have defaults for CBOW:
        20 and .025 were measured here.
    users : {"folder", "parquet"} or URL
        "folder": the model knows all users. "parquet": it knows none; their histories go to
        `FOLDER.users`, Parquet partitioned by a hash of the user, for `recommend_many(events=...)`,
        and online a history is passed to `recommend_for`. Vectors come from the events of users
        drawn by hash, popularity and audience vectors from all. A URL: the same, in a new folder.
    max_events : int
        About how many events of drawn users are trained on, unless `users="folder"`.
    work : URL, optional
        Where to keep intermediate files that the executors write and this machine reads, in a new
        folder; by default beside the model. What is mapped then goes to `$TMPDIR`.

    Returns
    -------
    dict
        JSON-able: what was found, refused and trained on, settings, seconds of each step.

    Raises
    ------
    DataError
        As `recsys.spark.check`; or too little data.
    ModelError
        The folder is not empty and holds no model.
    ValueError
        An unknown way to train or to keep users, or a setting out of range.
    """
    _check_ways(train, users, work)
    given, folder = Recommender(**(params or {})).params, Path(folder).absolute()
    described = None if items is None else check_items(items)
    refuse_foreign(folder)
    seconds: dict[str, float] = {}
    with scratch(folder, work) as (url, local), _new(users, f"{url}/users") as histories:
        with _timed(seconds, "check"):
            checked = sample = check(data)
        share = _SHARES
        if users != "folder":
            with _timed(seconds, "histories"):
                checked = sample = store(checked, histories)
            share = int(_SHARES * min(1.0, max_events / checked.n_events))
        if some := share < _SHARES:
            sample = checked.where(f"pmod(xxhash64({USER}), {_SHARES}) < {share}")
        with _timed(seconds, "order"):
            events = _in_order(sample, vocabulary(checked.frame), f"{url}/events", local)
        session = sample.frame.sparkSession
        trainer = _mllib(session, url) if train == "mllib" else _gensim(local)
        first = given | {"index": "exact"} if some else given  # what comes last is indexed
        model = fit_model(events, described, first, train=trainer)
        if some:
            with _timed(seconds, "all users"):
                model = with_all_users(model, checked, f"{url}/sums", index=given["index"])
        (model if users == "folder" else without_users(model)).save(folder)
        if users == "parquet":
            _replace(local.parent / "users", folder.with_name(f"{folder.name}.users"))
    n_items, n_all = len(model.tables.item_ids), len(events.sequences.item_ids)
    return {
        "model": str(folder),
        "n_events": checked.n_events,  # with users="folder", duplicates among them
        "n_trained_on": len(events),
        "n_users": len(events.sequences),
        "n_items": n_items,
        "n_items_without_vector": n_all - n_items,
        "refused": checked.refused,
        "params": dict(model.params),
        "seconds": seconds | model.about["seconds"],
    }


def _check_ways(train: str, users: str, work: str | None) -> None:
    if train not in ("gensim", "mllib"):
        raise ValueError(f"train must be 'gensim' or 'mllib', got {train!r}")
    if users not in ("folder", "parquet") and ":/" not in users:
        raise ValueError(f"users must be 'folder', 'parquet' or a URL, got {users!r}")
    if users == "parquet" and work is not None:
        raise ValueError("users='parquet' keeps histories beside the model: with work, give a URL")


def _in_order(checked: Checked, item_ids: npt.NDArray[Any], url: str, local: Path) -> Events:
    """Let Spark write events in order, over these items, and map them; log what they are."""
    frame = ordered(coded(checked.frame, item_ids), checked.n_events).drop(ITEM)
    frame.write.parquet(url)
    events = open_events(url, item_ids, checked.latest, local)
    if repeats := checked.n_events - len(events):
        logger.info("%s exact duplicate rows dropped", f"{repeats:,}")
    logger.info("%s", events.describe())
    return events


@contextmanager
def scratch(folder: Path, work: str | None) -> Iterator[tuple[str, Path]]:
    """Make a folder for what Spark writes, and one on this machine; remove both."""
    place = folder.with_name(f".{folder.name}.{uuid4().hex[:12]}")
    if work is not None:
        url = f"{work.rstrip('/')}/{place.name.lstrip('.')}"
        system, root = files_of(url)
        with tempfile.TemporaryDirectory() as local:
            system.create_dir(root)
            try:
                yield url, Path(local)
            finally:
                system.delete_dir(root)
        return
    (place / "local").mkdir(parents=True)
    try:
        yield place.as_uri(), place / "local"
    finally:
        shutil.rmtree(place)


@contextmanager
def _new(users: str, beside: str) -> Iterator[str]:
    """Give the URL where histories go; if anything fails, nothing is left there."""
    if users in ("folder", "parquet"):
        yield beside
        return
    system, root = files_of(users)
    if system.get_file_info(root).type.name != "NotFound":
        raise DataError(f"there is something at {users} already: name a new folder")
    try:
        yield users
    except BaseException:
        system.create_dir(root)  # which may not have been reached
        system.delete_dir(root)
        raise


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started
    logger.info("%s: %.1f s", step, seconds[step])


def _replace(new: Path, place: Path) -> None:
    """Put a folder in the place of another one, which goes."""
    old = new.with_name("replaced")
    if place.exists():
        place.rename(old)
    new.rename(place)


# ---- training


def _gensim(local: Path) -> Train:
    """Train on this machine; with several workers from a text file, which gensim reads faster."""

    def train(sequences: Sequences, params: Mapping[str, Any]) -> ItemVectors:
        if params["workers"] == 1:
            return train_vectors(sequences, params)
        corpus = local / "corpus.txt"
        with corpus.open("wb") as file:
            for block in _sentences(sequences):
                lines = pa_compute.binary_join(block, " ")
                whole = pa.ListArray.from_arrays([0, len(lines)], lines)
                file.write(pa_compute.binary_join(whole, "\n")[0].as_buffer())
                file.write(b"\n")
        return train_item2vec(sequences, corpus_file=corpus, **word2vec_params(params))

    return train


def _mllib(session: SparkSession, url: str) -> Train:
    """Train on the executors with Spark's own Word2Vec."""

    def train(sequences: Sequences, params: Mapping[str, Any]) -> ItemVectors:
        from pyspark.ml.feature import Word2Vec
        from pyspark.ml.functions import vector_to_array

        path = f"{url}/sentences-{uuid4().hex[:12]}"
        _write(_sentences(sequences), path)
        trainer = Word2Vec(
            inputCol="sentence",
            outputCol="vector",
            vectorSize=params["vector_size"],
            windowSize=params["window"],
            minCount=params["min_count"],
            maxIter=params["epochs"],
            stepSize=params["alpha"],
            seed=params["seed"],
            numPartitions=params["workers"],
            maxSentenceLength=MAX_SENTENCE,
        )
        learned = trainer.fit(session.read.parquet(path)).getVectors()
        table = learned.select("word", vector_to_array("vector", "float32").alias("v")).toArrow()
        codes = table["word"].cast(pa.int64()).to_numpy()
        flat = table["v"].combine_chunks().flatten().to_numpy()
        order = np.argsort(codes)
        vectors = flat.reshape(len(codes), -1)[order].astype(np.float32)
        return ItemVectors(sequences.item_ids[codes[order]], vectors, None)

    return train


def _sentences(sequences: Sequences) -> Iterator[pa.ListArray]:
    """Give histories as lists of tokens, none longer than gensim's limit, block by block."""
    ends = sequences.offsets[1:]
    first = 0
    while first < len(sequences):
        start = sequences.offsets[first]
        last = max(first + 1, int(np.searchsorted(ends, start + BLOCK, side="right")))
        part = sequences.slice_users(first, last)
        tokens = pa.array(part.codes).cast(pa.string())
        yield pa.ListArray.from_arrays(pa.array(_cut(part.lengths), pa.int32()), tokens)
        first = last


def _cut(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where sentences start, and the end: one a user, cut every MAX_SENTENCE events.

    Examples
    --------
    >>> _cut(np.array([2, 0, 25_000, 3]))
    array([    0,     2, 10002, 20002, 25002, 25005])
    """
    pieces = -(-lengths // MAX_SENTENCE)
    place = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = np.repeat(np.cumsum(lengths) - lengths, pieces) + MAX_SENTENCE * place
    return np.append(starts, lengths.sum())


def _write(blocks: Iterator[pa.ListArray], url: str) -> None:
    """Write sentences as Parquet, one file a block, for Spark to read."""
    system, root = files_of(url)
    system.create_dir(root)
    for number, block in enumerate(blocks):
        table = pa.table({"sentence": block})
        pa_parquet.write_table(table, f"{root}/part-{number:05}.parquet", filesystem=system)

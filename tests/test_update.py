"""An updated model is the one that `fit` on everything gives, but for the vectors it has kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from gensim.models import Word2Vec

from recsys import DataError, Recommender
from recsys.__main__ import main
from recsys.data.columns import take
from recsys.data.events import build_sequences
from recsys.data.splits import split_by_time
from recsys.model.update import measure_drift
from recsys.recommender import fitted
from recsys.vectors.item2vec import continue_item2vec, train_item2vec
from tests.conftest import BRIEF
from tests.test_changes import copy_of
from tests.test_storage import snapshot

FAST = BRIEF | {"index": "exact"}
TINY = {"vector_size": 4, "calibrate": False, "index": "exact"}
# What training makes; all else of an updated model is that of a fit on old and new together.
TRAINED = {"vectors", "contexts", "audience", "readout"}
PARAMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"scoring": "cosine"},
    "min_rating": {"min_rating": 4.0, "min_count": 3},
    "no times": {"popularity_days": None},
    "text ids": {},
}


def columns(model: Recommender) -> dict[str, Any]:
    return {name: take(column) for name, column in fitted(model).tables.to_columns().items()}


def differing(one: Recommender, other: Recommender) -> set[str]:
    ours, theirs = columns(one), columns(other)
    assert ours.keys() == theirs.keys()
    same = {name for name in ours if np.array_equal(ours[name], theirs[name])}
    return ours.keys() - {name for name in same if ours[name].dtype == theirs[name].dtype}


def kind(ratings: pd.DataFrame, name: str) -> pd.DataFrame:
    """The sample as another kind of data."""
    if name == "no times":
        return ratings.sort_values("timestamp", kind="stable").drop(columns="timestamp")
    if name == "text ids":
        return ratings.assign(
            user_id="u" + ratings["user_id"].astype(str),
            item_id="\N{BULLET} " + ratings["item_id"].astype(str),
        )
    return ratings


@pytest.fixture(scope="module")
def parts(sample):
    """The earlier 80% of the ratings of a third of the users, and the later 20%."""
    split = split_by_time(sample[sample["user_id"] % 3 == 0])
    return split.train, split.validation


@pytest.fixture(scope="module")
def old(parts):
    """A model of the earlier part; tests must not change it."""
    return Recommender(**FAST).fit(parts[0])


@pytest.fixture(scope="module")
def updated(old, parts):
    return copy_of(old).update(parts[1])


# ---- the strong test


@pytest.mark.parametrize("name", PARAMS)
@pytest.mark.parametrize("loaded", [False, True], ids=["in memory", "from a folder"])
def test_all_that_is_counted_equals_a_fit_on_everything(name, loaded, parts, tmp_path):
    train, news = (kind(part, name) for part in parts)
    params = FAST | PARAMS[name]
    model = Recommender(**params).fit(train)
    if loaded:
        model.save(tmp_path / "model")
        model = Recommender.load(tmp_path / "model")
    full = Recommender(**params).fit(pd.concat([train, news]))
    assert differing(model, full) > TRAINED  # so that the next line compares something
    assert differing(model.update(news), full) == TRAINED
    assert np.array_equal(columns(model)["readout"][:, -1], columns(full)["readout"][:, -1])
    assert model.about["data"]["n_ratings"] == full.about["data"]["n_ratings"]


def test_news_that_are_older_than_what_is_known_find_their_place(parts):
    """A random fifth comes late: within users, and among events of the same second."""
    some = pd.concat(parts)
    late = np.random.default_rng(0).random(len(some)) < 0.2
    params = FAST | PARAMS["min_rating"]
    model = Recommender(**params).fit(some[~late]).update(some[late])
    assert differing(model, Recommender(**params).fit(some)) == TRAINED


def test_an_item_that_was_too_rare_comes_with_the_events_it_had_before():
    views = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 2], "item_id": [10, 20, 30, 10, 20, 40]})
    model = Recommender(**TINY, min_count=2).fit(views)
    assert model.items.tolist() == [10, 20]
    model.update(pd.DataFrame({"user_id": [2], "item_id": [30]}))
    assert model.items.tolist() == [10, 20, 30]
    assert fitted(model).tables.histories.items_of(0).tolist() == [0, 1, 2]
    drift = model.update(pd.DataFrame({"user_id": [2], "item_id": [30]})).about["drift"]
    assert drift["n_new_events"] == 1  # without times, a repeat is an event
    assert (drift["similar"], drift["answers"]) == (None, None)  # too small to compare
    model.update(pd.DataFrame({"user_id": [1, 2], "item_id": np.array([2**63 + 1] * 2, np.uint64)}))
    assert model.items.tolist() == [10, 20, 30, 2**63 + 1]
    with pytest.raises(DataError, match="ids below 0 and ids above"):
        model.update(pd.DataFrame({"user_id": [3], "item_id": [-1]}))


# ---- what an update is for


def test_a_new_item_that_many_watch_is_recommended_to_the_others(old, parts):
    hit, last = 10**6, parts[1].drop_duplicates("user_id", keep="last").iloc[::2]
    model = copy_of(old).update(pd.concat([parts[1], last.assign(item_id=hit)]))
    others = np.setdiff1d(parts[1]["user_id"], last["user_id"])
    listed = model.recommend_many(k=20, users=others)
    assert (listed["item_id"] == hit).sum() > len(others) / 4
    assert hit not in set(model.recommend_many(k=20, users=last["user_id"])["item_id"])


def test_old_input_vectors_stay_to_the_bit_and_the_rest_learns(old, updated, parts):
    new_users = np.setdiff1d(updated.users, old.users)
    new_items = np.setdiff1d(updated.items, old.items)
    drift = updated.about["drift"]
    assert len(new_users) == drift["n_new_users"] > 10
    assert len(new_items) == drift["n_new_items"] > 10
    assert drift["n_new_events"] == len(parts[1])
    assert 0.3 < drift["similar"] < 1
    assert 0.2 < drift["answers"] < 1
    assert all(len(updated.recommend(user, k=10)) == 10 for user in new_users)
    for item in old.items:
        assert np.array_equal(old.item_vector(item), updated.item_vector(item))
    moved = [(old.item_vector(item, "output") != updated.item_vector(item, "output")).any()
             for item in old.items]  # fmt: skip
    assert np.mean(moved) > 0.9
    for item in new_items:  # gensim begins at zero
        assert updated.item_vector(item, "output").any()
    for user, watched in list(parts[1].groupby("user_id")["item_id"])[:40]:
        assert not set(updated.recommend(user, k=100).item_ids) & set(watched)
    same = measure_drift(*[fitted(old).tables] * 2)
    assert list(same.values()) == [0, 0, 0, 1.0, 1.0]


# ---- the same in, the same out


def test_the_same_update_gives_the_same_bytes_in_any_order_and_with_known_events(
    old, parts, tmp_path
):
    shuffled = parts[1].sample(frac=1, random_state=3)
    for name, news in (("one", parts[1]), ("other", pd.concat([parts[0].iloc[::7], shuffled]))):
        copy_of(old).update(news).save(tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "other")


def test_what_is_known_already_changes_no_byte(parts, sample_items, tmp_path, caplog):
    items = sample_items.replace({"title": {sample_items["title"][50]: "Renamed"}})
    model = Recommender(**FAST).fit(parts[0], sample_items).update(parts[1], items)
    titles = items.set_index("item_id")["title"]
    assert fitted(model).tables.titles[:] == titles[model.items].tolist()
    model.save(tmp_path / "model")
    before = snapshot(tmp_path / "model")
    with caplog.at_level("INFO", logger="recsys"):
        model.update(pd.concat(parts).sample(frac=0.5, random_state=1), items)
    assert "known already" in caplog.text
    model.save(tmp_path / "model")
    assert snapshot(tmp_path / "model") == before
    assert model.about["drift"]["n_new_events"] == 0


def test_updates_add_up_whatever_they_come_in(old, parts, updated):
    news, model = parts[1].sort_values("timestamp"), copy_of(old)
    for part in np.array_split(np.arange(len(news)), 3):
        model.update(news.iloc[part])
    assert differing(model, updated) <= TRAINED
    assert model.about["data"] == updated.about["data"] != old.about["data"]
    assert np.array_equal(model.item_vector(model.items[0]), updated.item_vector(updated.items[0]))


# ---- what cannot be learned


@pytest.mark.parametrize(
    ("known", "change", "params", "message"),
    [
        ("plain", lambda news: news.drop(columns="timestamp"), {},
         "have times and the new ones have none"),
        ("no times", lambda news: news, {}, "have no times and the new ones have some"),
        ("plain", lambda news: news.drop(columns="user_id"), {}, "has no column 'user_id'"),
        ("plain", lambda news: news.iloc[:0], {}, "no ratings in the frame"),
        ("plain", lambda news: news.astype({"item_id": "str"}), {},
         "item_id: the model's ids are numbers and the new ones text"),
        ("plain", lambda news: news.assign(user_id=[-1] * (len(news) - 1) + [2**80]), {},
         "user_id: the model's ids are numbers"),
        ("text ids", lambda news: news, {}, "text and the new ones numbers; .*--text-ids"),
        ("plain", lambda news: news.drop(columns="rating"), {"min_rating": 4},
         "min_rating=4 needs a rating column"),
        ("plain", lambda news: news, {"hs": 1, "scoring": "cosine"}, "hs=1 keeps no output"),
    ],
)  # fmt: skip
def test_news_that_do_not_fit_leave_the_model_as_it_was(known, change, params, message, parts):
    model = Recommender(**TINY, epochs=1, **params).fit(kind(parts[0][:500], known))
    before = fitted(model)
    with pytest.raises(ValueError, match=message) as error:
        model.update(change(parts[1]))
    assert ("hs" in params) != isinstance(error.value, DataError)
    assert fitted(model) is before


# ---- training goes on


def test_a_rebuilt_model_continues_as_the_one_that_was_never_saved(parts):
    """gensim's own model, trained on and on, beside ours that is made of two matrices."""
    train, news = (build_sequences(part) for part in parts)
    everything = build_sequences(pd.concat(parts))
    given = {"sg": 0, "negative": 5, "window": 5, "sample": 1e-3, "ns_exponent": 0.5,
             "seed": 7, "workers": 1, "vector_size": 16, "min_count": 1}  # fmt: skip
    old = train_item2vec(train, alpha=0.05, epochs=3, **given)

    def tokens(sequences, place):
        return [[str(place[c]) for c in sequences.items_of(u)] for u in range(len(sequences))]

    codes = np.arange(len(everything.item_ids))
    of_train = np.searchsorted(everything.item_ids, train.item_ids)
    of_news = np.searchsorted(everything.item_ids, news.item_ids)
    live = Word2Vec(alpha=0.05, epochs=3, **given)
    live.build_vocab_from_freq(dict(zip(map(str, of_train), train.counts().tolist(), strict=True)))
    live.train(tokens(train, of_train), total_examples=len(train), epochs=3)
    counts = dict(zip(map(str, codes), everything.counts().tolist(), strict=True))
    live.build_vocab_from_freq(counts, update=True)
    for token, n in counts.items():
        live.wv.set_vecattr(token, "count", n)
    live.make_cum_table()
    live.random = np.random.RandomState(7)
    is_new = ~np.isin(np.array(live.wv.index_to_key, int), of_train)
    live.wv.vectors_lockf = is_new.astype(np.float32)
    live.train(tokens(news, of_news), total_examples=len(news), epochs=2, start_alpha=0.03)

    lesson = news.recode(everything.item_ids)
    ours = continue_item2vec(old, train.counts(), everything, lesson, epochs=2, alpha=0.03, **given)
    rows = [live.wv.key_to_index[str(code)] for code in codes]
    assert np.array_equal(ours.item_ids, everything.item_ids)
    assert np.array_equal(ours.vectors, live.wv.vectors[rows])
    assert np.array_equal(ours.contexts, live.syn1neg[rows])
    assert not np.array_equal(ours.contexts[of_train], old.contexts)
    # `build_vocab(update=True)` by itself would skip nearly all tokens of a few events.
    lesson = everything.take_users(np.arange(1))
    given |= {"epochs": 1, "alpha": 0.05}
    taught = continue_item2vec(ours, everything.counts(), everything, lesson, **given)
    moved = (taught.contexts != ours.contexts).any(axis=1)[np.unique(lesson.codes)]
    assert moved.mean() > 0.8
    nothing = everything.take_users(np.arange(0))
    same = continue_item2vec(ours, everything.counts(), everything, nothing, **given)
    assert np.array_equal(same.contexts, ours.contexts)


# ---- the command


@pytest.fixture(scope="module")
def news_file(parts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("news") / "news.csv"
    parts[1].assign(timestamp=parts[1]["timestamp"].astype("int64")).to_csv(path, index=False)
    return path


def test_the_command_loads_updates_saves_and_says_what_it_did(
    old, parts, updated, news_file, tmp_path, capsys
):
    old.save(tmp_path / "model")
    words = ["update", "--data", str(news_file), "--model", str(tmp_path / "model")]
    assert main(words) == 0
    assert f"{len(parts[1]):,} new events" in capsys.readouterr().out
    assert differing(Recommender.load(tmp_path / "model"), updated) == set()
    before = snapshot(tmp_path / "model")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drift"]["n_new_events"] == 0
    assert snapshot(tmp_path / "model") == before


def test_the_command_leaves_the_old_model_where_it_fails(old, news_file, tmp_path, capsys):
    folder, bad = tmp_path / "model", tmp_path / "bad.csv"
    old.save(folder)
    before = snapshot(folder)
    bad.write_text(news_file.read_text(encoding="utf-8") + "7,,3,1\n", encoding="utf-8")

    def failed(message: str, data: Path = news_file, model: Path = folder) -> None:
        assert main(["update", "--data", str(data), "--model", str(model)]) == 1
        assert message in capsys.readouterr().err

    failed("item_id", data=bad)
    failed("no model", model=tmp_path / "nowhere")
    assert snapshot(folder) == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_of_updates_at_once_as_processes_none_is_lost(old, parts, tmp_path):
    """All have trained on the same model before the first of them may save."""
    folder, words, n = tmp_path / "model", ["-m", "recsys", "update", "--no-cache", "--data"], 3
    old.save(folder)
    with FileLock(folder / ".lock"):
        children = []
        for number in range(n):
            data = tmp_path / f"{number}.csv"
            part = parts[1].iloc[number::n]
            part.assign(timestamp=part["timestamp"].astype("int64")).to_csv(data, index=False)
            command = [sys.executable, *words, str(data), "--model", str(folder)]
            children.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        for child in children:
            while not _asks_for_the_lock(child):
                assert child.poll() is None
    said = "".join(child.communicate(timeout=60)[1] for child in children)
    assert [child.returncode for child in children] == [0] * n
    assert "has been replaced meanwhile: changing that one" in said
    everything = copy_of(old).update(parts[1])
    assert differing(Recommender.load(folder), everything) <= TRAINED


def _asks_for_the_lock(child: subprocess.Popen[str]) -> bool:
    held = Path(f"/proc/{child.pid}/fd")
    with suppress(OSError):  # closed just now
        return any(os.readlink(path).endswith("/.lock") for path in held.iterdir())
    return False

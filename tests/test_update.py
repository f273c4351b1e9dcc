"""An updated model is the one that `fit` on everything gives, but for the vectors it has kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gensim.models import Word2Vec

from recsys import ModelError, Recommender
from recsys.__main__ import main
from recsys.commands import common as cli
from recsys.data.columns import take
from recsys.data.sequences import Sequences, build_sequences
from recsys.data.splits import split_by_time
from recsys.errors import DataError
from recsys.evaluation.report import update_as_text
from recsys.model import storage
from recsys.model.update import drift, with_context
from recsys.studies import update as refresh
from recsys.vectors.item2vec import WORD2VEC, ItemVectors, continue_item2vec, train_item2vec
from tests.conftest import BRIEF
from tests.counts import count
from tests.test_storage import posix, snapshot

KILLS = 20
FAST = BRIEF | {"index": "exact"}
# What training makes; all else of an updated model is that of a fit on old and new together.
TRAINED = {"vectors", "contexts", "readout"}
NAMES = ["", "min_rating", "min_count", "no times", "text ids"]
PARAMS: dict[str, dict[str, Any]] = {
    "min_rating": {"min_rating": 4.0, "min_count": 3},
    "min_count": {"min_count": 8},
    "no times": {"popularity_days": None},
}


def columns(model: Recommender) -> dict[str, Any]:
    """Every table of a model as plain arrays."""
    return {name: take(column) for name, column in model._fitted().to_columns().items()}


def differing(one: Recommender, other: Recommender) -> set[str]:
    ours, theirs = columns(one), columns(other)
    assert ours.keys() == theirs.keys()
    return {
        name
        for name, column in ours.items()
        if column.dtype != theirs[name].dtype or not np.array_equal(column, theirs[name])
    }


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
def some(sample):
    """A third of the sample's users, so that a training takes a tenth of a second."""
    return sample[sample["user_id"] % 3 == 0]


@pytest.fixture(scope="module")
def parts(some):
    """The earlier 80% of the ratings and the later 20%."""
    split = split_by_time(some)
    return split.train, split.validation


@pytest.fixture(scope="module")
def old(parts):
    """A model of the earlier part; tests must not change it."""
    return Recommender(**FAST).fit(parts[0])


@pytest.fixture(scope="module")
def folder(old, tmp_path_factory):
    path = tmp_path_factory.mktemp("update") / "model"
    old.save(path)
    return path


@pytest.fixture(scope="module")
def updated(folder, parts):
    return Recommender.load(folder).update(parts[1])


# ---- the strong test


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loaded", [False, True], ids=["in memory", "from a folder"])
def test_all_that_is_counted_equals_a_fit_on_everything(name, loaded, parts, tmp_path):
    train, news = (kind(part, name) for part in parts)
    params = FAST | PARAMS.get(name, {})
    model = Recommender(**params).fit(train)
    if loaded:
        model.save(tmp_path / "model")
        model = Recommender.load(tmp_path / "model")
    full = Recommender(**params).fit(pd.concat([train, news]))
    assert differing(model, full) > TRAINED  # so that the next line compares something
    assert differing(model.update(news), full) == TRAINED
    assert np.array_equal(columns(model)["readout"][:, -1], columns(full)["readout"][:, -1])
    assert model._item_weights.tolist() == full._item_weights.tolist()
    assert list(model.popular(50)) == list(full.popular(50))


@pytest.mark.parametrize("name", ["", "min_rating"])
def test_news_that_are_older_than_what_is_known_find_their_place(name, some):
    """A random fifth comes late: within users, and amid events of the same second."""
    late = np.random.default_rng(0).random(len(some)) < 0.2
    params = FAST | PARAMS.get(name, {})
    model = Recommender(**params).fit(some[~late]).update(some[late])
    assert differing(model, Recommender(**params).fit(some)) == TRAINED


def test_an_item_that_was_too_rare_comes_with_the_events_it_had_before():
    views = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 2], "item_id": [10, 20, 30, 10, 20, 40]})
    model = Recommender(vector_size=4, min_count=2, calibrate=False, index="exact").fit(views)
    assert model.items.tolist() == [10, 20]
    model.update(pd.DataFrame({"user_id": [2], "item_id": [30]}))
    assert model.items.tolist() == [10, 20, 30]
    assert model._fitted().histories.items_of(0).tolist() == [0, 1, 2]
    assert model.drift["n_new_items"] == 1


# ---- what an update is for


def test_a_new_item_that_many_watch_is_recommended_to_the_others(folder, parts):
    hit, users = 10**6, parts[1]["user_id"].unique()
    last = parts[1].drop_duplicates("user_id", keep="last").iloc[::2]
    model = Recommender.load(folder).update(pd.concat([parts[1], last.assign(item_id=hit)]))
    others = np.setdiff1d(users, last["user_id"])
    listed = model.recommend_many(k=20, users=others)
    assert (listed["item_id"] == hit).sum() > len(others) / 4
    assert hit not in set(model.recommend_many(k=20, users=last["user_id"])["item_id"])


def test_new_users_are_served_and_new_items_have_vectors(old, updated):
    new_users = np.setdiff1d(updated.users, old.users)
    new_items = np.setdiff1d(updated.items, old.items)
    assert len(new_users) == updated.drift["n_new_users"] > 10
    assert len(new_items) == updated.drift["n_new_items"] > 10
    assert all(len(updated.recommend(user, k=10)) == 10 for user in new_users)
    norms = np.linalg.norm([updated.item_vector(item) for item in updated.items], axis=1)
    assert norms[np.isin(updated.items, new_items)].min() > 0
    contexts = [updated.item_vector(item, space="output") for item in new_items]
    assert np.abs(contexts).sum(axis=1).min() > 0  # gensim begins them at zero


def test_input_vectors_of_old_items_stay_to_the_bit_and_output_vectors_learn(old, updated):
    for item in old.items[::50]:
        assert np.array_equal(old.item_vector(item), updated.item_vector(item))
    moved = [
        np.abs(old.item_vector(item, "output") - updated.item_vector(item, "output")).max()
        for item in old.items
    ]
    assert np.mean(np.array(moved) > 0) > 0.9


def test_what_has_just_been_watched_is_not_recommended_again(updated, parts):
    for user, watched in list(parts[1].groupby("user_id")["item_id"])[:40]:
        assert not set(updated.recommend(user, k=100).item_ids) & set(watched)


def test_drift_counts_and_compares(old, updated, parts):
    assert updated.drift["n_new_events"] == len(parts[1])
    assert 0.3 < updated.drift["similar"] < 1
    assert 0.2 < updated.drift["answers"] < 1
    assert updated.drift["seconds"] > 0
    same = drift(old._fitted(), old._fitted())
    assert same == {"n_new_events": 0, "n_new_users": 0, "n_new_items": 0,
                    "similar": 1.0, "answers": 1.0}  # fmt: skip


def test_drift_of_a_model_too_small_to_compare_is_none():
    views = pd.DataFrame({"user_id": [1, 1], "item_id": [10, 20]})
    model = Recommender(vector_size=4, calibrate=False, index="exact").fit(views)
    model.update(views)
    assert (model.drift["similar"], model.drift["answers"]) == (None, None)
    assert model.drift["n_new_events"] == 2  # without times, a repeat is an event


def test_titles_of_new_items_are_added_and_others_replaced(parts, sample_items):
    train, news = parts
    known = sample_items[sample_items["item_id"].isin(train["item_id"])]
    model = Recommender(**FAST).fit(train, known)
    first = known["item_id"].iloc[0]
    later = sample_items[sample_items["item_id"].isin(news["item_id"])]
    again = pd.concat([later[later["item_id"] != first], known.iloc[:1].assign(title="Renamed")])
    model.update(news, again)
    expected = dict(zip(sample_items["item_id"], sample_items["title"], strict=True))
    expected[first] = "Renamed"
    titles = model._fitted().titles[:]
    assert titles == [expected[item] for item in model.items]


# ---- the same in, the same out


def test_the_same_update_gives_the_same_bytes_in_any_row_order(folder, parts, tmp_path):
    for name, news in (("one", parts[1]), ("other", parts[1].sample(frac=1, random_state=3))):
        model = Recommender.load(folder).update(news)
        model.save(tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "other")


@pytest.mark.parametrize("with_items", [False, True])
def test_what_is_known_already_changes_no_byte(with_items, parts, sample_items, tmp_path, caplog):
    items = sample_items if with_items else None
    model = Recommender(**FAST).fit(parts[0], items).update(parts[1], items)
    model.save(tmp_path / "model")
    before = snapshot(tmp_path / "model")
    with caplog.at_level("INFO", logger="recsys"):
        model.update(pd.concat(parts).sample(frac=0.5, random_state=1), items)
    assert "known already" in caplog.text
    model.save(tmp_path / "model")
    assert snapshot(tmp_path / "model") == before
    assert model.drift["n_new_events"] == 0


def test_known_events_among_new_ones_are_dropped(folder, old, parts):
    both = pd.concat([parts[0].iloc[::7], parts[1]])
    model = Recommender.load(folder).update(both)
    again = Recommender.load(folder).update(parts[1])
    assert differing(model, again) == set()
    assert model._about == again._about


def test_updates_add_up_whatever_they_come_in(folder, parts, updated):
    news = parts[1].sort_values("timestamp")
    model = Recommender.load(folder)
    for part in np.array_split(np.arange(len(news)), 3):
        model.update(news.iloc[part])
    assert differing(model, updated) <= TRAINED
    assert np.array_equal(model.item_vector(model.items[0]), updated.item_vector(updated.items[0]))


def test_two_ratings_of_one_moment_are_kept_in_one_order(some, tmp_path):
    twice = pd.concat([some, some.iloc[::5].assign(rating=lambda frame: 5.5 - frame["rating"])])
    for name, ratings in (("one", twice), ("other", twice.iloc[::-1])):
        Recommender(**FAST, min_rating=4.0).fit(ratings).save(tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "other")


def test_what_a_model_was_made_of_is_on_record(folder, parts):
    before = storage.load(folder).manifest["data"]
    model = Recommender.load(folder).update(parts[1])
    after = model._about["data"]
    assert (before["n_ratings"], after["n_ratings"]) == (len(parts[0]), sum(map(len, parts)))
    assert after["sha256"] != before["sha256"]
    other = Recommender.load(folder).update(parts[1].iloc[1:])
    assert other._about["data"]["sha256"] != after["sha256"]


def test_where_every_item_has_a_vector_an_event_costs_its_time_alone(old, updated):
    for model in (old, updated):
        stored = model._fitted().to_columns()
        assert [name for name in stored if name.startswith("event")] == ["event_times"]
        assert stored["event_times"].dtype == np.uint32


# ---- nothing is lost when it fails


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda news: news.drop(columns="timestamp"), "have times and the new ones have none"),
        (lambda news: news.drop(columns="user_id"), "has no column 'user_id'"),
        (lambda news: news.iloc[:0], "no ratings in the frame"),
        (lambda news: news.assign(item_id=news["item_id"].astype(str)),
         "item_id: the model's ids are numbers and the new ones text"),
        (lambda news: news.assign(user_id=-1).astype({"user_id": object}).assign(
            user_id=[-1] * (len(news) - 1) + [2**80]), "user_id: the model's ids are numbers"),
    ],
)  # fmt: skip
def test_bad_news_leave_the_model_as_it_was(change, message, folder, parts):
    model = Recommender.load(folder)
    before, seconds = vars(model).copy(), dict(model.seconds)
    with pytest.raises(DataError, match=message):
        model.update(change(parts[1]))
    assert vars(model) == before
    assert model.seconds == seconds
    assert list(model.recommend(model.users[0], k=5))


@pytest.mark.parametrize("place", ["recsys.model.fit.item_columns", "recsys.model.update.drift",
                                   "recsys.recommender.ExactIndex"])  # fmt: skip
def test_a_failure_at_any_step_leaves_the_model_as_it_was(place, folder, parts, monkeypatch):
    def fails(*args, **kwargs):
        raise MemoryError

    model = Recommender.load(folder)
    before, asked = vars(model).copy(), model.users[3]
    answer = list(model.recommend(asked))
    with monkeypatch.context() as patch:
        patch.setattr(place, fails)
        with pytest.raises(MemoryError):
            model.update(parts[1])
    assert vars(model) == before
    assert list(model.recommend(asked)) == answer
    assert model.update(parts[1]).drift["n_new_events"] == len(parts[1])


def test_news_with_times_are_refused_by_a_model_without(parts):
    model = Recommender(**FAST | {"popularity_days": None}).fit(kind(parts[0], "no times"))
    with pytest.raises(DataError, match="have no times and the new ones have some"):
        model.update(parts[1])


def test_text_ids_say_how_to_read_numbers_as_text(parts):
    train = kind(parts[0], "text ids").iloc[:500]
    model = Recommender(vector_size=4, epochs=1, calibrate=False, index="exact").fit(train)
    with pytest.raises(
        DataError, match=r"are text and the new ones numbers; read them .*--text-ids"
    ):
        model.update(parts[1])


def test_min_rating_needs_ratings_of_the_news_too(parts):
    train, news = parts
    model = Recommender(**FAST, min_rating=4.0).fit(train)
    with pytest.raises(DataError, match="min_rating=4 needs a rating column"):
        model.update(news.drop(columns="rating"))


def test_ids_above_2_63_join_smaller_ones():
    views = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [5, 6, 5, 7]})
    model = Recommender(vector_size=4, calibrate=False, index="exact").fit(views)
    large = pd.DataFrame({"user_id": [3, 3], "item_id": np.array([2**63 + 1, 5], np.uint64)})
    model.update(large)
    assert model.items.tolist() == [5, 6, 7, 2**63 + 1]
    with pytest.raises(DataError, match="ids below 0 and ids above"):
        model.update(pd.DataFrame({"user_id": [3], "item_id": [-1]}))


def test_hierarchical_softmax_cannot_go_on_and_cosine_can(parts):
    news = parts[1].iloc[:100]
    model = Recommender(**FAST, scoring="cosine").fit(parts[0])
    assert model.update(news).drift["n_new_events"] == 100
    model = Recommender(**FAST, scoring="cosine", hs=1).fit(parts[0])
    with pytest.raises(ValueError, match="hs=1 keeps no output vectors to go on from"):
        model.update(news)
    assert model.drift == {}


# ---- training goes on


def test_a_model_made_anew_goes_on_as_the_one_that_was_never_saved(parts):
    """gensim's own model, trained on and on, beside ours that is made of two matrices."""
    train, news = (build_sequences(part) for part in parts)
    everything = build_sequences(pd.concat(parts))
    word2vec = {name: FAST.get(name) or 1 for name in ("vector_size", "epochs")}
    given = {"sg": 0, "negative": 5, "window": 5, "sample": 1e-3, "ns_exponent": 0.5,
             "seed": 7, "workers": 1}  # fmt: skip
    old = train_item2vec(train, alpha=0.05, **word2vec, **given)

    def tokens(sequences: Sequences, place: np.ndarray) -> list[list[str]]:
        return [[str(place[c]) for c in sequences.items_of(u)] for u in range(len(sequences))]

    codes = np.arange(len(everything.item_ids))
    of_train = np.searchsorted(everything.item_ids, train.item_ids)
    of_news = np.searchsorted(everything.item_ids, news.item_ids)
    live = Word2Vec(alpha=0.05, min_count=1, **word2vec, **given)
    live.build_vocab_from_freq(dict(zip(map(str, of_train), train.counts().tolist(), strict=True)))
    live.train(tokens(train, of_train), total_examples=len(train), epochs=word2vec["epochs"])
    counts = dict(zip(map(str, codes), everything.counts().tolist(), strict=True))
    live.build_vocab_from_freq(counts, update=True)
    for token, n in counts.items():
        live.wv.set_vecattr(token, "count", n)
    live.make_cum_table()
    live.random = np.random.RandomState(7)
    live.wv.vectors_lockf = np.array(
        [float(int(token) not in of_train) for token in live.wv.index_to_key], np.float32
    )
    live.train(tokens(news, of_news), total_examples=len(news), epochs=2, start_alpha=0.03)

    lesson = news.recode(everything.item_ids)
    ours = continue_item2vec(
        old, train.counts(), everything, lesson,
        epochs=2, alpha=0.03, min_count=1, vector_size=word2vec["vector_size"], **given,
    )  # fmt: skip
    rows = [live.wv.key_to_index[str(code)] for code in codes]
    assert np.array_equal(ours.item_ids, everything.item_ids)
    assert np.array_equal(ours.vectors, live.wv.vectors[rows])
    assert np.array_equal(ours.contexts, live.syn1neg[rows])
    assert not np.array_equal(ours.contexts[of_train], old.contexts)


def test_a_small_update_is_trained_on_although_its_items_are_most_of_it(parts):
    """`build_vocab(update=True)` by itself would skip nearly all tokens of a few events."""
    train = build_sequences(parts[0])
    params = {name: Recommender(**FAST).params[name] for name in WORD2VEC} | {"sample": 1e-3}
    old = train_item2vec(train, **params)
    lesson = train.take_users(np.arange(1))
    taught = continue_item2vec(
        old, train.counts(), train, lesson, **params | {"epochs": 1, "alpha": 0.05}
    )
    moved = np.abs(taught.contexts - old.contexts).max(axis=1)[np.unique(lesson.codes)] > 0
    assert moved.mean() > 0.8


def test_without_a_lesson_nothing_moves():
    old = ItemVectors(np.array([3, 5]), np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    sequences = Sequences(
        np.array([1]), np.array([3, 5]), np.array([1, 0], np.int32), np.array([0, 2])
    )
    params = {name: Recommender(vector_size=2).params[name] for name in WORD2VEC}
    nothing = sequences.where(np.zeros(2, bool)).take_users(np.empty(0, np.int64))
    found = continue_item2vec(
        old, np.array([1, 1]), sequences, nothing, **params | {"epochs": 1, "alpha": 0.05}
    )
    assert np.array_equal(found.vectors, old.vectors)
    assert np.array_equal(found.contexts, old.contexts)


def test_context_stays_within_the_window_and_the_user():
    sequences = Sequences(
        np.arange(3), np.arange(9), np.arange(9, dtype=np.int32), np.array([0, 4, 5, 9])
    )
    new = np.isin(np.arange(9), [3, 5])
    near = with_context(sequences, new, 1)
    assert near.user_ids.tolist() == [0, 2]
    assert [near.items_of(u).tolist() for u in range(2)] == [[2, 3], [5, 6]]


# ---- the command


def write(ratings: pd.DataFrame, path: Path) -> Path:
    ratings.assign(timestamp=ratings["timestamp"].astype("int64")).to_csv(path, index=False)
    return path


def test_the_command_loads_updates_saves_and_says_what_it_did(
    old, parts, updated, tmp_path, capsys
):
    old.save(tmp_path / "model")
    words = ["update", "--data", str(write(parts[1], tmp_path / "news.csv")),
             "--model", str(tmp_path / "model")]  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"{len(parts[1]):,} new events" in said
    assert "still among an item's 10 nearest" in said
    saved = Recommender.load(tmp_path / "model")
    assert differing(saved, updated) == set()
    before = snapshot(tmp_path / "model")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drift"]["n_new_events"] == 0
    assert snapshot(tmp_path / "model") == before
    assert main(words) == 0
    assert "nothing has changed" in capsys.readouterr().out


def test_the_command_leaves_the_old_model_where_it_fails(old, parts, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "model"
    old.save(folder)
    before = snapshot(folder)
    bad = write(parts[1], tmp_path / "bad.csv")
    bad.write_text(bad.read_text(encoding="utf-8") + "7,,3,1\n", encoding="utf-8")
    assert main(["update", "--data", str(bad), "--model", str(folder)]) == 1
    assert "item_id" in capsys.readouterr().err
    good = ["update", "--data", str(write(parts[1], tmp_path / "news.csv")), "--model"]

    def full_disk(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_write_run", full_disk)
        assert main([*good, str(folder)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert snapshot(folder) == before
    assert main([*good, str(tmp_path / "nowhere")]) == 1
    assert "no model" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["update"])


def test_a_model_that_was_replaced_meanwhile_is_not_overwritten(
    old, model, parts, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "model"
    old.save(folder)
    load = cli.load_data

    def meanwhile(args: Any) -> Any:
        model.save(folder)
        return load(args)

    monkeypatch.setattr(cli, "load_data", meanwhile)
    news = str(write(parts[1], tmp_path / "news.csv"))
    assert main(["update", "--data", news, "--model", str(folder)]) == 1
    assert "has been replaced meanwhile" in capsys.readouterr().err
    assert differing(Recommender.load(folder), model) == set()


@posix
@pytest.mark.slow
def test_killed_at_any_moment_of_update_the_model_is_the_old_or_the_new_one(
    old, parts, updated, tmp_path
):
    folder, news = tmp_path / "model", write(parts[1], tmp_path / "news.csv")
    old.save(folder)
    command = [sys.executable, "-m", "recsys", "update", "--data", str(news), "--model"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}

    def begin() -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*command, str(folder)], stdout=quiet, stderr=quiet, env=environment
        )

    started = time.perf_counter()
    assert begin().wait() == 0
    longest = time.perf_counter() - started
    assert differing(Recommender.load(folder), updated) == set()
    draw, old_ones = np.random.default_rng(1), 0
    for _ in range(KILLS):
        old.save(folder)
        child = begin()
        try:
            time.sleep(longest * draw.uniform(0.3, 1))
        finally:
            child.kill()
            child.wait()
        found = Recommender.load(folder)
        is_old = differing(found, old) == set() if len(found.users) == len(old.users) else False
        assert is_old or differing(found, updated) == set()
        old_ones += is_old
    count("kills survived", KILLS)
    assert old_ones > 0


# ---- what it is worth


def test_the_report_compares_three_models_on_the_same_users_and_leaks_nothing(some):
    report = refresh.evaluate_update(some, params=FAST, name="sample")
    split = report["split"]
    assert split["n_old"] + split["n_news"] + split["n_validation"] == len(some)
    assert set(report["protocols"]) == {"warm", "fold-in"}
    for result in report["protocols"].values():
        assert list(result["models"]) == ["item2vec", "old", "retrained"]
        assert set(result["differences"]) == {"old", "retrained"}
    warm = report["protocols"]["warm"]["models"]
    assert len({values["mrr"]["mean"] for values in warm.values()}) == 3
    assert report["drift"]["item2vec"]["n_new_events"] == split["n_news"]
    assert report["drift"]["retrained"]["similar"] < report["drift"]["item2vec"]["similar"]
    text = update_as_text(json.loads(json.dumps(report, allow_nan=False)))
    assert max(map(len, text.splitlines())) <= 115
    assert "retrained" in text
    # Whatever lies after the cutoff moves no model: the drifts, and who is old, are the same.
    late = (some["timestamp"] >= pd.Timestamp(split["cutoff"])).to_numpy()
    changed = some.copy()
    changed.loc[late, "item_id"] = 10**6 + np.arange(late.sum())
    again = refresh.evaluate_update(changed, params=FAST)
    assert again["drift"] == report["drift"]


def test_the_command_refuses_what_does_not_go_together(capsys):
    words = ["evaluate", "--data", "sample", "--update"]
    assert main([*words, "--ablation"]) == 1
    assert "update cannot be combined with ablation" in capsys.readouterr().err


def test_a_model_of_a_folder_without_the_times_is_refused(old, tmp_path):
    columns, manifest = old._fitted().to_columns(), {"params": old.params, **old._about}
    storage.save(tmp_path / "model", columns | {"event_times": np.arange(3)}, manifest)
    with pytest.raises(ModelError, match="event_times does not fit"):
        Recommender.load(tmp_path / "model")

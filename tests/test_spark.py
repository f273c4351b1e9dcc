"""The same events, model, lists and figures from Spark as on one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import recsys.evaluate
from recsys import DataError, DataWarning, ModelError, Recommender
from recsys.data.columns import take
from recsys.data.events import Events
from recsys.data.frames.ratings import check_ratings
from recsys.recommender import fitted
from recsys.vectors.audience import audience_answers, audience_vectors
from tests import conftest

pytest.importorskip("pyspark", reason="needs the extra spark")
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from recsys.spark import check, evaluate, fit, histories, prepare, read, recommend_many
from recsys.spark.__main__ import main

BRIEF = conftest.BRIEF | {"audience_weight": 5.0}  # nothing is calibrated
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in BRIEF.items()]

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of pyspark's
]


def start(master):
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(master).config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.session.timeZone", "UTC").config("spark.log.level", "OFF")
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    # Few and small tasks; a task that loses its executor is counted as failed.
    builder = builder.config("spark.sql.shuffle.partitions", 2).config("spark.task.maxFailures", 8)
    return builder.config("spark.executor.memory", "1g").getOrCreate()


@pytest.fixture(scope="module")
def spark():
    session = start("local[2]")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def sample_csv(sample, tmp_path_factory):
    return write(sample, tmp_path_factory.mktemp("spark") / "ratings.csv")


def write(ratings, path):
    seconds = ratings["timestamp"].astype("int64")
    shuffled = ratings.assign(timestamp=seconds).sample(frac=1, random_state=1)
    pd.concat([shuffled, shuffled[:100]]).to_csv(path, index=False)  # some are there twice
    return str(path)


def bytes_of(folder):
    run = folder / (folder / "current").read_text().strip()
    return {path.name: path.read_bytes() for path in run.iterdir()}


def lists_of(frame):
    found = frame.toArrow().to_pandas().sort_values(["user_id", "rank"])
    return list(found.itertuples(index=False, name=None))


def frame_of(session, **columns):
    return session.createDataFrame(pa.table(columns))


# ---- checks and order


BAD = """user_id,item_id,rating,timestamp
1,10,3.5,100
,10,3,100
2,,3,100
2,11,nan,100
2,11,-1,100
3,12,4,yesterday
3,12,4
3,12,4,100,200
x,12,4,100
3,1.5,4,100
3,12.0,4,100
"""
REFUSED = {
    "fewer or more fields than the header": {"n": 2, "example": "3,12,4"},
    "user_id is missing": {
        "n": 1, "example": '{"item_id":"10","rating":"3","timestamp":"100"}'
    },
    "user_id is not a whole number below 2**63": {
        "n": 1, "example": '{"user_id":"x","item_id":"12","rating":"4","timestamp":"100"}'
    },
    "item_id is missing": {"n": 1, "example": '{"user_id":"2","rating":"3","timestamp":"100"}'},
    "item_id is not a whole number below 2**63": {
        "n": 1, "example": '{"user_id":"3","item_id":"1.5","rating":"4","timestamp":"100"}'
    },
    "rating is not a number of 0 or more": {
        "n": 2, "example": '{"user_id":"2","item_id":"11","rating":"-1","timestamp":"100"}'
    },
    "timestamp is not a time after 1970": {
        "n": 1, "example": '{"user_id":"3","item_id":"12","rating":"4","timestamp":"yesterday"}'
    },
}  # fmt: skip


def test_refused_rows_are_counted_with_an_example_each(spark, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(BAD.replace("x,12", "7,12"))
    with pytest.raises(DataError, match=r"8 of 11 rows are refused: 2 x .*3,12,4'; .*--drop-bad"):
        check(read(str(path), spark))
    path.write_text(BAD)
    with pytest.raises(DataError, match=r"user_id mixes 7 numbers and 1 texts; .*--text-ids"):
        check(read(str(path), spark))
    with pytest.warns(DataWarning, match="9 of 11 rows are refused"):
        found = check(read(str(path), spark), drop_bad=True)
    assert found.refused == REFUSED
    rows = [tuple(row) for row in found.frame.sort("user_id").collect()]
    assert rows == [(1, 10, 3.5, 100), (3, 12, 4.0, 100)]
    assert (found.n_events, found.latest) == (2, 100)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([100, 200], [100, 200]),
        ([10**12 + 1999, 2 * 10**12], [10**9 + 1, 2 * 10**9]),
        ([1_234_567_890_999_999_999, 10**18], [1_234_567_890, 10**9]),
        ([100.9, 200.0], [100, 200]),
        (["1970-01-01T00:01:40Z", "1970-01-01 00:03:20"], [100, 200]),
        (pd.to_datetime([100, 200], unit="s"), [100, 200]),
        (pd.to_datetime([100, 200], unit="s", utc=True), [100, 200]),
        ([100, 10**13], "timestamps mix units: .* seconds, .* milliseconds"),
        ([20240131, 20240201], r"20240131 look like dates \(YYYYMMDD\)"),
        ([100, 10**10], "10000000000 is not a time before 2200"),
        ([True, False], "timestamp holds boolean values"),
    ],
)
def test_times_of_any_kind_become_seconds(spark, times, seconds):
    frame = frame_of(spark, uid=[1, 2], movieId=["a", "b"], ts=pa.array(times))
    if isinstance(seconds, str):
        with pytest.raises(DataError, match=seconds):
            check(frame)
        return
    found = check(frame)
    rows = found.frame.sort("user_id").toArrow().to_pylist()
    assert [row["timestamp"] for row in rows] == seconds
    assert found.latest == max(seconds)


def test_what_spark_cannot_order_or_read_alike_everywhere_is_refused(spark):
    frame = frame_of(spark, user_id=[1], item_id=[2])
    with pytest.raises(DataError, match="rows in Spark have no order"):
        check(frame)
    inexact = frame_of(spark, user_id=[2.0**53, 1.0], item_id=[1, 2], timestamp=[10**9, 10**9])
    with pytest.raises(DataError, match="1 x user_id is not a whole number"):
        check(inexact)
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    with pytest.raises(DataError, match=r"set spark\.sql\.session\.timeZone to UTC"):
        check(frame)
    spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_ids_above_2_to_the_63_are_text_or_refused(spark, sample, tmp_path):
    (tmp_path / "ids.csv").write_text("user,item,time\n9223372036854775808,1,100\n7,2,200\n")
    assert check(read(str(tmp_path / "ids.csv"), spark)).frame.dtypes[0] == ("user_id", "string")
    user = pa.array([2**63], pa.decimal128(20))
    with pytest.raises(DataError, match=r"user_id is not a whole number below 2\*\*63"):
        check(frame_of(spark, user_id=user, item_id=[1], timestamp=[100]))
    shifted = sample.assign(user_id=sample["user_id"].astype("uint64") + np.uint64(2**63))
    Recommender(**BRIEF).fit(shifted).save(tmp_path / "model")
    with pytest.raises(DataError, match="fit with ids of text"):
        recommend_many(tmp_path / "model")


def tied(kind):
    """Events of few users and items in few seconds, so that every tie-break is needed."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(-3, 9, 3000), rng.integers(0, 30, 3000)
    texts = np.array(["é", "null", " b", '"c"', "日本", "z,z"] * 5 + ["B"] * 5, dtype=object)
    return pd.DataFrame({
        "user_id": [f"{texts[user]}{user}" for user in users] if kind == "text" else users,
        "item_id": [f"{texts[item]}{item}" for item in items] if kind == "text" else items,
        "rating": rng.integers(0, 3, 3000) / np.float32(2),
        "timestamp": pd.to_datetime(rng.integers(1, 4, 3000), unit="s", utc=True),
    })  # fmt: skip


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_events_are_those_of_one_machine_to_the_last_tie(spark, kind, tmp_path, monkeypatch):
    ratings = tied(kind)
    monkeypatch.setattr(prepare, "PART", 500)
    found = check(spark.createDataFrame(pa.Table.from_pandas(ratings)))
    item_ids = prepare.vocabulary(found.frame)
    frame = prepare.ordered(prepare.coded(found.frame, item_ids), found.n_events)
    frame.write.parquet((tmp_path / "events").as_uri())
    assert len(list((tmp_path / "events").glob("*.parquet"))) > 3
    args = (tmp_path / "events").as_uri(), item_ids, found.latest, tmp_path
    ours, truth = prepare.open_events(*args), Events.of(check_ratings(ratings))
    assert len(truth) < len(ratings)
    for one, other in ((ours, truth), (ours.sequences, truth.sequences)):
        for name in set(vars(one)) - {"sequences"}:
            assert getattr(one, name).dtype == getattr(other, name).dtype
            assert_array_equal(getattr(one, name), getattr(other, name))
    assert ours.fingerprint() == truth.fingerprint()


# ---- models


@pytest.mark.parametrize("min_rating", [None, 4])
def test_the_folder_and_all_lists_are_those_of_one_machine(spark, ml_100k, tmp_path, min_rating):
    params = conftest.BRIEF | {"min_rating": min_rating}
    events = check(read(write(ml_100k, tmp_path / "ratings.csv"), spark))
    report = fit(events, tmp_path / "ours", params=params)
    truth = Recommender(**params).fit(ml_100k)
    truth.save(tmp_path / "truth")
    assert bytes_of(tmp_path / "ours") == bytes_of(tmp_path / "truth")
    assert {path.name for path in tmp_path.iterdir()} == {"ratings.csv", "ours", "truth"}
    assert report["n_events"] == 100_100
    assert report["n_trained_on"] == 100_000
    expected = truth.recommend_many(20)
    everybody = list(expected.itertuples(index=False, name=None))
    assert lists_of(recommend_many(tmp_path / "ours", 20)) == everybody
    assert lists_of(recommend_many(tmp_path / "ours", 20, events=events)) == everybody
    three = frame_of(spark, user_id=[7, 42, 3])
    few = expected[expected["user_id"].isin([7, 42, 3])]
    found = lists_of(recommend_many(tmp_path / "ours", 20, users=three))
    assert found == list(few.itertuples(index=False, name=None))
    with pytest.raises(PySparkException, match="unknown user 0"):
        recommend_many(tmp_path / "ours", users=frame_of(spark, user_id=[1, 0])).collect()


def test_filters_hold_and_a_bad_one_fails_before_the_job(spark, sample_csv, sample_items, tmp_path):
    work = (tmp_path / "work").as_uri()
    fit(sample_csv, tmp_path / "model", items=sample_items, params=BRIEF, work=work)
    assert not list((tmp_path / "work").iterdir())
    expected = Recommender.load(tmp_path / "model").recommend_many(5, where="year < 2000")
    found = lists_of(recommend_many(tmp_path / "model", 5, where="year < 2000"))
    assert found == list(expected.drop(columns="title").itertuples(index=False, name=None))
    with pytest.raises(ValueError, match="there is no column 'yeer'"):
        recommend_many(tmp_path / "model", where="yeer < 2000")


def test_histories_can_stay_in_parquet(spark, sample, sample_csv, tmp_path):
    events, folder = check(read(sample_csv, spark)), tmp_path / "model"
    whole = Recommender(**BRIEF).fit(sample)
    fit(events, folder, params=BRIEF, users="parquet")
    bare, tables = Recommender.load(folder), fitted(whole).tables
    assert len(bare.users) == 0
    with pytest.raises(DataError, match="the model knows no users"):
        bare.update(sample)
    for name in ("vectors", "contexts", "readout", "counts"):
        assert_array_equal(getattr(fitted(bare).tables, name), getattr(tables, name))
    history = take(tables.item_ids, tables.histories.items_of(5))
    assert str(bare.recommend_for(history)) == str(whole.recommend_for(history))
    stored = read(str(tmp_path / "model.users"), spark)
    assert stored.count() == 20_000
    assert stored.where("bucket = 3").selectExpr("count(DISTINCT user_id)").first()[0] < 30
    everybody = list(whole.recommend_many(10).itertuples(index=False, name=None))
    assert lists_of(recommend_many(folder, events=stored)) == everybody

    report = fit(events, folder, params=BRIEF, users="parquet", max_events=5000)
    assert 3000 < report["n_trained_on"] < 7000
    assert report["n_items_without_vector"] == len(tables.item_ids) - report["n_items"]
    now = fitted(Recommender.load(folder)).tables
    places = np.searchsorted(tables.item_ids, now.item_ids)
    assert_array_equal(now.counts, tables.counts[places])


@pytest.mark.parametrize("min_rating", [None, 4])
def test_counts_and_audience_vectors_are_of_all_users(
    spark, ml_100k, tmp_path, min_rating, monkeypatch
):
    monkeypatch.setattr(histories, "PART", 10_000)  # so that there are several, to be added up
    monkeypatch.setattr(histories, "DENSE", 1)
    events = check(read(write(ml_100k, tmp_path / "ratings.csv"), spark))
    params = BRIEF | {"min_rating": min_rating}
    url = (tmp_path / "users").as_uri()
    fit(events, tmp_path / "model", params=params, users=url, max_events=30_000, work=url + "-work")
    assert read(url, spark).count() == 100_000
    assert not list((tmp_path / "users-work").iterdir())
    model = fitted(Recommender.load(tmp_path / "model"))
    assert model.approximate.backend == model.params["index"] == "annoy"
    tables, everybody = model.tables, Events.of(check_ratings(ml_100k))
    liked = everybody.where(everybody.liked(min_rating)).sequences.recode(tables.item_ids)
    assert_array_equal(tables.counts, liked.counts())
    expected = audience_vectors(tables.vectors, liked)
    # Directions of nearly one size turn with the rounding of any sum, products of vectors do not.
    assert_allclose(tables.audience @ tables.audience.T, expected @ expected.T, atol=1e-4)
    ours = tables.readout[:, tables.vectors.shape[1] + 1 : -1] @ tables.answering.T
    answers = audience_answers(expected, liked.counts()) @ expected.T
    assert_allclose(ours / ours.max(), answers / answers.max(), atol=1e-4)


def test_several_workers_train_from_a_file(spark, sample, sample_csv, tmp_path):
    fit(read(sample_csv, spark), tmp_path / "model", params=BRIEF | {"workers": 2, "epochs": 10})
    several = Recommender.load(tmp_path / "model")
    one = Recommender(**BRIEF | {"epochs": 10}).fit(sample)
    pairs = (fitted(model).tables.readout[:, :-2] for model in (several, one))
    first, second = (np.corrcoef(readout)[np.triu_indices(len(readout), 1)] for readout in pairs)
    assert np.corrcoef(first, second)[0, 1] > 0.6


def test_evaluation_has_the_figures_of_one_machine(spark, ml_100k, tmp_path):
    truth = recsys.evaluate.evaluate(ml_100k, params=BRIEF, against=())
    csv = write(ml_100k, tmp_path / "ratings.csv")
    report = evaluate(read(csv, spark), tmp_path / "model", params=BRIEF)
    assert report["split"] == {n: truth["split"][n] for n in ("protocol", "cutoff", "n_train")}
    for name, protocol in truth["protocols"].items():
        ours, theirs = (p["models"]["item2vec"] for p in (report["protocols"][name], protocol))
        assert ours.keys() == theirs.keys()
        for metric in theirs.keys() - {"n_users_unserved"}:
            assert_allclose(ours[metric]["mean"], theirs[metric]["mean"], rtol=1e-9)
            if theirs[metric]["ci95"]:
                assert_allclose(ours[metric]["ci95"], theirs[metric]["ci95"], atol=0.015)
        for count in ("n_users", "n_targets", "n_targets_without_vector"):
            assert report["protocols"][name][count] == protocol[count]
    with pytest.raises(DataError, match="name another folder"):
        evaluate(read(csv, spark), tmp_path / "model")


def test_a_job_that_fails_leaves_the_old_folder_and_nothing_else(spark, sample_csv, tmp_path):
    events = check(read(sample_csv, spark))
    fit(events, tmp_path / "model", params=BRIEF)
    before = bytes_of(tmp_path / "model")

    def fail(batches):
        raise OSError("the disk is gone")

    broken = replace(events, frame=events.frame.mapInArrow(fail, events.frame.schema))
    for users in ("folder", "parquet", (tmp_path / "users").as_uri()):
        with pytest.raises(PySparkException, match="the disk is gone"):
            fit(broken, tmp_path / "model", params=BRIEF | {"seed": 1}, users=users)
    assert bytes_of(tmp_path / "model") == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(ModelError, match="refusing to save"):
        fit(broken, tmp_path / "mine")
    with pytest.raises(DataError, match="name a new folder"):
        fit(events, tmp_path / "model", users=(tmp_path / "mine").as_uri())
    with pytest.raises(ValueError, match="train must be 'gensim' or 'mllib'"):
        fit(events, tmp_path / "model", train="mlib")
    with pytest.raises(ValueError, match="users must be 'folder', 'parquet' or a URL"):
        fit(events, tmp_path / "model", users="pq")


def test_the_command_fits_recommends_and_evaluates(spark, sample_csv, tmp_path, capfd):
    model, data = f"--model={tmp_path / 'model'}", f"--data={sample_csv}"
    assert main(["fit", data, model, "--json", *FLAGS]) == 0
    assert json.loads(capfd.readouterr().out)["n_users"] == 500
    assert main(["recommend", model, f"--out={tmp_path / 'lists'}", "-k", "3"]) == 0
    assert "lists for 500 users" in capfd.readouterr().out
    assert read(str(tmp_path / "lists"), spark).count() == 1500
    other = f"--model={tmp_path / 'earlier'}"
    assert main(["evaluate", data, other, *FLAGS]) == 0
    assert "recall@20" in capfd.readouterr().out
    assert main(["fit", "--data=/nowhere.csv", model]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "/nowhere.csv" in err.splitlines()[-1]


CONNECTED = """
import sys
from pyspark.sql import SparkSession
from recsys.spark.__main__ import main

data, model, lists, earlier, *brief = sys.argv[1:]
assert not main(["fit", data, model, *brief])
assert not main(["recommend", model, lists, "-k", "20"])
assert not main(["evaluate", data, earlier, "--json", *brief])
assert "connect" in type(SparkSession.active()).__module__
"""


def test_a_session_of_spark_connect_gives_the_same(spark, sample, sample_csv, tmp_path):
    pytest.importorskip("grpc", reason="needs pyspark[connect]")
    spark.stop()  # the memory of two of them is not needed
    args = f"--data={sample_csv} --model={tmp_path / 'model'} --out={tmp_path / 'lists'}"
    command = [sys.executable, "-c", CONNECTED, *args.split(), f"--model={tmp_path / 'earlier'}"]
    env = os.environ | {"SPARK_REMOTE": "local[2]"}
    ran = subprocess.run([*command, *FLAGS], env=env, check=True, text=True, stdout=subprocess.PIPE)
    truth = Recommender(**BRIEF).fit(sample)
    truth.save(tmp_path / "truth")
    assert bytes_of(tmp_path / "model") == bytes_of(tmp_path / "truth")
    lists = pd.read_parquet(tmp_path / "lists").sort_values(["user_id", "rank"], ignore_index=True)
    pd.testing.assert_frame_equal(lists, truth.recommend_many(20), check_dtype=False)
    found = json.loads(ran.stdout[ran.stdout.index("{") :])
    expected = recsys.evaluate.evaluate(sample, params=BRIEF, against=())
    for name in ("warm", "fold-in"):
        ours, theirs = (one["protocols"][name]["models"]["item2vec"] for one in (found, expected))
        assert_allclose(ours["recall@20"]["mean"], theirs["recall@20"]["mean"], rtol=1e-9)


# ---- a cluster, last: a process has one session of Spark at a time


@pytest.fixture(scope="module")
def cluster(spark):
    spark.stop()
    session = start("local-cluster[2,1,1024]")
    yield session
    session.stop()


def test_executors_that_die_change_nothing(cluster, sample, sample_csv, tmp_path):
    events = check(read(sample_csv, cluster))

    def die_once_a_stage(batches):
        from pyspark import TaskContext

        mark = tmp_path / f"killed-{TaskContext.get().stageId()}"
        if not mark.exists() and len(list(tmp_path.glob("killed-*"))) < 3:
            mark.touch()
            daemon = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2]
            os.kill(int(daemon.split()[1]), 9)  # the executor, whose child's child this is
        yield from batches

    frame = events.frame.mapInArrow(die_once_a_stage, events.frame.schema)
    fit(replace(events, frame=frame), tmp_path / "model", params=BRIEF)
    assert len(list(tmp_path.glob("killed-*"))) >= 2
    Recommender(**BRIEF).fit(sample).save(tmp_path / "truth")
    assert bytes_of(tmp_path / "model") == bytes_of(tmp_path / "truth")


def test_mllib_learns_which_items_go_together(cluster, tmp_path):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 12)
    items = users % 2 * 20 + rng.permuted(np.tile(np.arange(20), (60, 1)), axis=1)[:, :12].ravel()
    times = np.arange(len(users)) + 1
    events = frame_of(cluster, user_id=users, item_id=items, timestamp=times)
    given = {"vector_size": 8, "epochs": 10, "workers": 2, "calibrate": False}
    fit(events, tmp_path / "model", train="mllib", params=given)
    model = Recommender.load(tmp_path / "model")
    lists = model.recommend_many(8)
    right = lists["item_id"] // 20 == lists["user_id"] % 2
    assert right.mean() > 0.95
    with pytest.raises(ValueError, match="no 'output' vectors"):
        model.item_vector(3, "output")
    again = recommend_many(tmp_path / "model", 8)
    assert lists_of(again) == list(lists.itertuples(index=False, name=None))

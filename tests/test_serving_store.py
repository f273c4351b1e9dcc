"""What the service keeps, in both databases; what a model learns of it; comparing models."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from recsys import DataError, Recommender
from tests.conftest import BRIEF

pytest.importorskip("sqlalchemy", reason='the extra "serve" is not installed')

from recsys.__main__ import main
from recsys.serving import ab
from recsys.serving import store as stores
from recsys.serving.store import Store
from recsys.serving.update import as_ratings, learn_events

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a PostgreSQL server that is started for the tests."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if not BINARIES:
        missing = "no PostgreSQL on this machine (Debian: apt-get install postgresql)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path has at most 107 bytes
    who = {}
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        who = {"user": "nobody", "cwd": "/"}
        shutil.chown(folder, "nobody")

    def run(program, *words):
        subprocess.run([BINARIES[-1] / program, "-D", folder / "data", *words], check=True,
                       capture_output=True, timeout=60, **who)  # fmt: skip

    run("initdb", "-A", "trust", "-U", "recsys", "--no-sync", "-E", "UTF8", "--locale=C")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "start", "-w", "-o", options, "-l", folder / "log")
    yield f"postgresql+psycopg://recsys@/postgres?host={folder}"
    run("pg_ctl", "stop", "-m", "immediate")
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    url = request.getfixturevalue("postgresql")
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return url


@pytest.fixture
def opened():
    """Open stores by their URLs; they are closed in the end."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(Store(url))


def event(user, item, time=1_000, **given):
    row = {"user_id": user, "item_id": item, "kind": "view", "rating": None, "event_id": None}
    return row | {"time": time} | given


def test_events_are_kept_once_and_come_back_in_order(url, opened):
    store, other = opened(url), opened(url)
    odd = "é'\"%; DROP TABLE events --\n" + "日" * 400
    assert store.add_events([event(odd, "b", 2, event_id=odd), event(odd, "a", 1, rating=4.5)]) == 2
    assert other.add_events([event(odd, "c", event_id=odd), event("other", "c", event_id="2")]) == 1
    assert [tuple(row) for row in other.events_of(odd)] == [
        ("a", 1, 4.5, "view"), ("b", 2, None, "view"),
    ]  # fmt: skip
    assert store.all_events() == {
        "user_id": [odd, odd, "other"], "item_id": ["a", "b", "c"], "rating": [4.5, None, None],
        "kind": ["view"] * 3, "time": [1, 2, 1_000],
    }  # fmt: skip
    lists = {"time": 5, "experiment": "e", "arm": "A", "model": "m", "user_id": odd, "items": ["a"]}
    store.add_lists([lists])
    assert [*store.lists_of("e")] == [(5, "A", "m", odd, ["a"])]
    assert store.times_of_events()[odd, "b"] == [2]
    assert other.forget_user(odd) == {"events": 2, "lists": 1}
    assert (store.events_of(odd), store.all_events()["user_id"]) == ([], ["other"])
    assert store.forget_older(1.0) == {"events": 0, "lists": 0}
    assert store.forget_older(-1.0) == {"events": 1, "lists": 0}
    assert store.all_events()["user_id"] == []


def test_only_the_newest_events_of_a_user_are_read(url, monkeypatch, opened):
    store = opened(url)
    store.add_events([event("u", str(n), n) for n in range(stores.MOST + 5)])
    found = store.events_of("u")
    assert (len(found), found[0][1], found[-1][1]) == (stores.MOST, 5, stores.MOST + 4)


def test_an_older_store_is_brought_up_to_date_and_a_newer_one_refused(url, monkeypatch, opened):
    with monkeypatch.context() as patch:
        patch.setattr(stores, "MIGRATIONS", stores.MIGRATIONS[:1])
        opened(url).add_events([event("u", "i")])
    newest = opened(url)
    assert newest.all_events()["user_id"] == ["u"]
    assert [*newest.lists_of("e")] == []
    monkeypatch.setattr(stores, "MIGRATIONS", stores.MIGRATIONS[:1])
    with pytest.raises(DataError, match="schema version 2 and this recsys knows 1"):
        opened(url)


@pytest.mark.parametrize("url", ["x", "mysql://x/y", "sqlite://", "postgresql://x/y"])
def test_other_stores_are_refused(url, opened):
    with pytest.raises(DataError, match="store"):
        opened(url)


def test_shares_of_an_experiment_stay_as_they_are(url, opened):
    store = opened(url)
    for _ in range(2):
        store.add_arms("one", {"B": 0.25, "A": 0.75})
    with pytest.raises(DataError, match=r"begun with the shares B=0\.25, A=0\.75"):
        store.add_arms("one", {"A": 0.5, "B": 0.5})
    assert (store.arms_of("one"), store.experiments()) == ({"B": 0.25, "A": 0.75}, ["one"])


def test_the_service_answers_the_same_from_either_database(url, model, tmp_path):
    from starlette.testclient import TestClient

    from recsys.serving.app import make_app
    from recsys.serving.live import Arm

    model.save(tmp_path / "model")
    app = make_app([Arm("model", tmp_path / "model", 1.0)], url)
    history = [int(item) for item in model.items[:3]]
    with TestClient(app, base_url="http://localhost") as client:
        for item in history:
            posted = client.post("/v1/events", json={"user_id": "newcomer", "item_id": item})
            assert posted.json() == {"stored": 1}
        found = client.get("/v1/users/newcomer/recommendations").json()["items"]
        assert found == model.recommend_for(history).to_dicts()
        assert client.get("/readyz").status_code == 200
        assert "recsys_events_stored_total 3.0" in client.get("/metrics").text


# ---- learning


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def test_an_update_learns_what_is_new_and_what_fits(folder, model, url, capsys, opened):
    user, item = int(model.users[0]), int(model.items[0])
    now = model._model.tables.events.now
    store = opened(url)
    store.add_events([
        event(str(user), str(item), now + 60), event("900001", str(item), now + 61),
        event("900001", "900002", now + 62), event("text", "1", now + 63),
        event("900003", str(item), now + 64, kind="dislike"), event("007", "1", now + 65),
    ])  # fmt: skip
    assert main(["update", "--events", url, "--model", str(folder)]) == 0
    assert "3 new events, 1 new users, 1 new items" in capsys.readouterr().out
    learned = Recommender.load(folder)
    assert {900001, 900003} & {*learned.users.tolist()} == {900001}
    assert 900002 in learned.items
    assert main(["update", "--events", url, "--model", str(folder)]) == 0
    assert "nothing has changed" in capsys.readouterr().out
    assert store.count_updates() == {"taken": 1, "nothing new": 1}


def test_events_without_a_rating_count_and_a_model_needs_times(sample):
    rows = {"user_id": ["1", "2"], "item_id": ["1", "2"], "rating": [None, 2.0],
            "kind": ["view"] * 2, "time": [5, 6]}  # fmt: skip
    strict = Recommender(**BRIEF, min_rating=4.5).fit(sample)
    assert as_ratings(strict._model, rows)["rating"].tolist() == [4.5, 2.0]
    untimed = Recommender(**BRIEF | {"popularity_days": None}).fit(sample.drop(columns="timestamp"))
    with pytest.raises(DataError, match="trained without times"):
        as_ratings(untimed._model, rows)


@pytest.mark.parametrize(("shift", "name"), [(0, "taken"), (300, "refused")])
def test_a_model_that_would_recommend_worse_is_not_taken(shift, name, sample, tmp_path, opened):
    """The last fifth of the sample is news; four fifths of it are of other items if shifted."""
    times = sample["timestamp"].astype("int64")
    late = times >= times.quantile(0.8)
    Recommender(**BRIEF).fit(sample[~late]).save(tmp_path / "model")
    before = (tmp_path / "model/current").read_text()
    news = sample[late].assign(time=times[late]).sort_values("time")
    ids = np.sort(sample["item_id"].unique())
    changed = ids[(np.searchsorted(ids, news["item_id"]) + shift) % len(ids)]
    items = np.where(np.arange(len(news)) < 0.8 * len(news), changed, news["item_id"])
    store = opened(f"sqlite:///{tmp_path}/events.db")
    users = news["user_id"].astype(str)
    given = zip(users, items.astype(str), news["time"].tolist(), strict=True)
    store.add_events([event(*one) for one in given])
    outcome = learn_events(tmp_path / "model", store)
    print(outcome)
    assert outcome.name == name
    assert ((tmp_path / "model/current").read_text() == before) == (name == "refused")
    assert store.count_updates() == {name: 1}


# ---- comparing models


def population(rng, n_users, effect, tmp_path=None):
    """Hit rates of two arms whose true difference is known, as lists and events of a store."""
    rates = rng.beta(1.0, 9.0, n_users)
    treated = rng.random(n_users) < 0.5
    rates = np.where(treated, np.minimum(rates + effect, 1), rates)
    n_lists = rng.poisson(3, n_users) + 1
    return [
        (f"u{user}", "B" if treated[user] else "A", rng.random(n_lists[user]) < rates[user])
        for user in range(n_users)
    ]


def test_hits_are_counted_by_hand(url, opened):
    store = opened(url)
    store.add_arms("e", {"A": 0.5, "B": 0.5})

    def shown(time, arm, user, *items):
        return {"time": time, "experiment": "e", "arm": arm, "model": f"run-{arm}",
                "user_id": user, "items": [*items]}  # fmt: skip

    store.add_lists([
        shown(100, "A", "a1", "x", "y", "z"), shown(300, "A", "a1", "x"),  # hit, and not
        shown(100, "A", "a2", "x", "y", "z"),  # z is third of two
        shown(100, "B", "b1", "x"), shown(150, "B", "b1", "y"),  # both hit
        shown(100, "B", "b2", "x"),  # too late
        shown(100, "B", "b3", "x"),  # disliked
        shown(950, "B", "b4", "x"),  # still open
        shown(100, "A", "ab", "x"), shown(100, "B", "ab", "x"),
    ])  # fmt: skip
    store.add_events([
        event("a1", "y", 150), event("a2", "z", 101), event("b1", "x", 200), event("b1", "y", 150),
        event("b2", "x", 201), event("b3", "x", 101, kind="dislike"), event("a2", "x", 99),
    ])  # fmt: skip
    found = ab.compare(store, "e", k=2, window=100, now=1_000, difference=0.1)
    arms = {name: (arm["n_users"], arm["n_lists"], arm["hit_rate"], arm["models"])
            for name, arm in found["arms"].items()}  # fmt: skip
    assert arms == {"A": (2, 4, 0.25, ["run-A"]), "B": (3, 5, pytest.approx(1 / 3), ["run-B"])}
    assert found["differences"]["B"]["mean"] == pytest.approx(1 / 12)
    assert (found["n_lists_open"], found["n_users_of_several_arms"]) == (1, 1)
    with pytest.raises(DataError, match="no experiment 'f' has been served; there are: e"):
        ab.compare(store, "f")


def test_the_interval_is_welchs_and_the_number_of_users_that_of_the_textbook():
    from scipy import stats

    rng = np.random.default_rng(1)
    ours, control = rng.random(40), rng.random(70) / 2
    expected = stats.ttest_ind(ours, control, equal_var=False).confidence_interval(0.95)
    assert ab._difference(ours, control)["ci95"] == pytest.approx([*expected])
    halves = np.tile([0.0, 1.0], 5_000)  # a deviation of 1/2: 16 s^2 / d^2 an arm, about
    assert ab._needed(halves, halves, 0.1)["n_users"] == pytest.approx(2 * 392.5, rel=0.01)


def test_intervals_cover_and_do_not_cry_wolf_more_than_one_time_in_twenty():
    """Of 1,000 populations each with a true difference and without one."""
    rng, n = np.random.default_rng(2), 1_000
    covered = {}
    for effect in (0.0, 0.05):
        inside = 0
        for _ in range(n):
            arms = {"A": [], "B": []}
            for _, arm, hits in population(rng, 200, effect):
                arms[arm].append(hits.mean())
            found = ab._difference(np.array(arms["B"]), np.array(arms["A"]))
            inside += found["ci95"][0] <= effect <= found["ci95"][1]
        covered[effect] = inside / n
    error = 3 * (0.05 * 0.95 / n) ** 0.5
    assert all(share == pytest.approx(0.95, abs=error) for share in covered.values()), covered


@pytest.mark.parametrize(("effect", "drop", "said"), [
    (0.15, 0.0, "B: the interval leaves 0 out"), (0.0, 0.0, "B: no difference is shown"),
    (0.0, 0.3, "do not fit the shares"),
])  # fmt: skip
def test_a_report_says_what_is_shown_and_warns(effect, drop, said, tmp_path, capsys, opened):
    url = f"sqlite:///{tmp_path}/events.db"
    store, rng = opened(url), np.random.default_rng(3)
    store.add_arms("ab", {"A": 0.5, "B": 0.5})
    lists, events = [], []
    for user, arm, hits in population(rng, 1_500, effect):
        if arm == "B" and rng.random() < drop:
            continue
        for place, hit in enumerate(hits):
            given = {"time": 1_000 * place, "experiment": "ab", "arm": arm, "model": "m"}
            lists.append(given | {"user_id": user, "items": [f"{place}-x", f"{place}-y"]})
            events += [event(user, f"{place}-y", 1_000 * place + 5)] * int(hit)
    store.add_lists(lists)
    store.add_events(events)
    assert main(["ab", url, "--window", "1m"]) == 0
    text = capsys.readouterr().out
    assert said in text
    assert ("do not fit the shares" in text) == (drop > 0)
    assert main(["ab", url, "--window", "1m", "--json"]) == 0

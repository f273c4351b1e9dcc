"""The service, asked over HTTP: lists, ids, events, errors, and who may ask."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import contextmanager
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest

from recsys import Recommender
from tests.conftest import BRIEF

pytest.importorskip("fastapi", reason='the extra "serve" is not installed')

from starlette.testclient import TestClient

from recsys.__main__ import main
from recsys.serving import app as app_module
from recsys.serving import gate
from recsys.serving.app import make_app
from recsys.serving.live import Arm, assign

ODD_IDS = ["a/b", "50%", "x y", "%2F", '"q"', "é/ü", "...", "a?b#c", "<script>", "1,2", "日本"]


@contextmanager
def serving(folder, tmp_path, **given):
    """A client of the service with one model, and a store of its own."""
    arms = given.pop("arms", None) or [Arm("model", folder, 1.0)]
    app = make_app(arms, f"sqlite:///{tmp_path}/events.db", **given)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "model"
    model.save(folder)
    return folder


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(app_module, "FLUSH", 0.01)


@pytest.fixture
def client(folder, tmp_path):
    with serving(folder, tmp_path) as client:
        yield client


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A model whose ids are text of every kind, and that has no titles."""
    rng = np.random.default_rng(0)
    views = pd.DataFrame({"user_id": np.repeat(ODD_IDS, 6)})
    views["item_id"] = [*map(str, rng.choice([f"{one}!" for one in ODD_IDS], len(views)))]
    views["timestamp"] = 1_600_000_000 + np.arange(len(views)) * 100
    folder = tmp_path_factory.mktemp("odd") / "model"
    Recommender(**BRIEF, index="exact").fit(views).save(folder)
    return folder


def listed(answer):
    """The ids of a list."""
    assert answer.status_code == 200, answer.text
    return [row["item_id"] for row in answer.json()["items"]]


@pytest.mark.parametrize(
    "dials",
    [
        {},
        {"k": 3, "reasons": True, "popularity": 0.0},
        {"where": "year >= 1990 and 'Drama' in genres", "diversity": 0.4},
        {"watched": True, "allow": [1, 4, 9, 10**30, "x"]},
        {"block": [596, 316]},
    ],
    ids=str,
)
def test_a_list_is_that_of_the_library(dials, client, model):
    user = int(model.users[7])
    answer = client.get(f"/v1/users/{user}/recommendations", params=dials)
    found = answer.json()
    assert found["items"] == model.recommend(user, **dials).to_dicts()
    assert found["user_id"] == user
    assert found["model"].startswith("run-")
    history = [int(item) for item in model.items[:4]]
    given = {"history": history, "disliked": [int(model.items[9])]}
    body = {name: value for name, value in dials.items() if name != "watched"}
    answer = client.post("/v1/recommendations", json=given | body)
    assert answer.json()["items"] == model.recommend_for(**given, **body).to_dicts()


def test_ids_of_a_url_may_be_separated_by_commas(client, model):
    user = int(model.users[0])
    url = f"/v1/users/{user}/recommendations?k=5"
    first = listed(client.get(url))
    assert listed(client.get(f"{url}&block={first[0]},{first[1]}"))[:3] == first[2:]


@pytest.mark.parametrize("user", ODD_IDS)
def test_ids_in_paths_may_be_any_text(user, odd, tmp_path):
    with serving(odd, tmp_path) as client:
        path = quote(user, safe="")
        assert client.get(f"/v1/users/{path}").json()["user_id"] == user
        assert client.get(f"/v1/items/{path}!").json()["item_id"] == f"{user}!"
        assert client.get(f"/v1/items/{path}!/similar?k=2").status_code == 200
        found = client.get(f"/v1/users/{path}/recommendations?watched=1").json()
        assert found["user_id"] == user
        assert found["items"][0]["title"] is None
        assert client.delete(f"/v1/users/{path}").json()["user_id"] == user


def test_an_event_counts_in_the_very_next_list_and_a_learned_one_once(client, model):
    user = int(model.users[3])
    url = f"/v1/users/{user}/recommendations?k=4"
    before = listed(client.get(url))
    assert client.post("/v1/events", json={"user_id": user, "item_id": before[0]}).json() == {
        "stored": 1
    }
    after = client.get(url).json()["items"]
    tables = model._model.tables
    history = [*tables.histories.items_of(3), tables.item_row(before[0])]
    history = [int(tables.item_ids[row]) for row in history]
    assert after == model.recommend_for(history, 4).to_dicts()
    # The same event as one that the model has learned: the list is the model's own again.
    client.delete(f"/v1/users/{user}")
    events = tables.events
    place = events.sequences.offsets[4] - 1
    known = {"user_id": str(user), "item_id": int(tables.item_ids[events.sequences.codes[place]])}
    client.post("/v1/events", json=[{**known, "timestamp": int(events.times[place])}])
    assert listed(client.get(url)) == before
    assert [event["learned"] for event in client.get(f"/v1/users/{user}").json()["events"]] == [
        True
    ]


def test_new_users_and_items_that_no_model_knows_are_kept(client, model):
    url = "/v1/users/newcomer/recommendations"
    assert client.get(url).status_code == 404
    popular = client.get(f"{url}?fallback=popularity&k=2").json()["items"]
    assert popular == model.popular(2).to_dicts()
    events = [{"user_id": "newcomer", "item_id": item} for item in ("no such item", 10**20)]
    assert client.post("/v1/events", json=events).json() == {"stored": 2}
    assert "has a vector" in client.get(url).json()["detail"]
    assert client.get("/v1/users/newcomer").json()["n_stored"] == 2
    history = [int(item) for item in model.items[:2]]
    client.post("/v1/events", json=[{"user_id": "newcomer", "item_id": one} for one in history])
    assert client.get(url).json()["items"] == model.recommend_for(history).to_dicts()
    dislike = {"user_id": "newcomer", "item_id": int(model.items[5]), "kind": "dislike"}
    client.post("/v1/events", json=dislike)
    expected = model.recommend_for(history, disliked=[model.items[5]]).to_dicts()
    assert client.get(url).json()["items"] == expected


def test_ratings_below_the_lowest_are_watched_and_no_interest(sample, tmp_path):
    model = Recommender(**BRIEF, min_rating=4.0).fit(sample)
    model.save(tmp_path / "model")
    liked, not_liked = (int(item) for item in model.popular(2).item_ids)
    rated = [{"user_id": "new", "item_id": liked, "rating": 4.0},
             {"user_id": "new", "item_id": not_liked, "rating": 3.5}]  # fmt: skip
    with serving(tmp_path / "model", tmp_path) as client:
        client.post("/v1/events", json=rated)
        found = client.get("/v1/users/new/recommendations").json()["items"]
    assert found == model.recommend_for([liked], block=[not_liked]).to_dicts()


def test_sending_an_event_again_changes_nothing(client):
    event = {"user_id": 1, "item_id": 2, "event_id": "e1", "timestamp": "2026-01-01T10:00:00Z"}
    assert client.post("/v1/events", json=[event, event]).json() == {"stored": 1}
    assert client.post("/v1/events", json=event).json() == {"stored": 0}
    assert client.get("/v1/users/1").json()["events"][0]["timestamp"] == 1_767_261_600


def test_a_user_is_forgotten_in_the_store_and_what_the_model_keeps_is_said(client, model):
    user = int(model.users[0])
    client.post("/v1/events", json={"user_id": user, "item_id": 1})
    client.get(f"/v1/users/{user}/recommendations")
    gone = client.delete(f"/v1/users/{user}").json()
    n = len(model._model.tables.histories.items_of(0))
    assert (gone["events"], [*gone["remains"].values()]) == (1, [n])
    assert "trained again" in gone["note"]
    assert client.get(f"/v1/users/{user}").json()["n_stored"] == 0


def test_search_finds_words_by_their_beginnings_without_case_and_accents(tmp_path):
    titles = {1: "Amélie (Le Destin)", 2: "AMEN", 3: "Destiny's Child", 4: "", 5: "<b>&'\""}
    items = pd.DataFrame({"item_id": titles.keys(), "title": titles.values()})
    items["year"] = [2001, None, 1999, None, 2010]
    users = [1, 1, 1, 1, 1, 2, 2, 3, 3]
    views = pd.DataFrame({"user_id": users, "item_id": [1, 2, 3, 4, 5, 3, 2, 3, 4]})
    Recommender(**BRIEF | {"popularity_days": None}, index="exact").fit(views, items).save(
        tmp_path / "m"
    )
    with serving(tmp_path / "m", tmp_path) as client:

        def found(text):
            return listed(client.get("/v1/items", params={"search": text}))

        assert found("ame") == [2, 1]
        assert found("DÉST") == [3, 1]
        assert found("dest ame") == [1]
        assert found("") == [3, 2, 4, 1, 5]
        assert (found("&"), found("4")) == ([], [4])
        item = {
            "item_id": 1,
            "title": "Amélie (Le Destin)",
            "n_events": 1,
            "genres": [],
            "year": 2001,
        }
        assert client.get("/v1/items/1").json() == item
        assert client.get("/v1/items/4").json()["title"] is None
        about = client.get("/v1/about").json()
        assert (about["years"], about["genres"]) == ([1999, 2010], [])


def test_the_map_is_made_once_and_a_visitor_stands_amid_their_items(client, folder, model):
    answer = client.get("/v1/map")
    found = answer.json()
    n = len(model.items)
    assert [len(found[name]) for name in ("item_ids", "x", "y", "titles", "n_events", "group")] == [
        n
    ] * 6
    assert found["n_events"] == sorted(found["n_events"], reverse=True)
    assert json.loads((folder / found["model"] / "map.json").read_text()) == found
    again = client.get("/v1/map", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    Recommender.load(folder)
    item = found["item_ids"][3]
    body = {"liked": [item], "point": True, "explain": found["item_ids"][5], "k": 1}
    asked = client.post("/v1/recommendations", json=body).json()
    assert asked["point"] == pytest.approx([found["x"][3], found["y"][3]])
    shares = asked["explanation"]["shares"]
    assert sum(share["contribution"] for share in shares) == pytest.approx(
        asked["explanation"]["score"]
    )


LONG, EVENTS, EVENT = "x" * 501, "/v1/events", {"user_id": 1, "item_id": 1}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "url", "given", "status", "said"),
    [
        ("GET", "/v1/nothing", {}, 404, "Not Found"),
        ("PUT", "/v1/events", {}, 405, "Method Not Allowed"),
        ("GET", "/v1/users/nobody", {}, 404, "unknown user 'nobody'"),
        ("GET", "/v1/users/nobody/recommendations", {}, 404, "fallback=popularity"),
        ("GET", "/v1/items/77777", {}, 404, "unknown item 77777"),
        ("GET", "/v1/users/%ff", {}, 422, "utf-8"),
        ("GET", "/v1/users/a%00b", {}, 422, "NUL"),
        ("GET", f"/v1/users/{LONG}", {}, 422, "1 to 500 characters"),
        ("GET", "/v1/users/3/recommendations?k=0", {}, 422, "query.k"),
        ("GET", "/v1/users/3/recommendations?kk=1", {}, 422, "query.kk"),
        ("GET", "/v1/users/3/recommendations?diversity=2", {}, 422, "query.diversity"),
        ("GET", "/v1/users/3/recommendations?where=yaer>1", {}, 422, "no column 'yaer'"),
        ("GET", f"/v1/items?search={'y' * 20_000}", {}, 414, "a URL has at most"),
        ("POST", "/v1/recommendations", {"json": {}}, 404, "none of the items"),
        ("POST", "/v1/recommendations", {"json": {"histroy": [1]}}, 422, "histroy"),
        ("POST", "/v1/recommendations", {"json": {"history": list(range(1_001))}}, 422, "1000"),
        ("POST", "/v1/recommendations", {"content": b"{", "headers": JSON}, 422, "JSON"),
        ("POST", EVENTS, {"content": b"[]", "headers": {"content-type": "text/plain"}}, 422, ""),
        ("POST", EVENTS, {"content": b"[" * 200_000, "headers": JSON}, 400, ""),
        ("POST", EVENTS, {"content": b" " * 2**20 + b"[]", "headers": JSON}, 413, "1,048,576"),
        ("POST", EVENTS, {"json": EVENT | {"user_id": 1.5}}, 422, "whole number or text"),
        ("POST", EVENTS, {"json": EVENT | {"item_id": True}}, 422, "whole number or text"),
        ("POST", EVENTS, {"json": EVENT | {"item_id": "\ud800"}}, 422, "surrogate"),
        ("POST", EVENTS, {"json": EVENT | {"timestamp": 9e10}}, 422, "day from now"),
        ("POST", EVENTS, {"json": EVENT | {"rating": -1}}, 422, "rating"),
    ],
)  # fmt: skip
def test_an_error_is_a_problem_that_says_what_to_do(method, url, given, status, said, client):
    if "surrogate" in said:  # httpx would not send it
        given = {"content": json.dumps(given["json"]).encode(), "headers": JSON}
    answer = client.request(method, url, **given)
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found.keys() == {"type", "title", "status", "detail"}
    assert (answer.status_code, found["status"]) == (status, status), found
    assert said in found["detail"]
    assert "Traceback" not in answer.text


def test_a_body_that_comes_in_parts_is_counted_too(client):
    parts = (b" " * 2**18 for _ in range(5))
    assert client.post("/v1/events", content=parts, headers=JSON).status_code == 413


def test_what_breaks_inside_is_a_500_without_a_traceback(client, monkeypatch):
    from recsys.serving import answers

    monkeypatch.setattr(answers, "recommend", lambda *_: 1 // 0)
    answer = client.get("/v1/users/3/recommendations")
    assert (answer.status_code, answer.json()["title"]) == (500, "Failed")
    assert "ZeroDivision" not in answer.text


def test_a_full_disk_is_507_and_loses_nothing_acknowledged(client, tmp_path):
    store = client.app.app.state.service.store
    with store.engine.connect() as connection:  # the pool has this one connection
        connection.exec_driver_sql("PRAGMA max_page_count=60")
    acknowledged, status = 0, 200
    while status == 200:
        events = [{"user_id": i, "item_id": "x" * 400} for i in range(20)]
        answer = client.post("/v1/events", json=events)
        status = answer.status_code
        acknowledged += answer.json().get("stored", 0)
    assert (status, answer.json()["title"]) == (507, "Disk full")
    with sqlite3.connect(tmp_path / "events.db") as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (acknowledged,)
    assert acknowledged
    assert client.get("/v1/users/1/recommendations?fallback=popularity").status_code == 200


def test_a_token_is_asked_for_on_everything_but_health_checks_and_the_page(folder, tmp_path):
    with serving(folder, tmp_path, token="secret-of-16-char") as client:
        for url in ("/", "/page/page.js", "/favicon.ico"):
            answer = client.get(url)
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache"), url
        for url in ("/docs", "/metrics", "/v1/about", "/openapi.json", "/page", "/nothing"):
            answer = client.get(url)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), url
        wrong = {"authorization": "Bearer secret-of-16-chaR"}
        assert client.get("/v1/about", headers=wrong).status_code == 401
        right = {"authorization": "bearer secret-of-16-char"}
        assert client.get("/v1/about", headers=right).status_code == 200
        assert [client.get(url).status_code for url in ("/livez", "/readyz")] == [200, 200]


def test_a_page_of_another_name_cannot_ask_a_service_on_loopback(folder, tmp_path):
    with serving(folder, tmp_path, hosts=gate.LOOPBACK) as client:
        assert client.get("/v1/about", headers={"host": "evil.example:8000"}).status_code == 421
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"):
            assert client.get("/v1/about", headers={"host": host}).status_code == 200, host


def test_a_crowd_is_told_to_come_again(client, monkeypatch):
    monkeypatch.setattr(gate, "WAITING", 0)
    answer = client.get("/v1/about")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_every_answer_forbids_scripts_of_others_and_guessing_of_types(client):
    for url in ("/v1/about", "/docs", "/nothing"):
        headers = client.get(url).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_the_description_names_every_route_and_shows_what_can_be_tried(client):
    text = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in text
    assert 'href="/v1/users/3/recommendations"' in text


def test_metrics_count_requests_events_and_models(client):
    client.post("/v1/events", json={"user_id": 1, "item_id": 1})
    client.get("/v1/users/3/recommendations")
    text = client.get("/metrics").text
    run = client.get("/v1/about").json()["model"]
    route = 'route="/v1/users/{id}/recommendations"'
    for line in (
        f'recsys_requests_total{{method="GET",{route},status="200"}} 1.0',
        "recsys_events_stored_total 1.0",
        f'recsys_model{{arm="model",model="{run}"}} 1.0',
        'recsys_index_overlap{arm="model"} 1.0',
    ):
        assert line in text


def test_users_are_assigned_by_share_and_lists_are_logged_where_wanted(
    folder, odd, tmp_path, model
):
    arms = [Arm("control", folder, 0.8), Arm("challenger", odd, 0.2)]
    users = [str(number) for number in range(10_000)]
    sides = [assign(user, arms, "one") for user in users]
    assert sides.count("challenger") == pytest.approx(2_000, abs=160)  # four deviations
    others = [assign(user, arms, "two") for user in users]
    both = sum(a == b == "challenger" for a, b in zip(sides, others, strict=True))
    assert both == pytest.approx(400, abs=80)  # another name assigns anew
    with serving(None, tmp_path, arms=arms, experiment="one") as client:
        user = next(u for u in map(str, model.users) if assign(u, arms, "one") == "control")
        url = f"/v1/users/{user}/recommendations?k=3"
        shown = listed(client.get(url))
        client.get(f"{url}&log=false")
        client.get(url, headers={"referer": "http://localhost/docs"})
    with sqlite3.connect(tmp_path / "events.db") as database:
        rows = database.execute("SELECT arm, user_id, items, time FROM lists").fetchall()
    assert [row[:3] for row in rows] == [("control", user, json.dumps([*map(str, shown)]))]
    assert rows[0][3] == pytest.approx(time.time(), abs=60)


def test_a_new_model_is_taken_between_two_requests_and_a_broken_one_never(model, tmp_path):
    folder = tmp_path / "model"
    model.save(folder)
    with serving(folder, tmp_path) as client:
        old = client.get("/v1/about").json()["model"]
        changed = Recommender.load(folder).remove_items([int(model.items[0])])
        changed.save(folder)
        deadline = time.monotonic() + 20
        while client.get("/v1/about").json()["model"] == old and time.monotonic() < deadline:
            time.sleep(0.05)
        new = client.get("/v1/about").json()
        assert (new["model"] != old, new["n_items"]) == (True, len(model.items) - 1)
        (folder / "current").write_text("run-0123456789abcdef\n")
        deadline = time.monotonic() + 20
        while "failures 1.0" not in client.get("/metrics").text and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.get("/v1/about").json() == new
        assert "recsys_model_failures 1.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--model {tmp}/none", "recsys train"),
        ("--host 0.0.0.0", "--token-file FILE, or --public"),
        ("--host 192.168.1.1 --token-file {tmp}/short", "16 or more"),
        ("--host example.org", "can be reached from other machines"),
        ("--workers 0", "--workers must be 1 or more"),
        ("--keep 3d", "--update-every"),
        ("--store mysql://u:secret@h/x", "not mysql"),
        ("--store sqlite:///{tmp}/no/such/folder/x.db", "cannot be opened"),
        ("--store postgresql+psycopg://u:secret@127.0.0.1:1/x", "u:***@127.0.0.1:1/x cannot be"),
        ("--model A={model} --model B={model} --share A=0.5 --share B=0.6", "add up to 1"),
        ("--model A={model} --model B={model} --share C=0.5", "the name of one"),
        ("--model A={model} --model A={model}", "a name of its own"),
        ("--model A={model} --model {model}", "--model is NAME=..."),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(
    words, said, folder, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    monkeypatch.setenv("RECSYS_STORE", f"sqlite:///{tmp_path}/events.db")
    (tmp_path / "short").write_text("secret")
    words = words.format(tmp=tmp_path, model=folder).split()
    given = words if "--model" in words else [*words, "--model", str(folder)]
    assert main(["serve", *given]) == 1
    out, err = capsys.readouterr()
    assert (said in err, out, "secret" in err) == (True, "", False), err


def test_other_verbs_make_no_store(tmp_path, folder, capsys):
    url = f"sqlite:///{tmp_path}/none.db"
    for words in (["ab", url], ["update", "--events", url, "--model", str(folder)]):
        assert main(words) == 1
        assert "there is no store" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()

"""Every format is read back by its own reader, and gives the very vectors of the model."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys import (
    ColdUserError,
    DataError,
    LookUp,
    ModelError,
    Recommender,
    UnknownItemError,
    UnknownUserError,
)
from recsys.__main__ import main
from recsys.export.files import FORMATS, export
from tests.conftest import BRIEF

COLD = (0, "é0'\",")
FILES = ("word2vec", "npz", "parquet", "sqlite")
WILD = 'A\ttab, a\nline, "quotes" and Ænima \u2028 \x1f'


def renamed(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The same frame with text in the place of numbers."""
    return frame.assign(**{name: "é" + frame[name].astype(str) + "'\"," for name in columns})


@pytest.fixture(scope="module")
def lonely(sample):
    """Ratings of some users, and of one whose only item is too rare to get a vector."""
    some = sample[sample["user_id"].isin(sample["user_id"].unique()[:80])]
    some = some[some.groupby("item_id")["item_id"].transform("size") >= 2]
    rare = some.iloc[[0]].assign(user_id=0, item_id=10**9)
    return pd.concat([some, rare], ignore_index=True)


@pytest.fixture(scope="module")
def numbers(lonely, sample_items):
    """A model with integer ids, a cold user, and a wild title."""
    titles = sample_items.assign(title=sample_items["title"].where(sample_items.index > 0, WILD))
    first = titles.assign(item_id=sample_items["item_id"].to_numpy()).query("title == @WILD")
    assert first["item_id"].isin(lonely["item_id"]).all()
    return Recommender(**BRIEF, min_count=2).fit(lonely, titles)


@pytest.fixture(scope="module")
def texts(lonely):
    """A model with text ids, without titles."""
    return Recommender(**BRIEF, min_count=2).fit(renamed(lonely, "user_id", "item_id"))


@pytest.fixture(scope="module")
def saved(numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    numbers.save(folder)
    return folder


@pytest.fixture(params=["numbers", "texts"])
def either(request):
    return request.getfixturevalue(request.param)


def one_by_one(model: Recommender, kind: str) -> np.ndarray:
    if kind == "users":
        return np.array([model.user_vector(user) for user in warm(model)])
    return np.array([model.item_vector(item, kind) for item in model.items])


def warm(model: Recommender) -> list:
    return [user for user in model.users.tolist() if user not in COLD]


def ids_of(model: Recommender, kind: str) -> list:
    return warm(model) if kind == "users" else model.items.tolist()


# ---- each format by its own reader


@pytest.mark.parametrize("what", ["input", "output", "users"])
def test_gensim_reads_word2vec_text(either, what, tmp_path):
    from gensim.models import KeyedVectors

    export(either, tmp_path / "vectors.txt", format="word2vec", what=what)
    read = KeyedVectors.load_word2vec_format(tmp_path / "vectors.txt")
    ids = ids_of(either, what)
    assert sorted(read.index_to_key) == sorted(map(str, ids))
    np.testing.assert_array_equal(read[list(map(str, ids))], one_by_one(either, what))


def test_word2vec_text_begins_with_what_was_watched_most(numbers, tmp_path):
    from gensim.models import KeyedVectors

    export(numbers, tmp_path / "vectors.txt", format="word2vec")
    read = KeyedVectors.load_word2vec_format(tmp_path / "vectors.txt", limit=5)
    most = sorted(numbers.popular(5).scores.tolist())
    counts = dict(zip(numbers.items.tolist(), numbers.tables.counts.tolist(), strict=True))
    assert sorted(counts[int(key)] for key in read.index_to_key) == most


@pytest.mark.parametrize("wrong", ["two words", "no\u00a0break", "tab\tbed", "\nline"])
def test_ids_with_white_space_are_refused_by_word2vec_and_kept_by_the_rest(wrong, tmp_path):
    views = pd.DataFrame({"user_id": list("aabbcc"), "item_id": [wrong, "y", "y", "z", wrong, "z"]})
    model = Recommender(vector_size=4, calibrate=False, epochs=1).fit(views)
    with pytest.raises(DataError, match="use npz, parquet or sqlite") as caught:
        export(model, tmp_path / "vectors.txt", format="word2vec")
    assert repr(wrong) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    export(model, tmp_path / "v.npz", format="npz")
    export(model, tmp_path / "v.parquet", format="parquet")
    export(model, tmp_path / "v.db", format="sqlite")
    with np.load(tmp_path / "v.npz") as arrays:
        assert arrays["item_id"].tolist() == model.items.tolist()
    assert pd.read_parquet(tmp_path / "v.parquet")["item_id"].tolist() == model.items.tolist()
    with LookUp(tmp_path / "v.db") as look_up:
        assert (look_up.item_vector(wrong) == model.item_vector(wrong)).all()


def test_numpy_reads_npz_without_a_pickle(either, tmp_path):
    export(either, tmp_path / "vectors.npz", format="npz")
    with np.load(tmp_path / "vectors.npz", allow_pickle=False) as arrays:
        assert arrays["item_id"].tolist() == either.items.tolist()
        assert arrays["user_id"].tolist() == warm(either)
        assert arrays["item_events"].tolist() == either.tables.counts.tolist()
        lengths = either.tables.histories.lengths
        assert arrays["user_events"].tolist() == lengths[lengths > 0].tolist()
        assert (lengths == 0).tolist() == [True] + [False] * len(warm(either))
        for name, kind in (("item_input", "input"), ("item_output", "output")):
            np.testing.assert_array_equal(arrays[name], one_by_one(either, kind))
        np.testing.assert_array_equal(arrays["user_vector"], one_by_one(either, "users"))
        assert ("item_title" in arrays) == (either.tables.titles is not None)
        assert arrays["item_input"].dtype == np.float32


@pytest.mark.parametrize("what", ["input,output", "users"])
def test_pandas_and_pyarrow_read_parquet(either, what, tmp_path):
    import pyarrow.parquet as pq

    done = export(either, tmp_path / "vectors.parquet", format="parquet", what=what)
    frame = pd.read_parquet(tmp_path / "vectors.parquet")
    schema = pq.read_schema(tmp_path / "vectors.parquet")
    for kind, column in (("input", "input"), ("output", "output"), ("users", "vector")):
        assert (column in frame) == (kind in done["what"])
        if column in frame:
            np.testing.assert_array_equal(np.stack(frame[column]), one_by_one(either, kind))
            assert str(schema.field(column).type) == "fixed_size_list<element: float>[16]"
    key = "user_id" if what == "users" else "item_id"
    assert frame[key].tolist() == ids_of(either, done["what"][0])
    assert str(schema.field(key).type) == (
        "int64" if key in frame.select_dtypes("int") else "string"
    )


@pytest.mark.parametrize("what", ["input", "output", "users"])
def test_the_projector_gets_a_row_of_facts_for_each_row_of_numbers(either, what, tmp_path):
    export(either, tmp_path / "map", format="projector", what=what)
    vectors, (header, *facts) = (
        list(csv.reader(text.split("\n")[:-1], "excel-tab", quoting=csv.QUOTE_NONE))
        for name in ("vectors.tsv", "metadata.tsv")
        for text in [(tmp_path / "map" / name).read_bytes().decode("utf-8")]
    )
    np.testing.assert_array_equal(np.array(vectors, np.float32), one_by_one(either, what))
    key = "user_id" if what == "users" else "item_id"
    titled = ["title"] if what != "users" and either.tables.titles is not None else []
    assert header == [key, *titled, "events"]
    assert [row[0] for row in facts] == list(map(str, ids_of(either, what)))
    assert {len(row) for row in facts} == {len(header)}
    if titled:
        assert " ".join(WILD.split()) in [row[1] for row in facts]


def test_sqlite_is_a_table_of_items_and_a_table_of_users(either, tmp_path):
    path = tmp_path / "vectors.db"
    export(either, path, format="sqlite")
    database = sqlite3.connect(path)
    try:
        items = database.execute("SELECT * FROM items ORDER BY rowid").fetchall()
        users = database.execute("SELECT * FROM users WHERE vector IS NOT NULL").fetchall()
        cold = database.execute("SELECT user_id FROM users WHERE vector IS NULL").fetchall()
        plan = database.execute("EXPLAIN QUERY PLAN SELECT * FROM users WHERE user_id = 42")
        assert "SEARCH" in plan.fetchone()[-1]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        database.close()
    assert [row[0] for row in items] == either.items.tolist()
    assert sorted(row[0] for row in users) == sorted(warm(either))
    assert [row[0] for row in cold] == [u for u in either.users.tolist() if u not in warm(either)]
    assert len(cold) == 1
    vectors = np.array([np.frombuffer(row[-2], "<f4") for row in items])
    np.testing.assert_array_equal(vectors, one_by_one(either, "input"))
    if either.tables.titles is not None:
        assert [row[1] for row in items] == either.tables.titles[:]
        assert WILD in either.tables.titles[:]


# ---- looking up


def check_look_up(look_up: LookUp, model: Recommender) -> None:
    for user in warm(model):
        np.testing.assert_array_equal(look_up.user_vector(user), model.user_vector(user))
    for item in model.items:  # numpy's integers too
        for space in ("input", "output"):
            expected = model.item_vector(item, space)
            np.testing.assert_array_equal(look_up.item_vector(item, space=space), expected)
    found = look_up.item_vector(model.items[0])
    assert found.dtype == np.float32
    found += 1  # the caller's own
    # An id of the other type, though it reads the same, and what is no id at all.
    user, item = warm(model)[0], model.items.tolist()[0]
    for wrong in (str(user) if isinstance(user, int) else 1, None, [1], 1.5, float("nan"), 2**70,
                  b"1", "nobody", -1):  # fmt: skip
        for holder in (model, look_up):
            with pytest.raises(UnknownUserError, match="unknown user"):
                holder.user_vector(wrong)
            with pytest.raises(UnknownItemError, match="unknown item"):
                holder.item_vector(wrong)
    for space in ("inptu", "vector"):
        with pytest.raises(ValueError, match=space):
            look_up.item_vector(item, space=space)


def test_a_look_up_in_sqlite_answers_as_the_model_does(either, tmp_path):
    export(either, tmp_path / "vectors.db", format="sqlite")
    with LookUp(tmp_path / "vectors.db") as look_up:
        check_look_up(look_up, either)
        (cold,) = (user for user in either.users.tolist() if user not in warm(either))
        for holder in (look_up, either):
            with pytest.raises(ColdUserError, match="none of the items of user"):
                holder.user_vector(cold)


def test_integers_and_text_that_read_the_same_are_not_mixed_up(tmp_path):
    views = pd.DataFrame({"user_id": list("112233"), "item_id": [7, 8, 8, 9, 7, 9]})
    model = Recommender(vector_size=4, calibrate=False, epochs=1).fit(views)
    export(model, tmp_path / "vectors.db", format="sqlite")
    with LookUp(str(tmp_path / "vectors.db")) as look_up:
        assert (look_up.user_vector("1") == model.user_vector("1")).all()
        assert (look_up.item_vector(7) == model.item_vector(7)).all()
        with pytest.raises(UnknownUserError):
            look_up.user_vector(1)
        with pytest.raises(UnknownItemError):
            look_up.item_vector("7")


def test_ids_beyond_signed_integers_are_refused_by_sqlite_alone(lonely, tmp_path):
    large = lonely.assign(user_id=lonely["user_id"].astype("uint64") + np.uint64(2**63))
    model = Recommender(**BRIEF, min_count=2).fit(large)
    with pytest.raises(DataError, match=r"above 2\^63 - 1"):
        export(model, tmp_path / "vectors.db", format="sqlite")
    assert list(tmp_path.iterdir()) == []
    export(model, tmp_path / "vectors.npz", format="npz")
    with np.load(tmp_path / "vectors.npz") as arrays:
        assert arrays["user_id"].tolist() == model.user_vectors()[0].tolist()
    export(model, tmp_path / "items.db", format="sqlite", what="input")


def test_threads_share_a_look_up(numbers, tmp_path):
    export(numbers, tmp_path / "vectors.db", format="sqlite")
    expected = one_by_one(numbers, "users")
    wrong = []

    def ask(look_up: LookUp) -> None:
        for user, vector in zip(warm(numbers), expected, strict=True):
            if not (look_up.user_vector(user) == vector).all():
                wrong.append(user)

    with LookUp(tmp_path / "vectors.db") as look_up:
        threads = [threading.Thread(target=ask, args=(look_up,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_an_open_look_up_keeps_what_it_was_opened_on(numbers, texts, tmp_path):
    path = tmp_path / "vectors.db"
    export(numbers, path, format="sqlite")
    with LookUp(path) as old:
        export(texts, path, format="sqlite")
        with LookUp(path) as new:
            check_look_up(old, numbers)
            check_look_up(new, texts)


def test_a_look_up_needs_no_more_than_numpy(numbers, tmp_path):
    export(numbers, tmp_path / "vectors.db", format="sqlite")
    script = (
        "import sys; from recsys import LookUp; look_up = LookUp(sys.argv[1]); "
        f"look_up.user_vector({warm(numbers)[0]}); look_up.close(); "
        "print({'pandas', 'gensim', 'annoy', 'scipy', 'sklearn', 'redis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "vectors.db"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be opened"),
        (b"", "no such table: about"),
        (b"user_id,item_id\n1,2\n" * 99, "not a database"),
    ],
)
def test_a_look_up_in_what_is_no_export_is_one_line(content, message, tmp_path):
    path = tmp_path / "of? #ours%.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{message}.*export again with `recsys export`"):
        LookUp(path)
    assert path.exists() == (content is not None)


def test_what_was_not_exported_and_what_is_damaged_is_said(numbers, tmp_path):
    path = tmp_path / "of? #ours%.db"
    export(numbers, path, format="sqlite", what=["input"])
    with LookUp(path) as look_up:
        look_up.item_vector(numbers.items[0])
        with pytest.raises(ValueError, match="holds no user vectors"):
            look_up.user_vector(warm(numbers)[0])
        with pytest.raises(ValueError, match="holds no 'output' vectors"):
            look_up.item_vector(numbers.items[0], space="output")
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(ModelError, match=r"malformed.*export again"):
        LookUp(path)


def test_a_vector_of_another_length_or_format_is_said(numbers, tmp_path):
    path = tmp_path / "vectors.db"
    export(numbers, path, format="sqlite")
    item = numbers.items[0]
    change(path, f"UPDATE items SET input = x'00' WHERE item_id = {item}")
    with LookUp(path) as look_up, pytest.raises(ModelError, match="is damaged"):
        look_up.item_vector(item)
    change(path, "UPDATE about SET json = json_set(json, '$.format', 9)")
    with pytest.raises(ModelError, match="format version 9 and this recsys reads 1"):
        LookUp(path)
    change(path, "UPDATE about SET json = '[]'")
    with pytest.raises(ModelError, match="holds no vectors"):
        LookUp(path)


def change(path: Path, sql: str) -> None:
    database = sqlite3.connect(path)
    database.execute(sql)
    database.commit()
    database.close()


# ---- Redis, a real one


@pytest.fixture(scope="module")
def redis_url():
    """The URL of a Redis server that listens on a socket in a folder of its own."""
    pytest.importorskip("redis")
    program = shutil.which("redis-server")
    if program is None:
        missing = "no redis-server on this machine (Debian: apt-get install redis-server)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = tempfile.mkdtemp()  # a socket's path must be short
    server = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder, "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            if Path(folder, "s").is_socket() or server.poll() is not None:
                break
            time.sleep(0.05)
        assert server.poll() is None, "redis-server ended at once"
        yield f"unix://{folder}/s"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture
def client(redis_url):
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.set("theirs", "stays")
        yield client
        assert client.get("theirs") == b"stays"
        client.flushall()
        client.config_set("maxmemory", 0)


def test_redis_holds_a_key_a_vector_and_a_look_up_answers_from_it(either, client, redis_url):
    done = export(either, redis_url, format="redis")
    assert (done["n_items"], done["n_users"]) == (len(either.items), len(warm(either)))
    keys = {key.decode() for key in client.scan_iter()}
    expected = {f"i2vEmb:{i}" for i in either.items} | {f"i2vOut:{i}" for i in either.items}
    expected |= {f"uEmb:{user}" for user in warm(either)}
    assert keys == expected | {"theirs", "recsys:about"}
    item = either.items[0]
    raw = np.frombuffer(client.get(f"i2vEmb:{item}"), dtype="<f4")
    np.testing.assert_array_equal(raw, either.item_vector(item))
    with LookUp(redis_url) as look_up:
        check_look_up(look_up, either)


def test_an_export_to_redis_takes_the_place_of_an_earlier_one(numbers, texts, client, redis_url):
    export(texts, redis_url, format="redis")
    export(numbers, redis_url, format="redis", what="users")
    keys = {key.decode() for key in client.scan_iter()}
    assert keys == {f"uEmb:{user}" for user in warm(numbers)} | {"theirs", "recsys:about"}
    with LookUp(redis_url) as look_up:
        look_up.user_vector(warm(numbers)[0])
        with pytest.raises(ValueError, match="holds no 'input' vectors"):
            look_up.item_vector(numbers.items[0])


def test_an_export_that_redis_has_no_room_for_leaves_the_earlier_one(
    numbers, texts, client, redis_url
):
    export(texts, redis_url, format="redis")
    before = {key: client.get(key) for key in client.scan_iter()}
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 20_000)
    with pytest.raises(OSError, match=f"Redis at '{redis_url}'"):
        export(numbers, redis_url, format="redis")
    client.config_set("maxmemory", 0)
    assert {key: client.get(key) for key in client.scan_iter()} == before


def test_redis_without_an_export_or_without_a_server_is_one_line(numbers, client, redis_url):
    with pytest.raises(ModelError, match="holds no vectors: export again"):
        LookUp(redis_url)
    nowhere = "redis://me:s3cret@127.0.0.1:1/0"
    for act in (lambda: export(numbers, nowhere, format="redis"), lambda: LookUp(nowhere)):
        with pytest.raises(OSError, match=r"Redis at 'redis://127\.0\.0\.1:1/0'") as caught:
            act()
        assert "s3cret" not in str(caught.value)


def test_without_the_client_redis_says_what_to_install(numbers, monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install -e '?\"\.\[redis\]"):
        export(numbers, "redis://localhost", format="redis")


# ---- what is replaced and what is left


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "redis"])
def test_an_export_replaces_an_earlier_one(format, numbers, texts, tmp_path):
    target, other = tmp_path / "a" / "target", tmp_path / "b" / "target"
    export(texts, target, format=format)
    export(numbers, target, format=format)
    export(numbers, other, format=format)
    if format != "npz":  # a zip holds the time of day
        assert [*snapshot(target.parent).values()] == [*snapshot(other.parent).values()]
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    mode = (target if target.is_file() else target / "vectors.tsv").stat().st_mode & 0o777
    assert mode == 0o666 & ~umask()


def umask() -> int:
    os.umask(before := os.umask(0))
    return before


FOREIGN = {
    "ratings.csv": b"user_id,item_id\n1,2\n" * 20,
    "empty": b"",
    "app.db": None,
    "ratings.parquet": None,
    "ml-100k.zip": None,
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("format", FILES)
def test_what_is_no_export_is_left_as_it_is(format, name, numbers, tmp_path):
    path = tmp_path / name
    if name == "app.db":
        change(path, "CREATE TABLE precious (x)")
    elif name == "ratings.parquet":
        pd.DataFrame({"user_id": [1]}).to_parquet(path)
    elif name == "ml-100k.zip":
        with path.open("wb") as file:
            np.savez(file, theirs=np.arange(3))
    else:
        path.write_bytes(FOREIGN[name])
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match=f"no {format} export: it is left as it is"):
        export(numbers, path, format=format)
    assert snapshot(tmp_path) == before


def test_folders_and_other_formats_are_left_as_they_are(numbers, saved, tmp_path):
    for format in FILES:
        with pytest.raises(DataError, match="left as it is"):
            export(numbers, saved, format=format)
    before = snapshot(saved)
    with pytest.raises(DataError, match="not empty and no projector export"):
        export(numbers, saved, format="projector")
    assert snapshot(saved) == before
    export(numbers, tmp_path / "vectors.npz", format="npz")
    with pytest.raises(DataError, match="no sqlite export"):
        export(numbers, tmp_path / "vectors.npz", format="sqlite")
    with pytest.raises(OSError, match=r"vectors\.npz"):
        export(numbers, tmp_path / "vectors.npz", format="projector")


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "redis"])
def test_an_export_that_fails_leaves_the_earlier_one_whole(
    format, numbers, texts, tmp_path, monkeypatch
):
    target = tmp_path / "target"
    export(texts, target, format=format)
    before = snapshot(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("recsys.export.files.os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            export(numbers, target, format=format)
    assert snapshot(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


# ---- the rules of what goes where, and the command


@pytest.mark.parametrize(
    ("format", "what", "message"),
    [
        ("word2vec", "input,users", "one kind of vectors"),
        ("projector", ["input", "output"], "one kind of vectors"),
        ("parquet", "input,users", "one table"),
        ("npz", "items", "what must be some of input, output, users, got ['items']"),
        ("npz", [], "what must be some of"),
        ("gexf", None, "format must be one of word2vec"),
        ("redis", None, "redis takes redis://host:port/database"),
    ],
)
def test_what_does_not_go_together_is_refused(format, what, message, numbers, tmp_path):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        export(numbers, tmp_path / "target", format=format, what=what)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_no_path(numbers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"does not go with the target 'redis://127\.0\.0\.1'"):
        export(numbers, "redis://me:pw@127.0.0.1", format="sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_output_vectors_exports_the_others(lonely, tmp_path):
    model = Recommender(**BRIEF, hs=1, scoring="cosine").fit(lonely)
    done = export(model, tmp_path / "vectors.db", format="sqlite")
    assert done["what"] == ["input", "users"]
    look_up = LookUp(tmp_path / "vectors.db")
    with look_up, pytest.raises(ValueError, match="'output'"):
        look_up.item_vector(model.items[0], space="output")
    with pytest.raises(ValueError, match="no output vectors"):
        export(model, tmp_path / "vectors.txt", format="word2vec", what="output")


def test_all_user_vectors_at_once_are_those_one_by_one(either):
    user_ids, vectors = either.user_vectors()
    assert user_ids.tolist() == warm(either)
    np.testing.assert_array_equal(vectors, one_by_one(either, "users"))
    np.testing.assert_array_equal(either.item_vectors("output"), one_by_one(either, "output"))


def recsys(*words):
    return subprocess.run(
        [sys.executable, "-m", "recsys", "export", *map(str, words)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_command_says_what_it_has_done_and_who_is_left_out(saved, numbers, tmp_path):
    target = tmp_path / "vectors.db"
    done = recsys(target, "--format", "sqlite", "--model", saved)
    n_items, n_users = len(numbers.items), len(warm(numbers))
    assert done.stdout == (
        f"{target}: sqlite, input, output, users vectors of {n_items:,} items and {n_users:,} "
        "users, 16 numbers each\n"
    )
    assert done.stderr == "1 users have no vector and are left out\n"
    done = recsys(target, "--format", "sqlite", "--model", saved, "--json", "--what", "users")
    assert json.loads(done.stdout) == {
        "format": "sqlite", "target": str(target), "what": ["users"], "vector_size": 16,
        "n_items": None, "n_users": n_users, "n_users_without_vector": 1,
    }  # fmt: skip
    with LookUp(target) as look_up:
        user = warm(numbers)[0]
        np.testing.assert_array_equal(look_up.user_vector(user), numbers.user_vector(user))


@pytest.mark.parametrize("case", ["absent", "damaged", "unwritable", "what"])
def test_a_failure_is_one_line_and_leaves_nothing(case, saved, tmp_path, capsys):
    model, target, what = tmp_path / "model", tmp_path / "vectors.txt", "input"
    shutil.copytree(saved, model)
    if case == "absent":
        shutil.rmtree(model)
    elif case == "damaged":
        vectors = next(model.glob("run-*/vectors.npy"))
        content = bytearray(vectors.read_bytes())
        content[-1] ^= 1
        vectors.write_bytes(content)
    elif case == "unwritable":
        target = model / "current" / "vectors.txt"  # `current` is a file
    else:
        what = "everything"
    before = snapshot(tmp_path)
    words = ["export", target, "--format", "word2vec", "--model", model, "--what", what]
    assert main([*map(str, words)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    expected = {"absent": "recsys train", "damaged": "vectors.npy", "unwritable": "current",
                "what": "what must be some of"}  # fmt: skip
    assert expected[case] in err
    assert snapshot(tmp_path) == before

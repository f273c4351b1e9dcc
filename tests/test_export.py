"""Every format is read back by its own reader, and gives the very vectors of the model."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from gensim.models import KeyedVectors

from recsys import ColdUserError, DataError, LookUp, ModelError, Recommender
from recsys.__main__ import main
from recsys.errors import UnknownItemError, UnknownUserError
from recsys.export import export, files
from recsys.export.files import FORMATS
from tests.conftest import BRIEF

COLD = (0, "é0'\",")
NO_IDS = (None, [1], 1.5, float("nan"), 2**70, b"1", "nobody", -1)
FILES = [format for format in FORMATS if format != "redis"]
WILD = 'A\ttab, a\nline, "quotes" and Ænima \u2028 \x1f'


@pytest.fixture(scope="module")
def lonely(sample):
    """Ratings of some users, and of one whose only item is too rare to get a vector."""
    some = sample[sample["user_id"].isin(sample["user_id"].unique()[:80])]
    some = some[some.groupby("item_id")["item_id"].transform("size") >= 2]
    return pd.concat([some, some[:1].assign(user_id=0, item_id=10**9)], ignore_index=True)


@pytest.fixture(scope="module")
def numbers(lonely, sample_items):
    """A model with integer ids, a cold user, and a wild title."""
    titles = sample_items["title"].where(sample_items.index > 0, WILD)
    return Recommender(**BRIEF, min_count=2).fit(lonely, sample_items.assign(title=titles))


@pytest.fixture(scope="module")
def texts(lonely):
    """A model with text ids, without titles."""
    ids = {name: "é" + lonely[name].astype(str) + "'\"," for name in ("user_id", "item_id")}
    return Recommender(**BRIEF, min_count=2).fit(lonely.assign(**ids))


@pytest.fixture(scope="module")
def saved(numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    numbers.save(folder)
    return folder


def tiny(**columns) -> Recommender:
    return Recommender(vector_size=4, calibrate=False, epochs=1).fit(pd.DataFrame(columns))


def warm(model: Recommender) -> list:
    return [user for user in model.users.tolist() if user not in COLD]


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(sql)
        database.commit()


def read(path: Path, format: str, kind: str) -> pd.DataFrame:
    """Ids, facts and vectors of one kind, by the format's own reader."""
    table, column = ("user", "vector") if kind == "users" else ("item", kind)
    if format == "word2vec":
        from gensim.models import KeyedVectors

        found = KeyedVectors.load_word2vec_format(path)
        frame = pd.DataFrame({"id": found.index_to_key, column: list(found.vectors)})
    elif format == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: list(values) for name, values in arrays.items() if table in name}
        frame = pd.DataFrame(held).rename(columns=lambda name: name.removeprefix(f"{table}_"))
    elif format == "parquet":
        frame = pd.read_parquet(path)
        assert "fixed_size_list<element: float>" in str(pq.read_schema(path).field(column).type)
    elif format == "projector":
        frame = pd.read_csv(path / "metadata.tsv", sep="\t", quoting=csv.QUOTE_NONE)
        frame[column] = list(np.loadtxt(path / "vectors.tsv", np.float32, delimiter="\t"))
    else:
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = database.execute(f"SELECT * FROM {table}s WHERE {column} NOT NULL")
            frame = pd.DataFrame(rows, columns=[name for name, *_ in rows.description])
        frame[column] = [np.frombuffer(blob, "<f4") for blob in frame[column]]
    return frame.rename(columns={f"{table}_id": "id", column: "vector"})


@pytest.mark.parametrize("model", ["numbers", "texts"])
@pytest.mark.parametrize("kind", ["input", "output", "audience", "users"])
@pytest.mark.parametrize("format", FILES)
def test_each_format_gives_its_own_reader_the_very_vectors(format, kind, model, request, tmp_path):
    either = request.getfixturevalue(model)
    parquet = format == "parquet" and kind in ("input", "output")
    by_default = format in ("npz", "sqlite") or parquet
    export(either, tmp_path / "target", format=format, what=None if by_default else kind)
    frame = read(tmp_path / "target", format, kind)
    as_read = str if format == "word2vec" else lambda key: key
    vector_of = either.user_vector if kind == "users" else partial(either.item_vector, space=kind)
    ids = warm(either) if kind == "users" else either.items.tolist()
    assert sorted(frame["id"]) == sorted(map(as_read, ids))
    vectors = dict(zip(frame["id"], frame["vector"], strict=True))
    for key in ids:
        assert vectors[as_read(key)].dtype == np.float32
        np.testing.assert_array_equal(vectors[as_read(key)], vector_of(key))
    views = {as_read(row.item_id): row.score for row in either.popular(len(either.items))}
    if format == "word2vec":  # the most watched first
        counts = [views[key] for key in frame["id"]] if kind != "users" else []
        assert counts == sorted(counts, reverse=True)
    elif kind == "users":
        assert frame["events"].sum() == sum(views.values())
    else:
        assert dict(zip(frame["id"], frame["events"], strict=True)) == views
        wild = " ".join(WILD.split()) if format == "projector" else WILD
        titles = frame.get("title", pd.Series()).tolist()
        assert titles.count(wild) == (either.items.dtype != object)


@pytest.mark.parametrize("wrong", ["two words", "no\u00a0break", "\nline"])
def test_ids_that_a_format_cannot_hold_are_refused_by_that_format_alone(wrong, tmp_path):
    users = np.repeat(np.arange(3, dtype="uint64") + np.uint64(2**63), 2)
    model = tiny(user_id=users, item_id=[wrong, "y", "y", "z", wrong, "z"])
    with pytest.raises(DataError, match="use npz, parquet or sqlite") as caught:
        export(model, tmp_path / "vectors.txt", format="word2vec")
    assert repr(wrong) in str(caught.value)
    with pytest.raises(DataError, match=r"above 2\^63 - 1"):
        export(model, tmp_path / "vectors.db", format="sqlite")
    assert list(tmp_path.iterdir()) == []
    for format in ("npz", "parquet", "sqlite"):
        export(model, tmp_path / format, format=format, what=None if format == "npz" else "input")
        assert read(tmp_path / format, format, "input")["id"].tolist() == model.items.tolist()
    assert read(tmp_path / "npz", "npz", "users")["id"].tolist() == model.users.tolist()


def check_look_up(look_up: LookUp, model: Recommender) -> None:
    for user in warm(model):
        np.testing.assert_array_equal(look_up.user_vector(user), model.user_vector(user))
    for item in model.items:  # numpy's integers too
        for space in ("input", "output", "audience"):
            expected = model.item_vector(item, space)
            np.testing.assert_array_equal(look_up.item_vector(item, space=space), expected)
    look_up.item_vector(model.items[0])[:] += 1  # the caller's own
    # Ids of the other type, even if they read the same, and values that are no ids at all.
    known = warm(model)[0], model.items.tolist()[0]
    others = [str(key) if isinstance(key, int) else int(key.strip("é'\",")) for key in known]
    for user, item in [others, *zip(NO_IDS, NO_IDS, strict=True)]:
        for holder in (model, look_up):
            with pytest.raises(UnknownUserError, match="unknown user"):
                holder.user_vector(user)
            with pytest.raises(UnknownItemError, match="unknown item"):
                holder.item_vector(item)
    with pytest.raises(ValueError, match="vector"):
        look_up.item_vector(model.items[0], space="vector")


def test_a_look_up_answers_as_the_model_does_and_keeps_the_file_it_opened(numbers, texts, tmp_path):
    path = tmp_path / "vectors.db"
    export(numbers, path, format="sqlite")
    with LookUp(path) as old:
        export(texts, path, format="sqlite")
        with LookUp(str(path)) as new, ThreadPoolExecutor(4) as pool:
            check_look_up(old, numbers)
            list(pool.map(check_look_up, [new] * 4, [texts] * 4))
            for holder in (new, texts):
                with pytest.raises(ColdUserError, match="none of the items of user"):
                    holder.user_vector(COLD[1])
    mixed = tiny(user_id=list("778899"), item_id=[7, 8, 8, 9, 7, 9])
    export(mixed, path, format="sqlite")
    with LookUp(path) as look_up:
        check_look_up(look_up, mixed)


def test_the_example_of_the_readme_runs(numbers, saved, tmp_path, monkeypatch, capsys):
    readme = Path(files.__file__).with_name("README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    user, item = warm(numbers)[0], numbers.items[0]
    for shown, ours in (("data/model", saved), ("42", user), ("313", item)):
        code = code.replace(shown, str(ours))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    expected = numbers.user_vector(user) @ numbers.item_vector(item, "output")
    assert float(capsys.readouterr().out) == pytest.approx(float(expected), rel=1e-6)


def test_a_source_that_is_no_export_or_a_damaged_one_is_one_line(numbers, tmp_path):
    path, item = tmp_path / "of? #ours%.db", numbers.items[0]

    def refused(message):
        with pytest.raises(ModelError, match=rf"{message}.*export again with `recsys export`"):
            LookUp(path)

    refused("cannot be opened")
    for content, message in ((b"", "no such table: about"), (b"user_id\n1\n" * 99, "not a data")):
        path.write_bytes(content)
        refused(message)
    path.unlink()
    export(numbers, path, format="sqlite", what=["input"])
    change(path, f"UPDATE items SET input = x'00' WHERE item_id = {item}")
    with LookUp(path) as look_up:
        with pytest.raises(ModelError, match="is damaged"):
            look_up.item_vector(item)
        with pytest.raises(ValueError, match="holds no user vectors"):
            look_up.user_vector(warm(numbers)[0])
        with pytest.raises(ValueError, match="holds no 'output' vectors"):
            look_up.item_vector(item, space="output")
    for json_of, message in (("json_set(json, '$.format', 9)", "has format 9, this recsys reads 1"),
                             ("'[]'", "holds no vectors")):  # fmt: skip
        change(path, f"UPDATE about SET json = {json_of}")
        refused(message)
    path.write_bytes(path.read_bytes()[:-9000])
    refused("malformed")


@pytest.fixture(scope="module")
def client():
    """A Redis server that listens on a socket in a folder of its own, holding another's key."""
    redis, program = pytest.importorskip("redis"), shutil.which("redis-server")
    if program is None:
        missing = "no redis-server on this machine (Debian: apt-get install redis-server)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = tempfile.mkdtemp()  # a socket's path must be short
    words = ["--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder, "--save", ""]
    server = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    try:
        while not Path(folder, "s").is_socket():
            assert server.poll() is None, "redis-server ended at once"
            time.sleep(0.05)
        with redis.Redis.from_url(f"unix://{folder}/s") as client:
            client.set("theirs", "stays")
            client.url = f"unix://{folder}/s"
            yield client
    finally:
        server.kill()
        server.wait(30)
        shutil.rmtree(folder)


def test_keys_of_others_in_redis_are_left_alone(numbers, client):
    client.set("uEmb:7", "theirs")
    with pytest.raises(DataError, match=r"refusing to replace keys such as 'uEmb:7' in Redis"):
        export(numbers, client.url, format="redis")
    assert {*client.scan_iter()} == {b"theirs", b"uEmb:7"}
    client.delete("uEmb:7")


def test_redis_replaces_an_earlier_export_or_leaves_it(numbers, texts, client):
    with pytest.raises(ModelError, match="holds no vectors: export again"):
        LookUp(client.url)
    for model in (numbers, texts):
        done = export(model, client.url, format="redis")
        assert (done["n_items"], done["n_users"]) == (len(model.items), len(warm(model)))
        expected = {
            f"{prefix}:{i}" for i in model.items for prefix in ("i2vEmb", "i2vOut", "i2vAud")
        }
        expected |= {f"uEmb:{user}" for user in warm(model)}
        assert {key.decode() for key in client.scan_iter()} == expected | {"theirs", "recsys:about"}
        raw = np.frombuffer(client.get(f"i2vOut:{model.items[0]}"), dtype="<f4")
        np.testing.assert_array_equal(raw, model.item_vector(model.items[0], "output"))
        with LookUp(client.url) as look_up:
            check_look_up(look_up, model)
    before = {key: client.get(key) for key in client.scan_iter()}
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 20_000)
    with pytest.raises(OSError, match=f"Redis at '{client.url}'"):
        export(numbers, client.url, format="redis")
    client.config_set("maxmemory", 0)
    assert {key: client.get(key) for key in client.scan_iter()} == before
    export(numbers, client.url, format="redis", what="users")
    keys = {key.decode() for key in client.scan_iter()}
    assert keys == {f"uEmb:{user}" for user in warm(numbers)} | {"theirs", "recsys:about"}
    with LookUp(client.url) as look_up, pytest.raises(ValueError, match="holds no 'input' vectors"):
        look_up.item_vector(numbers.items[0])


def test_without_a_server_or_its_client_redis_is_one_line(numbers, monkeypatch):
    nowhere = "redis://me:s3cret@127.0.0.1:1/0"
    for act in (lambda: export(numbers, nowhere, format="redis"), lambda: LookUp(nowhere)):
        with pytest.raises(OSError, match=r"^Redis at 'redis://127\.0\.0\.1:1/0'.*$") as caught:
            act()
        assert "s3cret" not in str(caught.value)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "redis", None)
            with pytest.raises(ImportError, match=r'pip install -e "\.\[redis\]"'):
                act()


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("format", FILES)
def test_an_export_replaces_an_earlier_one_unless_it_fails(
    format, numbers, texts, tmp_path, monkeypatch
):
    target, other = tmp_path / "a" / "target", tmp_path / "b" / "target"
    export(texts, target, format=format)
    before = snapshot(tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", Mock(side_effect=OSError("No space left")))
        with pytest.raises(OSError, match="No space left"):
            export(numbers, target, format=format)
    assert snapshot(tmp_path) == before
    for place in (target, other):
        export(numbers, place, format=format)
    if format != "npz":  # a zip holds the time of day
        assert [*snapshot(target.parent).values()] == [*snapshot(other.parent).values()]
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    os.umask(umask := os.umask(0))
    written = target if target.is_file() else target / "vectors.tsv"
    assert written.stat().st_mode & 0o777 == 0o666 & ~umask


FULL_DISK = """
import resource, sys
from recsys import Recommender
from recsys.export import export
model, folder = Recommender.load(sys.argv[1]), sys.argv[2]
for limit in (0, 3000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for format in sys.argv[3:]:
        try:
            export(model, f"{folder}/{format}", format=format)
        except OSError as error:
            problem = "the disk is full, or a limit on the size of files is reached"
            assert str(error) == f"'{folder}/{format}' cannot be written: {problem}", error
        else:
            raise AssertionError(format)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_of_a_full_disk_every_format_says_the_same(saved, tmp_path):
    words = [sys.executable, "-c", FULL_DISK, saved, tmp_path, *FILES]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_anything_but_an_earlier_export_is_left_alone(numbers, saved, tmp_path, monkeypatch):
    (tmp_path / "ratings.csv").write_bytes(b"user_id,item_id\n1,2\n" * 20)
    (tmp_path / "empty").touch()
    change(tmp_path / "app.db", "CREATE TABLE precious (x)")
    pd.DataFrame({"user_id": [1]}).to_parquet(tmp_path / "ratings.parquet")
    np.savez(tmp_path / "theirs.npz", theirs=np.arange(3))
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "edges.txt").write_text("2 3\n3 1\n")
    numbers_of_theirs = KeyedVectors(2)
    numbers_of_theirs.add_vectors(["a", "b"], np.eye(2))
    numbers_of_theirs.save_word2vec_format(tmp_path / "theirs.txt")
    (tmp_path / "projected").mkdir()
    for name in ("vectors.tsv", "metadata.tsv"):
        (tmp_path / "projected" / name).write_text("item_id\tevents\n")
    foreign = [(path, format) for path in tmp_path.iterdir() for format in FILES]
    export(numbers, tmp_path / "ours.npz", format="npz")
    foreign += [(tmp_path / "ours.npz", format) for format in ("sqlite", "projector")]
    before = snapshot(tmp_path)
    monkeypatch.setattr(files, "_tables", Mock(side_effect=AssertionError("after the work")))
    for path, format in foreign:
        with pytest.raises(DataError, match=f"refusing to overwrite .*not an earlier {format} ex"):
            export(numbers, path, format=format)
    assert snapshot(tmp_path) == before


def test_combinations_that_make_no_sense_are_refused(numbers, lonely, tmp_path):
    without = Recommender(**BRIEF, hs=1, scoring="cosine").fit(lonely)
    path, url = tmp_path / "target", "redis://me:pw@127.0.0.1"
    for model, target, format, what, message in (
        (numbers, path, "word2vec", "input,users", "one kind of vectors"),
        (numbers, path, "projector", ["input", "output"], "one kind of vectors"),
        (numbers, path, "parquet", "input,users", "one table"),
        (
            numbers,
            path,
            "npz",
            "items",
            "must be some of input, output, audience, users, got ['items']",
        ),
        (numbers, path, "npz", [], "what must be some of"),
        (numbers, path, "gexf", None, "format must be one of word2vec"),
        (numbers, path, "redis", None, "redis takes redis://host:port/database"),
        (numbers, url, "sqlite", None, "does not go with the target 'redis://127.0.0.1'"),
        (without, path, "word2vec", "output", "this model has no output vectors"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            export(model, target, format=format, what=what)
        assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert export(without, path, format="sqlite")["what"] == ["input", "audience", "users"]


def test_the_command_says_what_it_has_done_and_who_is_left_out(saved, numbers, tmp_path, capsys):
    target, n_items, n_users = tmp_path / "vectors.db", len(numbers.items), len(warm(numbers))
    words = ["export", str(target), "--format", "sqlite", "--model", str(saved)]
    done = subprocess.run([sys.executable, "-m", "recsys", *words], capture_output=True, text=True)
    said = f"vectors of {n_items:,} items and {n_users:,} users, 16 numbers each"
    assert done.stdout == f"{target}: sqlite, input, output, audience, users {said}\n"
    assert done.stderr == "1 users have no vector and are left out\n"
    assert main([*words, "--json", "--what", "users"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "format": "sqlite", "target": str(target), "what": ["users"], "vector_size": 16,
        "n_items": None, "n_users": n_users, "n_users_without_vector": 1,
    }  # fmt: skip


FAILURES = {"--model=none": "recsys train", "--what=all": "what must be", "": "/current"}


@pytest.mark.parametrize(("words", "message"), FAILURES.items())
def test_a_failure_is_one_line_and_leaves_nothing(words, message, saved, capsys):
    before, target = snapshot(saved), str(saved / "current" / "v")  # `current` is a file
    assert main(["export", target, f"--model={saved}", "--format=npz", *words.split()]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert snapshot(saved) == before

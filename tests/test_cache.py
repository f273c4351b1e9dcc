from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recsys.data.cache
import recsys.data.load
from recsys.data.load import load_ratings
from recsys.errors import DataError


@pytest.fixture(autouse=True)
def nobody_listens() -> Iterator[None]:
    """As in a fresh process: a command that ran in this one has set the level to INFO."""
    logger = logging.getLogger("recsys")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own; sources of any size are kept, at once."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(recsys.data.cache, "_MIN_BYTES", 0)
    monkeypatch.setattr(recsys.data.cache, "_SETTLED", 0)
    return tmp_path / "data" / ".cache"


def write(path: Path, n_rows: int = 500, seed: int = 0, user: str = "") -> Path:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "user": [f"{user}{n}" for n in rng.integers(10, 99, n_rows)],
            "item": rng.integers(10, 99, n_rows),
            "rating": rng.integers(1, 10, n_rows) / 2,
            "time": rng.integers(10**12, 10**12 + 10**5, n_rows),
        }
    )
    pd.concat([table, table[:3]]).to_csv(path, index=False)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was read from the sources themselves."""
    found: list[object] = []
    original = recsys.data.load._read_text

    def read(file: object, *rest: object) -> pd.DataFrame:
        found.append(file)
        return original(file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(recsys.data.load, "_read_text", read)
    return found


@pytest.mark.parametrize("user", ["", "\u00e9 ", "007"])
@pytest.mark.parametrize("text_ids", [False, True])
def test_ratings_come_back_as_they_were_read_and_can_be_changed(
    user: str, text_ids: bool, folder: Path, tmp_path: Path, reads: list[object]
) -> None:
    path = write(tmp_path / "r.csv", user=user)
    first = load_ratings(path, text_ids=text_ids, cache=False)
    assert not folder.exists()
    for _ in range(3):
        again = load_ratings(path, text_ids=text_ids)
        pd.testing.assert_frame_equal(again, first, check_index_type="exact")
        again.loc[0, ["rating", "item_id"]] = again.loc[1, ["rating", "item_id"]]
        again["rating"].to_numpy()
    assert len(reads) == 2  # without the cache, and once with it
    assert len(list(folder.iterdir())) == 1


def test_ids_above_int64_and_views_without_times_come_back(
    folder: Path, tmp_path: Path, reads: list[object]
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"user,item\n{2**64 - 1},-5\n1,-5\n")
    pd.testing.assert_frame_equal(load_ratings(path), load_ratings(path))
    assert load_ratings(path)["user_id"].tolist() == [2**64 - 1, 1]
    assert len(reads) == 1


def test_what_was_said_is_said_again_at_the_same_level(
    folder: Path, tmp_path: Path, reads: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "r.csv")
    load_ratings(path)  # nobody listens: the next must read again to have something to say
    told = []
    with caplog.at_level(logging.INFO, logger="recsys"):
        for _ in range(3):
            caplog.clear()
            load_ratings(path)
            told.append([(r.name, r.levelno, r.getMessage()) for r in caplog.records])
    assert told[0] == told[1] == told[2]
    assert [text.split(": ", 1)[1][:12] for _, _, text in told[0]] == [
        "timestamps c", "3 exact dupl", "500 ratings ",
    ]  # fmt: skip
    assert len(reads) == 2
    caplog.clear()
    load_ratings(path)
    assert not caplog.records
    assert len(reads) == 2


def test_a_file_changed_in_place_with_its_size_and_time_restored_is_read_again(
    folder: Path, tmp_path: Path, reads: list[object]
) -> None:
    path = write(tmp_path / "r.csv")
    before = path.stat()
    load_ratings(path)
    time.sleep(0.02)
    changed = path.read_bytes().replace(b"4.5", b"0.5")
    with path.open("r+b") as file:
        file.write(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert 4.5 not in set(load_ratings(path)["rating"])
    assert len(reads) == 2
    load_ratings(path)
    assert len(reads) == 2
    assert len(list(folder.iterdir())) == 1  # an edit takes the place of what was there


def test_every_option_that_changes_the_result_has_an_entry_of_its_own(
    folder: Path, tmp_path: Path, reads: list[object]
) -> None:
    path = write(tmp_path / "r.csv")
    ways: list[dict[str, object]] = [
        {}, {"text_ids": True}, {"user_col": "item", "item_col": "user"}, {"rating_scale": (0, 9)},
    ]  # fmt: skip
    first = [load_ratings(path, **way) for way in ways]  # type: ignore[arg-type]
    for way, frame in zip(ways, first, strict=True):
        pd.testing.assert_frame_equal(load_ratings(path, **way), frame)  # type: ignore[arg-type]
    assert len(reads) == len(ways) == len(list(folder.iterdir()))
    with pytest.raises(DataError, match="is not a number from 0 to 2"):
        load_ratings(path, rating_scale=(0, 2))


def cut(data: bytes) -> bytes:
    return data[:-1]


def flip(data: bytes) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


def forge(**changes: object) -> Callable[[bytes], bytes]:
    """Change the header and make the checksum right again, as one who means harm would."""

    def change(data: bytes) -> bytes:
        line, rest = data[:-4].split(b"\n", 1)
        new = json.dumps(json.loads(line) | changes).encode() + b"\n" + rest
        return new + zlib.crc32(new).to_bytes(4, "little")

    return change


TIMES = "datetime64[s, UTC]"
COLUMNS = [  # as in the entry of what `write` writes
    ["user_id", "int64", [4000]], ["item_id", "int64", [4000]], ["rating", "float32", [2000]],
    ["timestamp", TIMES, [4000]],
]  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        cut, flip,
        lambda data: b"",
        lambda data: b"[" * 10**6,
        lambda data: b"\x80\x04" + data,
        lambda data: data[:200],
        lambda data: data + b"x",
        forge(n_rows=10**12), forge(n_rows="500"), forge(n_rows=None),
        forge(columns=[]), forge(columns=[["user_id", "int64", [10**15]]]),
        forge(columns=[["user_id", "int64", [-8]]]), forge(columns=5),
        forge(columns=[["user_id", "object", [14000]]]),
        forge(columns=[["a", "int64", [4000]], *COLUMNS[1:]]),
        forge(columns=[["user_id", "int64", [14000]]], n_rows=1750),
        forge(columns=[["user_id", TIMES, [4000]], *COLUMNS[1:]]),
        forge(columns=[["user_id", "str", [4000]], *COLUMNS[1:]]),
        forge(columns=[["user_id", "str", [4000, 4000]], *COLUMNS[2:]]),
        forge(columns=[*COLUMNS[:2], ["rating", "int64", [2000]], COLUMNS[3]]),
        forge(columns=[["user_id", "str", [4000, 10000]]]),
        forge(columns=[["user_id", TIMES, [4000, 10000]]]),
        forge(columns=[["user_id", "int64", [14000]]]),
        forge(identity=[0]), forge(notices=7),
    ],
)  # fmt: skip
def test_an_entry_that_is_not_whole_is_replaced(
    damage: Callable[[bytes], bytes], folder: Path, tmp_path: Path, reads: list[object],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = write(tmp_path / "r.csv")
    first = load_ratings(path)
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()
    assert json.loads(whole.split(b"\n")[0])["columns"] == COLUMNS
    entry.write_bytes(damage(whole))
    pd.testing.assert_frame_equal(load_ratings(path), first)
    assert len(reads) == 2
    assert entry.read_bytes() == whole
    assert not caplog.records


@pytest.mark.parametrize("where", ["replace", "mkstemp", "fdopen"])
def test_where_nothing_can_be_written_ratings_are_read_all_the_same(
    where: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = write(tmp_path / "r.csv")
    module = recsys.data.cache.tempfile if where == "mkstemp" else recsys.data.cache.os
    with monkeypatch.context() as patch:
        patch.setattr(module, where, full)
        assert len(load_ratings(path)) == 500
    assert list(folder.iterdir()) == []
    (folder.parent / ".cache").rmdir()
    (folder.parent / ".cache").write_text("not a folder")
    assert len(load_ratings(path)) == 500


def test_a_process_killed_while_it_writes_leaves_nothing_that_is_read(
    folder: Path, tmp_path: Path, reads: list[object]
) -> None:
    path = write(tmp_path / "r.csv")
    script = (
        "import os, sys, recsys.data.cache as c\n"
        "c._MIN_BYTES = c._SETTLED = 0\n"
        "c.os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "from recsys.data.load import load_ratings; load_ratings(sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    (part,) = folder.iterdir()
    assert part.suffix == ".part"
    load_ratings(path)
    load_ratings(path)
    assert len(reads) == 1
    os.utime(part, (0, 0))  # long ago
    path.write_bytes(path.read_bytes() + b"1,2,3,1000000000000\n")
    load_ratings(path)
    assert not part.exists()


def test_small_files_and_folders_of_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(recsys.data.cache, "_SETTLED", 0)
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    path = write(tmp_path / "data" / "r.csv")
    load_ratings(path)  # small
    monkeypatch.setattr(recsys.data.cache, "_MIN_BYTES", 0)
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "not there"))
    load_ratings(path)
    monkeypatch.delenv("RECSYS_DATA")
    monkeypatch.chdir(tmp_path)
    load_ratings(path)  # ./data, but not this project's
    assert sorted(place.name for place in tmp_path.rglob("*")) == ["data", "r.csv"]


def test_a_file_that_was_changed_just_now_is_not_kept_yet(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recsys.data.cache, "_SETTLED", 10**12)
    load_ratings(write(tmp_path / "r.csv"))
    assert not folder.exists()

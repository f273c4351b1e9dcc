from __future__ import annotations

import logging
import os
import sys
import time
import zlib
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recsys.data.files
import recsys.data.load
from recsys.data.datasets import cache_folder
from recsys.data.load import load_ratings
from recsys.errors import DataError, DataWarning


@pytest.fixture(autouse=True)
def nobody_listens():
    """As in a fresh process: a command that ran in this one has set the level to INFO."""
    logger = logging.getLogger("recsys")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder of its own; sources of any size are kept, at once."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(recsys.data.load, "_MIN_BYTES", 0)
    monkeypatch.setattr(recsys.data.load, "_SETTLED", 0)
    return tmp_path / "data" / ".cache"


@pytest.fixture
def reads(monkeypatch):
    """Count how often the sources themselves are read."""
    read = Mock(wraps=recsys.data.load._read_text)
    monkeypatch.setattr(recsys.data.load, "_read_text", read)
    return read


def write(path, user=""):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"user": [f"{user}{n}" for n in rng.integers(10, 99, 500)],
                          "item": rng.integers(10, 99, 500), "rating": rng.integers(1, 10, 500) / 2,
                          "time": rng.integers(10**12, 10**12 + 10**5, 500)})  # fmt: skip
    pd.concat([table, table[:3]]).to_csv(path, index=False)
    return path


@pytest.fixture
def path(folder, tmp_path):
    return write(tmp_path / "r.csv")


@pytest.fixture
def entry(path, folder):
    """What is kept of the file at `path`."""
    load_ratings(path)
    (entry,) = folder.iterdir()
    return entry


@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize("user", ["", "\u00e9 ", "007", None])
def test_ratings_come_back_as_they_were_read_and_can_be_changed(user, text_ids, path, reads):
    if user is None:
        path.write_text(f"user,item\n{2**64 - 1},-5\n1,7\n")
    else:
        write(path, user=user)
    folder = cache_folder()
    first = load_ratings(path, text_ids=text_ids, cache=False)
    assert not folder.exists()
    for _ in range(3):
        again = load_ratings(path, text_ids=text_ids)
        pd.testing.assert_frame_equal(again, first, check_index_type="exact")
        again.loc[0] = again.loc[1]
    assert reads.call_count == 2  # without the cache, and once with it
    assert len(list(folder.iterdir())) == 1


def test_what_was_said_is_said_again_at_the_same_level(path, reads, caplog):
    said = []
    for level in (logging.WARNING, logging.INFO, logging.INFO):
        caplog.clear()
        with caplog.at_level(level, logger="recsys"), pytest.warns(DataWarning) as warned:
            load_ratings(path)
        told = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
        said.append((told, [(str(warning.message), warning.filename) for warning in warned]))
    assert said[0][0] == []
    assert (
        said[1]
        == said[2]
        == (
            [
                (
                    "recsys.data",
                    logging.INFO,
                    f"'{path}': timestamps converted from milliseconds",
                )
            ],
            [(f"'{path}': 3 of 503 rows dropped, exact duplicates of others", __file__)],
        )
    )
    assert reads.call_count == 1


def test_a_file_changed_in_place_with_its_size_and_time_restored_is_read_again(path, entry, reads):
    before = path.stat()
    time.sleep(0.02)
    changed = path.read_bytes().replace(b"4.5", b"0.5")
    with path.open("r+b") as file:
        file.write(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    for _ in range(2):
        assert 4.5 not in set(load_ratings(path)["rating"])
        assert reads.call_count == 1
    assert list(entry.parent.iterdir()) == [entry]  # the new entry replaces the old


def test_every_option_that_changes_the_result_has_an_entry_of_its_own(folder, path, reads):
    swapped = {"user_col": "item", "item_col": "user"}
    ways = [{}, {"text_ids": True}, swapped, {"rating_scale": (0, 9)}]
    first = [load_ratings(path, **way) for way in ways]
    for way, frame in zip(ways, first, strict=True):
        again = load_ratings(path, **way)
        pd.testing.assert_frame_equal(again, frame)
        assert again.attrs == frame.attrs
    assert reads.call_count == len(ways) == len(list(folder.iterdir()))
    with pytest.raises(DataError, match="is not a number from 0 to 2"):
        load_ratings(path, rating_scale=(0, 2))


def forge(data, rename=None, facts=None, **columns):
    """Change an entry and make its checksum right again, as one who means harm would."""
    table = pq.read_table(pa.BufferReader(data))
    metadata = table.schema.metadata
    table = pa.table({name: columns.get(name, table[name]) for name in table.column_names})
    metadata[b"recsys"] = facts or metadata[b"recsys"]
    checksum = zlib.crc32(metadata[b"recsys"])
    for column in table.columns:
        checksum = recsys.data.load._checksum(column, checksum)
    metadata[b"crc32"] = str(checksum).encode()
    table = table.rename_columns(rename or table.column_names).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


NOT_UTF8 = pa.array([b"\xff"] * 500, pa.large_binary()).view(pa.large_string())


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: b"", lambda data: data + b"x", lambda data: b"[" * 10**6,
    lambda data: forge(data, rename=["a", "item_id", "rating", "timestamp"]),
    lambda data: forge(data, rename=["item_id", "user_id", "rating", "timestamp"]),
    *(lambda data, facts=facts: forge(data, facts=facts)
      for facts in (b"[0]", b"[" * 10**5, b"\xff", b"5")),
    lambda data: forge(data, user_id=pa.array([1.5] * 500)),
    lambda data: forge(data, user_id=NOT_UTF8),
    lambda data: forge(data, rating=pa.array([1] * 500)),
])  # fmt: skip
def test_an_entry_that_is_not_whole_is_replaced(damage, path, entry, reads, caplog):
    first, whole = load_ratings(path), entry.read_bytes()
    entry.write_bytes(damage(whole))
    pd.testing.assert_frame_equal(load_ratings(path), first)
    assert reads.call_count == 1
    assert entry.read_bytes() == whole
    assert not caplog.records
    entry.write_bytes(forge(whole))
    load_ratings(path)
    assert reads.call_count == 1  # or else the forger above cannot forge


def test_no_flipped_bit_of_an_entry_gives_other_ratings(path, entry):
    write(path, user="u")
    first, whole = load_ratings(path), entry.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*rng.integers(0, len(whole), 150), *range(len(whole) - 150, len(whole))]:
        data = bytearray(whole)
        data[at] ^= 1 << rng.integers(0, 8)
        entry.write_bytes(data)
        pd.testing.assert_frame_equal(load_ratings(path), first)


def test_where_nothing_can_be_written_ratings_are_read_all_the_same(folder, path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(recsys.data.files.os, "replace", full)
        assert len(load_ratings(path)) == 500
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.write_text("not a folder")
    assert len(load_ratings(path)) == 500


def test_what_a_killed_process_left_is_not_read_and_is_removed_in_time(folder, path):
    folder.mkdir()
    left = [folder / ".recsys-1.part", folder / ".recsys-2.part"]
    for part in left:
        part.write_bytes(b"half")
    os.utime(left[0], (0, 0))  # long ago
    assert len(load_ratings(path)) == len(load_ratings(path)) == 500
    assert [part.exists() for part in left] == [False, True]


def test_small_files_and_new_files_are_not_kept_and_folders_of_others_left_alone(
    tmp_path, monkeypatch
):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    path = write(tmp_path / "data" / "r.csv")
    load_ratings(path)  # a small file
    monkeypatch.setattr(recsys.data.load, "_MIN_BYTES", 0)
    monkeypatch.setattr(recsys.data.load, "_SETTLED", 10**12)
    load_ratings(path)  # a new one
    monkeypatch.setattr(recsys.data.load, "_SETTLED", 0)
    assert sorted(place.name for place in tmp_path.rglob("*")) == ["data", "r.csv"]
    monkeypatch.delenv("RECSYS_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "sample").mkdir()
    load_ratings(path)  # ./data is not this project's, whatever is in it
    assert sorted(place.name for place in (tmp_path / "data").iterdir()) == ["r.csv", "sample"]
    if sys.platform == "linux":
        (kept,) = (tmp_path / "cache" / "recsys").iterdir()
        assert kept.suffix == ".parquet"

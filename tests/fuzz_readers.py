"""Feed the readers with mutated real files until the time is up, or one of them fails.

    python -m tests.fuzz_readers --seconds 600 --seed 1 --folder /tmp/fuzz

A reader may answer with what plain code reads, or raise `DataError` in one line. All else, a crash
or a hang too, ends this process and leaves the file in FOLDER. It prints the number of cases.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import io
import logging
import random
import re
import resource
import sys
import time
import zipfile
from pathlib import Path

from recsys import DataError, load_items, load_ratings
from recsys.data.frames.ratings import check_ratings

HEADER = b"userId,movieId,rating,timestamp"
TOKENS = [
    *(b'"', b"\n", b"\r", b"\r\n", b",", b"\t", b"::", b":", b";", b"|", b"\0", b" ", b"''", b"\\"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xe9", b"\xff\xfe", b"\xc3\xa9", b"\x1f", b"\xed\xa0\x80"),
    *(b"NaN", b"nan", b"NA", b"null", b"inf", b"-inf", b"-0", b"-1", b"0", b"007", b"1.0", b"1.5"),
    *(b"1e5", b"1e400", b"0x1f", b"9223372036854775808", b"18446744073709551616", b"9" * 400),
    *(b"1997-12-04", b"1997-12-04T15:55:49Z", b"true", b"x" * 5000, b"", b"{}", b"[", b"1e999"),
]
ITEMS = ("movies.csv", "u.item", "movies.dat", "x.item")
SECONDS_PER_CASE = 60


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a few places of a file."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in "ab")
        end = min(end, at + rng.choice([1, 2, 8, 64, 10**6]))
        other, token = rng.randrange(len(data) + 1), rng.choice(TOKENS)
        flipped = bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1])
        data = rng.choice([
            data[:at] + flipped + data[at + 1 :],
            data[:at] + data[end:],
            data[:end] + data[at:],
            data[:at],
            data[:at] + data[other : other + end - at] + data[end:],
            data[:at] + rng.randbytes(rng.choice([1, 4, 40])) + data[end:],
            data[:at] + token + data[at:],
            data[:at] + token + data[end:],
        ])  # fmt: skip
    return data


def seeds() -> dict[str, bytes]:
    """Make the files that are mutated: name -> content, of every kind that is read."""
    rows = load_ratings("sample").iloc[:120].astype({"timestamp": "int64", "rating": "int64"})
    csv = rows.to_csv(index=False, header=False, lineterminator="\n").encode()
    tabs, ratings, packed = csv.replace(b",", b"\t"), HEADER + b"\n" + csv, io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml/ratings.csv", ratings)
    films = [b"%d" % n for n in range(30)]
    typed = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    items = b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    old = b"|L\xe9on (1994)|14-Nov-1994||http://x|0|1" + b"|0" * 17 + b"\n"
    movie = b',"Usual Suspects, The (1995)",Action|Crime\n'
    return {
        "ratings.csv": ratings,
        "views.csv": b"user,item\n" + re.sub(rb"(\d+),(\d+).*", rb'u \1,"\2"', csv),
        "iso.csv": b"item;user;date\n" + b"".join(n + b"a;b;1997-12-04T15:55Z\n" for n in films),
        "u.data": tabs,
        "ratings.dat": tabs.replace(b"\t", b"::"),
        "x.inter": typed + tabs,
        "ratings.csv.gz": gzip.compress(ratings, mtime=0),
        "ratings.zip": packed.getvalue(),
        "ratings.parquet": rows.to_parquet(),
        "movies.csv": b"movieId,title,genres\n" + b"".join(n + movie for n in films),
        "u.item": b"".join(n + old for n in films),
        "movies.dat": b"".join(n + b"::Heat (1995)::Action|Crime\n" for n in films),
        "x.item": items + b"".join(n + b"\tHeat\t1995\tAction Crime\n" for n in films),
    }


def plain_pairs(data: bytes) -> set[tuple[str, str]] | None:
    """Read `ratings.csv` by plain code: its (user, item) pairs, or None where it is not plain."""
    header, *lines = data.decode("utf-8-sig", "replace").split("\n")
    if header.encode() != HEADER or re.search('["\r\0\ufffd]', "".join(lines)):
        return None
    return {tuple(line.split(",")[:2]) for line in lines if line}


def read(path: Path, text_ids: bool) -> None:
    """Read a file and look at what comes out."""
    if path.name in ITEMS:
        items = load_items(path, text_ids=text_ids)
        assert not items[["item_id", "title"]].isna().any(axis=None)
        assert not items["item_id"].duplicated().any()
        return
    ratings = load_ratings(path, text_ids=text_ids)
    assert len(ratings)
    assert not ratings[["user_id", "item_id"]].isna().any(axis=None)
    assert check_ratings(ratings).equals(ratings)
    if text_ids and path.name == "ratings.csv" and (pairs := plain_pairs(path.read_bytes())):
        assert set(zip(ratings["user_id"], ratings["item_id"], strict=True)) == pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    files = seeds()
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    logging.disable(logging.CRITICAL)
    ignored: list[object] = []
    sys.unraisablehook = ignored.append  # or else a traceback on the user's terminal
    rng, n, ends = random.Random(args.seed), 0, time.monotonic() + args.seconds
    while time.monotonic() < ends:
        name, n = rng.choice(list(files)), n + 1
        path = args.folder / name
        path.write_bytes(mutate(files[name], rng))
        faulthandler.dump_traceback_later(SECONDS_PER_CASE, exit=True)
        for text_ids in (False, True):
            try:
                read(path, text_ids)
            except DataError as error:
                text = str(error)
                assert re.fullmatch(".{1,2000}", text), text
        assert not ignored, ignored
        path.unlink()
    print(n)


if __name__ == "__main__":
    main()

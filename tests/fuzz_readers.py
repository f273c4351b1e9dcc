"""Feed the readers with mutated real files until the time is up; print what they did wrong.

    python -m tests.fuzz_readers --seconds 600 --seed 1 --folder /tmp/fuzz

A reader may answer, or raise its own exception in one line; whatever it read must be well-formed,
and where plain code can read the file too, the same rows. The case at hand is always on the disk
(FOLDER/case), so that a crash of the interpreter, which ends this process, is known by its case.
Finds are kept in FOLDER/finds and printed, one JSON object a line; the last line counts.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import logging
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

from recsys import DataError, DownloadError, ModelError, Recommender, load_items, load_ratings
from recsys.data import datasets
from recsys.data.frames import check_ratings

HEADER = b"userId,movieId,rating,timestamp"
TOKENS = [
    *(b'"', b"\n", b"\r", b"\r\n", b",", b"\t", b"::", b":", b";", b"|", b"\0", b" ", b"''", b"\\"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xe9", b"\xff\xfe", b"\xc3\xa9", b"\x1f", b"\xed\xa0\x80"),
    *(b"NaN", b"nan", b"NA", b"null", b"inf", b"-inf", b"-0", b"-1", b"0", b"007", b"1.0", b"1.5"),
    *(b"1e5", b"1e400", b"0x1f", b"9223372036854775808", b"18446744073709551616", b"9" * 400),
    *(b"1997-12-04", b"1997-12-04T15:55:49Z", b"true", b"x" * 5000, b"", b"{}", b"[", b"1e999"),
]
SECONDS_PER_CASE = 20


class TooSlow(BaseException):
    """A case took longer than anybody would wait."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a few places of a file."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in "ab")
        end = min(end, at + rng.choice([1, 2, 8, 64, 10**6]))
        how = rng.randrange(8)
        if how == 0 and data:
            at = rng.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif how == 1:
            data = data[:at] + data[end:]
        elif how == 2:
            data = data[:end] + data[at:]
        elif how == 3:
            data = data[:at]
        elif how == 4 and data:
            other = rng.randrange(len(data))
            data = data[:at] + data[other : other + end - at] + data[end:]
        elif how == 5:
            data = data[:at] + rng.randbytes(rng.choice([1, 4, 40])) + data[end:]
        else:
            data = data[:at] + rng.choice(TOKENS) + data[at if how == 6 else end :]
    return data


def in_a_zip(name: str, data: bytes) -> bytes:
    """Make a zip with one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """Make the files that are mutated: name -> content, of every kind that is read."""
    ratings = load_ratings("sample").iloc[:120]
    rows = ratings.assign(timestamp=ratings["timestamp"].astype("int64"))
    csv = HEADER + b"\n" + rows.to_csv(index=False, header=False, lineterminator="\n").encode()
    tabs = rows.assign(rating=rows["rating"].astype("int64"))
    tabs = tabs.to_csv(index=False, header=False, sep="\t", lineterminator="\n").encode()
    typed = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    texts = rows.assign(user_id="u " + rows["user_id"].astype("str"))
    texts["item_id"] = '"' + rows["item_id"].astype("str") + '"'
    films = load_items("sample").iloc[:40]
    movies = b"movieId,title,genres\n" + b"".join(
        f'{film.item_id},"{film.title} ({film.year})",{"|".join(film.genres)}\n'.encode()
        for film in films.itertuples()
    )
    views = texts[["user_id", "item_id"]].to_csv(index=False, header=False).encode()
    iso = b"".join(b"a%d;b;1997-12-0%dT15:55:49Z\n" % (n, n % 9 + 1) for n in range(50))
    old = b"".join(
        b"%d|L\xe9on (1994)|14-Nov-1994||http://x|0|1" % n + b"|0" * 17 + b"\n" for n in range(30)
    )
    parquet = io.BytesIO()
    rows.to_parquet(parquet)
    return {
        "ratings.csv": csv,
        "views.csv": b"user,item\n" + views,
        "iso.csv": b"item;user;date\n" + iso,
        "u.data": tabs,
        "ratings.dat": tabs.replace(b"\t", b"::"),
        "x.inter": typed + tabs,
        "ratings.csv.gz": gzip.compress(csv, mtime=0),
        "ratings.zip": in_a_zip("ml/ratings.csv", csv),
        "ratings.parquet": parquet.getvalue(),
        "movies.csv": movies,
        "u.item": old,
        "movies.dat": b"".join(b"%d::Heat (1995)::Action|Crime\n" % n for n in range(30)),
        "x.item": b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        + b"".join(b"%d\tHeat\t1995\tAction Crime\n" % n for n in range(30)),
    }  # fmt: skip


class WrongError(Exception):
    """A reader answered, and not rightly."""


def one_line(error: Exception) -> None:
    """Look at a message as a person does."""
    text = str(error)
    if not text or "\n" in text or len(text) > 2_000:
        raise WrongError(f"a message that is not one line: {text[:500]!r}")


def plain_pairs(data: bytes) -> set[tuple[str, str]] | None:
    """Read `ratings.csv` by plain code: its (user, item) pairs, or None where it is not plain."""
    if any(byte in data for byte in (b'"', b"\r", b"\0")):
        return None
    try:
        header, *lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        return None
    if header.encode() != HEADER:
        return None
    rows = [line.split(",") for line in lines if line]
    return {(row[0], row[1]) for row in rows}


def read_ratings(path: Path, data: bytes) -> None:
    """Read a ratings file in both ways."""
    for text_ids in (False, True):
        try:
            ratings = load_ratings(path, text_ids=text_ids)
        except DataError as error:
            one_line(error)
            continue
        if ratings.empty or ratings[["user_id", "item_id"]].isna().any(axis=None):
            raise WrongError("no rows, or ids that are missing")
        if not check_ratings(ratings).equals(ratings):
            raise WrongError("a checked frame changes when it is checked again")
        if text_ids and path.name == "ratings.csv" and (pairs := plain_pairs(data)) is not None:
            found = set(zip(ratings["user_id"], ratings["item_id"], strict=True))
            if found != pairs:
                raise WrongError(f"other rows than plain code reads: {list(found ^ pairs)[:4]}")


def read_items(path: Path, data: bytes) -> None:
    """Read an items file in both ways."""
    for text_ids in (False, True):
        try:
            items = load_items(path, text_ids=text_ids)
        except DataError as error:
            one_line(error)
            continue
        if items["item_id"].duplicated().any() or items[["item_id", "title"]].isna().any(axis=None):
            raise WrongError("items twice, or without an id or a title")


def check_zip(path: Path, data: bytes) -> None:
    """Look through a zip as after a download; without a checksum, every member is read."""
    try:
        datasets.check_zip(datasets.DataSet("x", None, None, ""), path)
    except DownloadError as error:
        one_line(error)


class Folder:
    """A small model folder whose files are mutated and vouched for again, as a forger would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ratings = load_ratings("sample").iloc[:600]
        items = load_items("sample")
        Recommender(epochs=1, vector_size=4, min_rating=2).fit(ratings, items).save(folder)
        self.run = folder / (folder / "current").read_text().strip()
        self.files = {path.name: path.read_bytes() for path in self.run.iterdir()}
        self.user = int(ratings["user_id"].iloc[0])

    def read(self, name: str, data: bytes) -> None:
        """Put one file in its place, let the manifest vouch for it, load, and use the model."""
        run = self.folder / (self.folder / "current").read_text().strip()
        shutil.rmtree(run)
        files = {**self.files, name: data}
        if name != "manifest.json":
            manifest = json.loads(files["manifest.json"])
            sha256 = hashlib.sha256(data).hexdigest()
            manifest["files"][name] = {"size": len(data), "sha256": sha256}
            files["manifest.json"] = json.dumps(manifest).encode()
        run = self.folder / f"run-{hashlib.sha256(files['manifest.json']).hexdigest()[:16]}"
        run.mkdir()
        for file, content in files.items():
            (run / file).write_bytes(content)
        (self.folder / "current").write_text(run.name)
        for verify in (True, False):
            try:
                model = Recommender.load(self.folder, verify=verify)
            except ModelError as error:
                if not str(error) or len(str(error)) > 2_000:
                    raise WrongError(f"a message to nobody: {str(error)[:500]!r}") from error
                continue
            self.use(model)

    def use(self, model: Recommender) -> None:
        """Ask; a forged model may answer anything, but never end the process."""
        asks: list[Callable[[], object]] = [
            lambda: model.recommend(self.user),
            lambda: model.recommend_many(k=3),
            lambda: model.similar_items(model.items[0]),
            lambda: model.explain(self.user, model.items[0]),
            lambda: repr(model.popular()),
        ]
        for ask in asks:
            try:
                ask()
            except Exception:
                logging.getLogger(__name__).debug("a forged model", exc_info=True)


def main() -> int:
    """Run until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    files = seeds()
    model = Folder(args.folder / "model")
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    logging.disable(logging.CRITICAL)

    def too_slow(*_: object) -> None:
        raise TooSlow

    ignored: list[object] = []
    sys.unraisablehook = ignored.append  # or else a traceback on the user's terminal
    signal.signal(signal.SIGALRM, too_slow)
    rng, n, finds, seen = random.Random(args.seed), 0, 0, set()
    items = ("movies.csv", "u.item", "movies.dat", "x.item")
    ends = time.monotonic() + args.seconds
    while time.monotonic() < ends:
        of_model = rng.random() < 0.3
        name = rng.choice(list(model.files if of_model else files))
        data = mutate((model.files if of_model else files)[name], rng)
        (args.folder / "case").mkdir(exist_ok=True)
        for old in (args.folder / "case").iterdir():
            old.unlink()
        path = args.folder / "case" / name
        path.write_bytes(data)
        signal.alarm(SECONDS_PER_CASE)
        n += 1
        try:
            if of_model:
                model.read(name, data)
            else:
                (read_items if name in items else read_ratings)(path, data)
                if name.endswith(".zip"):
                    check_zip(path, data)
            if ignored:
                raise WrongError(f"an exception that Python could only print: {ignored.pop()}")
        except (Exception, TooSlow) as error:
            signal.alarm(0)
            where = traceback.extract_tb(error.__traceback__)[-1]
            key = (type(error).__name__, where.filename, where.lineno, str(error)[:40])
            finds += 1
            if key not in seen:
                seen.add(key)
                kept = args.folder / "finds" / f"{n}-{name}"
                kept.parent.mkdir(exist_ok=True)
                kept.write_bytes(data)
                text = re.sub(r"\s+", " ", str(error))[:300]
                last = [f"{Path(f.filename).name}:{f.lineno}" for f in
                        traceback.extract_tb(error.__traceback__)][-6:]  # fmt: skip
                file = base64.b85encode(data).decode() if len(data) < 10_000 else None
                print(json.dumps({"kept": str(kept), "error": key[0], "text": text, "at": last,
                                  "b85": file}))  # fmt: skip
                sys.stdout.flush()
        finally:
            signal.alarm(0)
    print(json.dumps({"cases": n, "finds": finds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

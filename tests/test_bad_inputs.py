"""Every kind of bad input that we promise to deal with, through both doors: Python and command.

The numbers are those of the list of bad inputs that the project started from. What the reader makes
of a file in detail is in test_data.py and test_frames.py; here is that nobody is left with a
traceback, half a model or a wrong answer.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys import (
    ColdUserError,
    DataError,
    ModelError,
    Recommender,
    UnknownItemError,
    UnknownUserError,
    load_items,
    load_ratings,
    storage,
)
from recsys.__main__ import main
from recsys.evaluate import evaluate
from recsys.vectors.item2vec import MAX_SENTENCE
from tests.counts import count
from tests.test_data import put, write_ml_1m, write_ml_25m, write_ml_100k, zipped
from tests.test_storage import Touch, posix, run_of, seal, snapshot, with_column

QUICK = {"epochs": 1, "vector_size": 4, "index": "exact"}
OPTIONS = ["--epochs", "1", "--vector-size", "4", "--index", "exact"]
HEADER = "user_id,item_id,rating,timestamp\n"
ROWS = "1,10,4,881250949\n2,10,3,881250950\n1,20,5,881250951\n"

# Rows that are tested where the machinery for them is; a test below looks that they exist.
ELSEWHERE = {
    41: "test_stress: test_killed_at_any_moment_of_train_the_model_is_the_old_or_the_new_one",
    42: "test_stress: test_readers_never_notice_that_the_model_is_replaced_by_two_trainings",
    43: "test_cli: test_ctrl_c_while_training_is_exit_130_and_leaves_nothing",
    44: "test_datasets: test_a_zip_that_is_unsafe_or_none_is_refused",
}


@pytest.fixture
def command(capsys):
    """Run a command in this process and return (status, stdout, lines of stderr)."""

    def run(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


@pytest.fixture
def failing(command):
    """Run a command that is to fail: exit 1, one line, nothing on stdout; return the line."""

    def run(*words):
        status, out, err = command(words[0], "--json", *words[1:])
        count("silent wrong answers", status == 0)
        assert (status, out, len(err)) == (1, "", 1), err
        return err[0].removeprefix("recsys: ")

    return run


@pytest.fixture
def refused(tmp_path, failing):
    """Say that a source is refused in the same words by Python and by `train`, and read them."""

    def check(source, message, **options):
        count("bad inputs tried")
        if not isinstance(source, Path):
            source = put(tmp_path / "r.csv", source)
        with pytest.raises(DataError) as error:
            load_ratings(source, **options)
        words = []
        for name, value in options.items():
            words += [
                f"--{name.replace('_', '-')}",
                *(value if name == "rating_scale" else [value]),
            ]
        model = tmp_path / "never made"
        line = failing("train", "--data", source, *words, "--model", model, *OPTIONS)
        assert line == str(error.value)
        assert re.search(message, line), line
        assert len(line) < 400
        assert not model.exists()
        return line

    return check


@pytest.fixture
def accepted(tmp_path, command):
    """Say that a source is taken by Python and by `train`, and return what Python read."""

    def check(source, *words, **options):
        count("bad inputs tried")
        if not isinstance(source, Path):
            source = put(tmp_path / "r.csv", source)
        ratings = load_ratings(source, **options)
        model = tmp_path / "model"
        status, _, err = command("train", "--data", source, *words, "--model", model, *OPTIONS)
        assert status == 0, err
        loaded = Recommender.load(model)
        right = (
            loaded.users.tolist() == sorted(ratings["user_id"].unique().tolist())
            and loaded.items.tolist() == sorted(ratings["item_id"].unique().tolist())
        )  # fmt: skip
        count("silent wrong answers", not right)
        assert right
        return ratings

    return check


@pytest.fixture
def said(caplog):
    """Return what was logged: what a person sees on stderr."""
    caplog.set_level(logging.INFO, logger="recsys")
    return lambda: "\n".join(caplog.messages)


# ---------------------------------------------------------------------------- 1-9: the writing


def test_01_a_required_column_is_missing(refused, tmp_path):
    refused(
        "who,item,stars\n1,10,3\n",
        r"has no column 'user_id'; found: 'who', 'item', 'stars'; "
        r"name it by user_col= \(--user-col\)$",
    )
    refused("who,item\n1,2\n", r"no column 'whom' as user_col= \(--user-col\)", user_col="whom")
    with pytest.raises(DataError, match="has no column 'item_id'; found: 'user', 'film'"):
        Recommender().fit(pd.DataFrame({"user": [1], "film": [2]}))


@pytest.mark.parametrize(
    ("user", "item", "rating", "time"),
    [
        ("user", "item", "rating", "timestamp"),
        ("user_id", "item_id", "score", "time"),
        ("userId", "itemId", "stars", "ts"),
        ("uid", "movie_id", "RATING", "date"),
        ("USER_ID", "movieId", "Score", "Timestamp"),
        ("Uid", "Product_ID", "STARS", "Date"),
    ],
)
def test_02_other_common_names_of_the_columns(user, item, rating, time, accepted):
    ratings = accepted(f"{time},{rating},{item},{user}\n881250949,4,10,1\n")
    assert ratings.columns.tolist() == ["user_id", "item_id", "rating", "timestamp"]
    assert ratings.iloc[0, :3].tolist() == [1, 10, 4]


@pytest.mark.parametrize("delimiter", ["\t", ";", "|", "::"])
def test_03_another_delimiter(delimiter, accepted):
    assert accepted((HEADER + ROWS).replace(",", delimiter))["item_id"].tolist() == [10, 10, 20]


def test_04_a_byte_order_mark_and_crlf(accepted):
    text = ("\ufeff" + HEADER + ROWS).replace("\n", "\r\n")
    assert accepted(text)["rating"].tolist() == [4, 3, 5]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_05_bytes_that_are_not_utf8(encoding, refused, tmp_path):
    path = put(tmp_path / "r.csv", (HEADER + "L\u00e9a,10,4,881250949\n").encode(encoding))
    refused(path, r"line \d: not text in UTF-8; it may be in UTF-16 or latin-1: save it as UTF-8")


def test_06_no_header(accepted):
    ratings = accepted(ROWS)
    assert ratings.columns.tolist() == ["user_id", "item_id", "rating", "timestamp"]
    assert len(ratings) == 3


@pytest.mark.parametrize("text", ["", "\n \n", HEADER, "\ufeff" + HEADER])
def test_07_an_empty_file_or_only_a_header(text, refused):
    refused(text, r"^no ratings in '.*r\.csv'$")


@pytest.mark.parametrize("header", [HEADER, HEADER.replace("\n", ",\n"), ""])
def test_08_a_trailing_comma_on_every_row(header, accepted):
    ratings = accepted(header + ROWS.replace("\n", ",\n"))
    assert ratings["user_id"].tolist() == [1, 2, 1]
    assert ratings["item_id"].tolist() == [10, 10, 20]


@pytest.mark.parametrize("row", ["1,30", "1,30,4,881250949,9,9", "1,30,4,881250949,", "x"])
def test_09_a_row_of_too_many_or_too_few_fields(row, refused):
    refused(HEADER + ROWS + row + "\n", r"r\.csv', line 5: \d fields where there should be 4$")


# ---------------------------------------------------------------------------- 10-14: ids


@pytest.mark.parametrize("user", ["", "  ", '""', "\u00a0"])
def test_10_a_blank_id(user, refused):
    refused(f"user,item\na,1\n{user},1\nb,1\n{user},2\n", "lines 3, 5: user_id is blank; every row")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_10_a_missing_id_in_a_frame(missing, column):
    count("bad inputs tried")
    views = pd.DataFrame({"user_id": [1, 2], "item_id": [3, 4]}).astype(object)
    views.loc[1, column] = missing
    with pytest.raises(DataError, match=f"^the frame, row 2: {column} is missing; every row"):
        Recommender(**QUICK).fit(views)


def test_10_numbers_beside_a_blank_id_do_not_become_floats(refused):
    line = refused("user,item\n1,1\n,1\n", "line 3: user_id is blank")
    assert "1.0" not in line
    assert "nan" not in line


@pytest.mark.parametrize("word", ["NA", "null", "nan", "None", "N/A", "inf", "TRUE"])
def test_11_ids_that_read_like_nothing(word, accepted):
    assert accepted(f"user,item\n{word},b\nx,{word}\n")["user_id"].tolist() == [word, "x"]


def test_11b_text_and_numbers_in_one_id_column(refused, accepted):
    text = "user,item\n1,1\nx,2\n"
    refused(text, r"user_id mixes numbers \(1 in line 2\) and text \('x' in line 3\).*--text-ids")
    assert accepted(text, "--text-ids", text_ids=True)["user_id"].tolist() == ["1", "x"]


ODD = ["a b", 'quo"te', "com,ma", "na\u00efve", "\u65e5\u672c", "x" * 10_000, "-lead", "l\nf"]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd[:8]))
def test_12_text_ids_of_any_kind(odd, tmp_path, accepted, command):
    table = pd.DataFrame({"user": [odd, "other"], "item": ["plain", odd]})
    table.to_csv(tmp_path / "t.csv", index=False)
    assert accepted(tmp_path / "t.csv")["user_id"].tolist() == [odd, "other"]
    status, out, _ = command("recommend", "--model", tmp_path / "model", "--json", "--", odd)
    assert status == 0
    answer = json.loads(out)
    assert answer["user_id"] == odd
    assert [row["item_id"] for row in answer["recommendations"]] == [odd]


@pytest.mark.parametrize(
    "ids", [[2**31, 2**40], [2**63 + 1, 2**64 - 1], [-7, 5], [-(2**63), 0], [2**53, 2**53 + 1]]
)
def test_13_large_and_negative_ids(ids, tmp_path, accepted, command):
    first, second = ids
    assert accepted(f"user,item\n{first},{first}\n{second},{second}\n")["user_id"].tolist() == ids
    status, out, _ = command("recommend", first, "--model", tmp_path / "model", "--json")
    assert status == 0
    assert [row["item_id"] for row in json.loads(out)["recommendations"]] == [second]


def test_13_ids_too_large_for_any_number_are_text(accepted):
    assert accepted(f"user,item\n{2**64},1\n1,1\n")["user_id"].tolist() == [str(2**64), "1"]


def test_14_float_ids(accepted, refused):
    assert accepted("user,item\n1.0,10.0\n2.0,10.0\n")["user_id"].tolist() == [1, 2]
    refused("user,item\n1.0,10\n2.5,10\n", "line 3: user_id 2.5 is not a whole number")


# ---------------------------------------------------------------------------- 15-22: rows


def test_15_exact_duplicate_rows(accepted, said):
    assert len(accepted(HEADER + ROWS + ROWS)) == 3
    assert "3 exact duplicate rows dropped" in said()


def test_16_the_same_user_and_item_at_two_times(accepted, tmp_path):
    ratings = accepted(HEADER + "1,10,4,100\n1,10,4,200\n1,20,4,300\n2,20,4,100\n")
    assert len(ratings) == 4
    model = Recommender.load(tmp_path / "model")
    assert [row.score for row in model.popular()] == [2, 2]
    split = evaluate(ratings, params=QUICK, split="last-out")["split"]
    assert (split["n_train"], split["n_validation"]) == (1, 1)


def test_17_rows_in_any_order(tmp_path, command, sample):
    count("bad inputs tried")
    for name, rows in (("a", sample), ("b", sample.sample(frac=1, random_state=1))):
        rows.assign(timestamp=rows["timestamp"].astype("int64")).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
        words = ("train", "--data", tmp_path / f"{name}.csv", "--model", tmp_path / name)
        assert command(*words, "--epochs", "1", "--vector-size", "8")[0] == 0
    same = snapshot(tmp_path / "a") == snapshot(tmp_path / "b")
    count("silent wrong answers", not same)
    assert same


def test_18_equal_timestamps_within_a_user(tmp_path, accepted, said):
    rows = [f"{1 + i // 6},{i % 6},3,1000\n" for i in range(12)]
    accepted(HEADER + "".join(rows))
    before = snapshot(tmp_path / "model")
    accepted(HEADER + "".join(reversed(rows)))
    assert snapshot(tmp_path / "model") == before
    assert "100% share a timestamp with another rating of the same user" in said()


@pytest.mark.parametrize(
    ("time", "notice"),
    [
        ("881250949000", "converted from milliseconds"),
        ("881250949000000", "converted from microseconds"),
        ("881250949000000000", "converted from nanoseconds"),
        ("1997-12-04T15:55:49Z", "read as ISO dates and times"),
        ("1997-12-04 16:55:49+01:00", "read as ISO dates and times"),
    ],
)
def test_19_times_in_other_units_or_as_iso_text(time, notice, accepted, said):
    ratings = accepted(f"{HEADER}1,10,4,{time}\n")
    assert ratings["timestamp"][0] == pd.Timestamp(881250949, unit="s", tz="UTC")
    assert notice in said()


@pytest.mark.parametrize("time", ["0", "-5", "", "NaN", "soon"])
def test_20_a_time_that_is_none(time, refused):
    refused(f"{HEADER}1,9,4,881250948\n1,10,4,{time}\n", "line 3: timestamp.*--split last-out$")


def test_20_no_times_where_a_split_by_time_is_asked_for(tmp_path, failing, command):
    count("bad inputs tried")
    path = put(tmp_path / "r.csv", "user,item\n" + "".join(f"{i % 3},{i}\n" for i in range(12)))
    assert "--split last-out" in failing("evaluate", "--data", path, *OPTIONS)
    with pytest.raises(DataError, match="--split last-out"):
        evaluate(load_ratings(path), params=QUICK)
    status, out, _ = command("evaluate", "--data", path, "--split", "last-out", "--json", *OPTIONS)
    assert status == 0
    assert json.loads(out)["protocols"]["last-out"]["n_users"] == 3


@pytest.mark.parametrize("rating", ["", "NaN", "inf", "-1", "-inf", "1e39", "good", "true"])
def test_21_a_rating_that_is_none(rating, refused):
    refused(
        f"{HEADER}1,9,4,5\n1,10,{rating},6\n", "line 3: rating '.*' is not a number of 0 or more"
    )


@pytest.mark.parametrize("rating", ["0.5", "5.5"])
def test_21_a_rating_outside_the_scale_that_is_stated(rating, refused, accepted):
    rows = f"{HEADER}1,9,4,5\n1,10,{rating},6\n"
    message = f"line 3: rating '{rating}' is not a number from 1 to 5"
    refused(rows, message, rating_scale=(1.0, 5.0))
    assert accepted(rows, "--rating-scale", "0.5", "5.5", rating_scale=(0.5, 5.5)).shape == (2, 4)
    assert len(accepted(rows)) == 2


def test_22_no_rating_column_at_all(accepted):
    assert accepted("user,item,time\n1,10,5\n1,20,6\n").columns.tolist() == [
        *("user_id", "item_id", "timestamp")
    ]


# ---------------------------------------------------------------------------- 23-27: files


@pytest.mark.parametrize("write", [write_ml_100k, write_ml_1m])
def test_23_latin_1_titles_of_the_old_layouts(write, tmp_path, accepted, command):
    write(tmp_path / "old")
    accepted(tmp_path / "old")
    assert load_items(tmp_path / "old")["title"][0] == "L\u00e9on"
    status, out, _ = command("similar", "L\u00e9on", "--model", tmp_path / "model")
    assert (status, "Usual Suspects" in out) == (0, True)


def test_24_a_gz_a_zip_and_a_folder(tmp_path, accepted):
    write_ml_25m(tmp_path / "ml")
    gz = put(tmp_path / "r.csv.gz", gzip.compress((tmp_path / "ml" / "ratings.csv").read_bytes()))
    for source in (tmp_path / "ml", zipped(tmp_path / "ml", tmp_path / "ml.zip", "ml/"), gz):
        assert len(accepted(source)) == 3


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["csv.gz", "zip"])
def test_25_a_gz_or_zip_that_is_cut_short(kind, share, tmp_path, refused):
    noise = np.random.default_rng(0).integers(1, 10**9, (2000, 2)).tolist()
    text = "user,item\n" + "".join(f"{user},{item}\n" for user, item in noise)
    path = tmp_path / f"r.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ratings.csv", text)
    else:
        path.write_bytes(gzip.compress(text.encode()))
    os.truncate(path, int(path.stat().st_size * share))
    refused(path, "is corrupt or cut short, get it again")


@pytest.mark.parametrize("kind", ["csv.gz", "zip"])
def test_25_a_packed_line_without_end_does_not_fill_the_memory(kind, tmp_path, refused):
    path, zeros = tmp_path / f"r.{kind}", bytes(1 << 20)
    with ExitStack() as stack:
        if kind == "zip":
            archive = stack.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED))
            file = stack.enter_context(archive.open("ratings.csv", "w"))
        else:
            file = stack.enter_context(gzip.open(path, "wb", compresslevel=1))
        file.write(b"user,item\n1,1\n")
        for _ in range(50):
            file.write(zeros)
    tracemalloc.start()
    try:
        refused(path, "row longer than 262,144 bytes; is a quote never closed")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_26_a_folder_of_no_known_layout(tmp_path, refused):
    put(tmp_path / "data" / "readme.md", "hello")
    refused(tmp_path / "data", r"no ratings found in .*; looked for ratings\.csv, u\.data, ratings")


def test_27_a_path_that_is_missing(tmp_path, refused):
    refused(tmp_path / "no.csv", "is no file or folder, nor the name of a data set")


NO_PERMISSION = """
import importlib, os, pkgutil, sys, pandas, pyarrow.csv
import recsys.data.load, recsys.recommender
from recsys.__main__ import main
for module in pkgutil.iter_modules(recsys.__path__):  # while this user may read them
    if not module.name.startswith("__"):
        importlib.import_module(f"recsys.{module.name}")
if os.getuid() == 0:
    os.setuid(65534)  # to root, everything is readable
sys.exit(main(["train", "--data", sys.argv[1], "--model", "/nonexistent/model"]))
"""


@posix
def test_27_no_permission(tmp_path):
    count("bad inputs tried")
    path = put(tmp_path / "r.csv", HEADER + ROWS)
    path.chmod(0)
    for parent in tmp_path.parents[:2]:  # made for this user alone; what is asked is about the file
        parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", NO_PERMISSION, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("cannot be read: Permission denied\n")
    assert len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------------------- 28-30: too little


@pytest.mark.parametrize(
    "rows", ["1,10\n", "1,10\n1,20\n", "1,10\n2,10\n"], ids=["one rating", "one user", "one item"]
)
def test_28_one_user_one_item_one_rating(rows, tmp_path, accepted, command, failing):
    accepted("user,item\n" + rows)
    status, out, _ = command("recommend", 1, "--model", tmp_path / "model", "--json")
    assert (status, json.loads(out)["recommendations"]) == (0, [])
    line = failing("evaluate", "--data", tmp_path / "r.csv", "--split", "last-out", *OPTIONS)
    assert re.match(r"too little data: none of \d users has three events", line)


def test_28_a_filter_that_removes_everything(tmp_path, failing):
    count("bad inputs tried", 2)
    path = put(tmp_path / "r.csv", HEADER + ROWS)
    words = ("train", "--data", path, "--model", tmp_path / "model", *OPTIONS)
    assert "too little data" in failing(*words, "--min-count", 9)
    assert "0 of 2 items after min_count=9" in failing(*words, "--min-count", 9)
    line = failing(*words, "--min-rating", 9)
    assert line == "too little data: 0 of 3 ratings are left after min_rating=9.0"
    assert not (tmp_path / "model").exists()


def test_29_a_history_longer_than_gensim_looks_at():
    count("bad inputs tried")
    n = MAX_SENTENCE + 500
    views = pd.DataFrame({"user_id": 1, "item_id": [1] * n + [2, 3] * 250})
    model = Recommender(vector_size=4, sample=0, epochs=3, index="exact").fit(views)
    for item_id in (1, 2, 3):  # output vectors start at zero
        assert np.abs(model.item_vector(item_id, "output")).sum() > 0


def test_30_an_item_too_rare_for_a_vector_in_a_history():
    count("bad inputs tried")
    views = pd.DataFrame({"user_id": [1, 1, 1, 2, 2], "item_id": [7, 8, 9, 7, 8]})
    model = Recommender(min_count=2, **QUICK).fit(views)
    assert model.items.tolist() == [7, 8]
    np.testing.assert_allclose(model.user_vector(1), model.user_vector(2), rtol=1e-6)
    views = pd.DataFrame({"user_id": 1, "item_id": [7, 8, 7, 8, 9]})
    report = evaluate(views, params=QUICK, split="last-out")
    assert report["protocols"]["last-out"]["n_targets_without_vector"] == 1


# ---------------------------------------------------------------------------- 31-36: questions


@pytest.fixture(scope="module")
def answering(tmp_path_factory, sample, sample_items):
    """A model of the sample and its folder."""
    model = Recommender(**QUICK).fit(sample, sample_items)
    folder = tmp_path_factory.mktemp("answering") / "model"
    model.save(folder)
    return model, folder


@pytest.mark.parametrize("user", ["nobody", "-1", "1.5", "", "999999999999999999999999"])
def test_31_an_unknown_user(user, answering, failing):
    count("bad inputs tried")
    model, folder = answering
    with pytest.raises(UnknownUserError) as error:
        model.recommend(user)
    assert isinstance(error.value, KeyError)
    line = failing("recommend", "--model", folder, "--", user)
    assert "unknown user" in line
    assert "--fallback popularity" in line


def test_32_a_user_none_of_whose_items_has_a_vector(tmp_path, command, failing):
    count("bad inputs tried")
    path = put(tmp_path / "r.csv", "user,item\n1,7\n2,7\n3,8\n")
    words = ("train", "--data", path, "--model", tmp_path / "model", *OPTIONS, "--min-count", 2)
    assert command(*words)[0] == 0
    with pytest.raises(ColdUserError):
        Recommender.load(tmp_path / "model").recommend(3)
    words = ("recommend", 3, "--model", tmp_path / "model")
    assert "none of the items of user 3 has a vector" in failing(*words)
    status, out, _ = command(*words, "--fallback", "popularity", "--json")
    assert [row["item_id"] for row in json.loads(out)["recommendations"]] == [7]
    assert status == 0


def test_33_an_unknown_item_and_the_closest_titles(answering, failing, sample_items):
    count("bad inputs tried", 2)
    model, folder = answering
    title = model.recommend_for([model.items[0]], k=1)[0].title
    wrong = title[:-1] + "~"
    with pytest.raises(UnknownItemError, match="close titles"):
        model.similar_items(wrong)
    assert repr(title) in failing("similar", wrong, "--model", folder)
    assert "neither an id nor a title" in failing("similar", "12345678", "--model", folder)


@pytest.mark.parametrize("k", [0, -3, 2.5, "7", None])
def test_34_a_k_that_is_none(k, answering, command, failing):
    count("bad inputs tried")
    model, folder = answering
    with pytest.raises(ValueError, match="k must be a whole number above 0, got"):
        model.recommend(model.users[0], k=k)
    words = ("recommend", model.users[0], "--model", folder, f"-k={k}")
    if isinstance(k, int):
        assert failing(*words).startswith("k must be a whole number above 0")
    elif not isinstance(k, str):
        with pytest.raises(SystemExit, match="2"):
            command(*words)


def test_35_a_k_above_what_is_left(answering, command):
    count("bad inputs tried")
    model, folder = answering
    user = model.users[0].item()
    status, out, _ = command("recommend", user, "--model", folder, "-k", 10**9, "--json")
    found = [row["item_id"] for row in json.loads(out)["recommendations"]]
    assert status == 0
    assert len(found) == len(set(found)) < len(model.items)
    allow = model.items[:5].tolist()
    few = model.recommend(user, k=50, allow=[*allow, *allow], watched=True)
    assert sorted(few.item_ids.tolist()) == allow


@pytest.mark.parametrize("value", ["0", "-1"])
@pytest.mark.parametrize("name", ["window", "vector_size", "epochs", "negative", "workers"])
def test_36_a_parameter_that_gensim_would_hang_on(name, value, tmp_path, failing):
    count("bad inputs tried")
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        Recommender(**{name: int(value)})
    path = put(tmp_path / "r.csv", HEADER + ROWS)
    line = failing("train", "--data", path, f"--{name.replace('_', '-')}={value}")
    assert line.startswith(f"{name} must be a whole number")


def test_36_a_parameter_that_does_not_exist(command):
    count("bad inputs tried")
    with pytest.raises(TypeError, match="windw"):
        Recommender(windw=3)
    with pytest.raises(SystemExit, match="2"):
        command("train", "--windw", "3")


# ---------------------------------------------------------------------------- 37-40: model folders


@pytest.fixture
def broken(answering, tmp_path, failing):
    """Damage a copy of the folder and return the line with which a command and Python refuse it."""
    model, folder = answering

    def check(damage):
        count("bad inputs tried")
        copy = Path(shutil.copytree(folder, tmp_path / "broken"))
        copy = damage(copy) or copy
        with pytest.raises(ModelError) as error:
            Recommender.load(copy)
        line = failing("recommend", model.users[0], "--model", copy)
        assert line == str(error.value)
        shutil.rmtree(tmp_path / "broken")
        return line

    return check


def test_37_a_model_folder_that_is_missing_half_written_truncated_or_has_a_flipped_byte(broken):
    assert "make one with `recsys train`" in broken(lambda folder: folder / "none")
    assert "no model in" in broken(lambda folder: (folder / "current").unlink())
    names = ["manifest.json", "vectors.npy", "contexts.npy", "item_ids.npy", "catalogue0.text.npy"]
    for name in names:
        assert f"{name}' cannot be read: No such file or directory: train again" in broken(
            lambda f, n=name: (run_of(f) / n).unlink()
        )
        assert f"{name}' is damaged" in broken(
            lambda f, n=name: os.truncate(run_of(f) / n, (run_of(f) / n).stat().st_size - 1)
        )

        def flip(folder, name=name):
            data = bytearray((run_of(folder) / name).read_bytes())
            data[len(data) // 2] ^= 1
            (run_of(folder) / name).write_bytes(data)

        assert f"{name}' is damaged" in broken(flip)


def test_38_a_model_folder_of_a_newer_format(broken):
    def newer(folder):
        stored = storage.load(folder)
        storage.save(folder, stored.columns, {**stored.manifest, "format": 9})

    assert "has format version 9 and this recsys reads 3" in broken(newer)


def test_39_a_file_of_a_model_folder_that_holds_a_pickle(broken, tmp_path):
    def pickled(folder):
        array = np.array([Touch(tmp_path / "executed")], dtype=object)
        with (run_of(folder) / "vectors.npy").open("wb") as file:
            np.save(file, array, allow_pickle=True)
        seal(folder)

    assert "vectors.npy' is not an array" in broken(pickled)
    assert not (tmp_path / "executed").exists()


def test_40_stored_vectors_that_are_none_or_of_another_dimension(answering, broken):
    model, _ = answering
    n = len(model.items)
    nan = np.full((n, 4), np.nan, np.float32)
    assert "vectors holds NaN or infinity" in broken(lambda f: with_column(f, "vectors", nan))
    assert "contexts has shape" in broken(
        lambda f: with_column(f, "contexts", np.ones((n, 5), np.float32))
    )


# ---------------------------------------------------------------------------- all of them


def test_every_row_of_the_list_has_a_test():
    text = Path(__file__).read_text(encoding="utf-8")
    here = {int(number) for number in re.findall(r"^def test_(\d\d)b?_", text, re.MULTILINE)}
    assert here | ELSEWHERE.keys() == set(range(1, 45))
    for place in ELSEWHERE.values():
        module, name = place.split(": ")
        source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        assert f"\ndef {name}(" in source, place

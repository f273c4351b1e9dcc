"""Every kind of bad input that we promise to deal with, where a model or the command line is asked.

The numbers are those of the list of bad inputs that the project started from. What a reader makes
of a file is in the table of test_reading.py. Nobody must be left with a traceback, half a model or
a wrong answer.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import re
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import (
    ColdUserError,
    DataError,
    Recommender,
    UnknownItemError,
    UnknownUserError,
    load_items,
    load_ratings,
)
from recsys.__main__ import VERBS, main
from recsys.commands import common
from recsys.evaluate import evaluate
from tests.counts import count
from tests.test_reading import HEADER, ROWS, TABLE, put, write_layout, zipped

QUICK = {"epochs": 1, "vector_size": 4, "index": "exact"}
OPTIONS = ["--epochs", "1", "--vector-size", "4", "--index", "exact"]
# What is tested with the machinery for it: a phrase of that test.
ELSEWHERE = {
    29: "MAX_SENTENCE + 500",
    37: "is damaged",
    38: "def test_38_a_model_of_another_format_is_refused_naming_both_versions",
    39: "Unpickled, it makes a file",
    40: "holds NaN or infinity",
    41: "def test_killed_at_any_moment_of_train_the_model_is_the_old_or_the_new_one",
    42: "def test_readers_never_notice_that_the_model_is_replaced",
    43: "def test_ctrl_c_while_training_is_exit_130_and_leaves_nothing",
    44: "def test_a_zip_that_is_unsafe_or_none_is_refused",
}


@pytest.fixture
def command(capsys):
    """Run a command in this process with `--json`; return (status, stdout, lines of stderr)."""

    def run(verb, *words):
        count("bad inputs tried")
        capsys.readouterr()
        status = main([verb, "--json", *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


@pytest.fixture
def failing(command):
    """Run a command that must fail with exit 1, one line and nothing on stdout; return the line."""

    def run(*words):
        status, out, err = command(*words)
        count("silent wrong answers", status == 0)
        assert (status, out, len(err)) == (1, "", 1), err
        return err[0].removeprefix("recsys: ")

    return run


@pytest.fixture
def listed(command):
    """Ask a command for a list and return its rows."""

    def run(*words, column="item_id"):
        status, out, _ = command(*words)
        assert status == 0
        return [row[column] for row in json.loads(out)["recommendations"]]

    return run


@pytest.fixture
def trained(tmp_path, command):
    """Train on a source by the command; look that no id is lost, and return the model's folder."""

    def check(source):
        source = source if isinstance(source, Path) else put(tmp_path / "r.csv", source)
        ratings, folder = load_ratings(source), tmp_path / "model"
        status, _, err = command("train", "--data", source, "--model", folder, *OPTIONS)
        assert status == 0, err
        model = Recommender.load(folder)
        assert model.users.tolist() == sorted(set(ratings["user_id"].tolist()))
        assert model.items.tolist() == sorted(set(ratings["item_id"].tolist()))
        return folder

    return check


@pytest.mark.parametrize("ids", [
    *([text, "other"] for text in ("a b", 'quo"te', "com,ma", "na\u00efve", "\u65e5\u672c",
                                   "x" * 10_000, "-lead", "l\nf", "NA")),
    [2**31, 2**40], [2**63 + 1, 2**64 - 1], [-7, 5], [-(2**63), 0], [2**53, 2**53 + 1],
], ids=lambda ids: repr(ids[0])[:9])  # fmt: skip
def test_11_12_13_ids_of_any_kind_come_back_in_answers(ids, tmp_path, trained, listed):
    pd.DataFrame({"user": ids, "item": ids[::-1]}).to_csv(tmp_path / "t.csv", index=False)
    folder = trained(tmp_path / "t.csv")
    assert listed("recommend", "--model", folder, "--", ids[0]) == [ids[0]]


def test_16_the_same_user_and_item_at_two_times(trained):
    folder = trained(HEADER + "1,10,4,100\n1,10,4,200\n1,20,4,300\n2,20,4,100\n")
    assert [row.score for row in Recommender.load(folder).popular()] == [2, 2]
    ratings = load_ratings(folder.with_name("r.csv"))
    split = evaluate(ratings, params=QUICK, split="last-out")["split"]
    assert (split["n_train"], split["n_validation"]) == (1, 1)


def test_17_18_rows_in_any_order_and_equal_times(tmp_path, trained, sample):
    tied = sample.assign(timestamp=sample["timestamp"].astype("int64") // 10**6 * 10**6)
    models = []
    for rows in (tied, tied.sample(frac=1, random_state=1)):
        rows.to_csv(tmp_path / "r.csv", index=False)
        files = [path for path in trained(tmp_path / "r.csv").rglob("*") if path.is_file()]
        models.append({path.name: path.read_bytes() for path in files})
    count("silent wrong answers", models[0] != models[1])
    assert models[0] == models[1]


def test_20_no_times_where_a_split_by_time_is_asked_for(tmp_path, failing, command):
    path = put(tmp_path / "r.csv", "user,item\n" + "".join(f"{i % 3},{i}\n" for i in range(12)))
    assert "--split last-out" in failing("evaluate", "--data", path, *OPTIONS)
    with pytest.raises(DataError, match="--split last-out"):
        evaluate(load_ratings(path), params=QUICK)
    status, out, _ = command("evaluate", "--data", path, "--split", "last-out", *OPTIONS)
    assert status == 0
    assert json.loads(out)["protocols"]["last-out"]["n_users"] == 3


@pytest.mark.parametrize("layout", ["ml-100k", "ml-1m"])
def test_23_latin_1_titles_of_the_old_layouts(layout, tmp_path, trained, listed):
    write_layout(tmp_path / "old", layout)
    words = ("similar", "L\u00e9on", "--model", trained(tmp_path / "old"))
    assert listed(*words, column="title") == ["Usual Suspects, The"]


@pytest.mark.parametrize("rows", ["1,10\n", "1,10\n1,20\n", "1,10\n2,10\n"])
def test_28_one_user_one_item_one_rating(rows, tmp_path, trained, listed, failing):
    assert listed("recommend", 1, "--model", trained("user,item\n" + rows)) == []
    line = failing("evaluate", "--data", tmp_path / "r.csv", "--split", "last-out", *OPTIONS)
    assert re.match(r"too little data: none of \d users has three events", line)


def test_28_a_filter_that_removes_everything(tmp_path, failing):
    path = put(tmp_path / "r.csv", HEADER + ROWS)
    words = ("train", "--data", path, "--model", tmp_path / "model", *OPTIONS)
    line = failing(*words, "--min-count", 9)
    assert re.match("too little data.*0 of 2 items after min_count=9", line)
    line = failing(*words, "--min-rating", 9)
    assert line == "too little data: 0 of 3 ratings are left after min_rating=9"
    assert not (tmp_path / "model").exists()


def test_30_an_item_too_rare_for_a_vector_in_a_history():
    views = pd.DataFrame({"user_id": [1, 1, 1, 2, 2], "item_id": [7, 8, 9, 7, 8]})
    model = Recommender(min_count=2, **QUICK).fit(views)
    assert model.items.tolist() == [7, 8]
    np.testing.assert_allclose(model.user_vector(1), model.user_vector(2), rtol=1e-6)
    views = pd.DataFrame({"user_id": 1, "item_id": [7, 8, 7, 8, 9]})
    report = evaluate(views, params=QUICK, split="last-out")
    assert report["protocols"]["last-out"]["n_targets_without_vector"] == 1


@pytest.fixture(scope="module")
def answering(tmp_path_factory, model):
    """A model of the sample and its folder."""
    folder = tmp_path_factory.mktemp("answering") / "model"
    model.save(folder)
    return model, folder


@pytest.mark.parametrize("user", ["nobody", "-1", "1.5", "", "999999999999999999999999"])
def test_31_an_unknown_user(user, answering, failing):
    model, folder = answering
    with pytest.raises(UnknownUserError):
        model.recommend(user)
    assert issubclass(UnknownUserError, KeyError)
    line = failing("recommend", "--model", folder, "--", user)
    assert re.search("unknown user.*--fallback popularity", line)


def test_32_a_user_none_of_whose_items_has_a_vector(tmp_path, command, failing, listed):
    path = put(tmp_path / "r.csv", "user,item\n1,7\n2,7\n3,8\n")
    words = ("train", "--data", path, "--model", tmp_path / "model", *OPTIONS, "--min-count", 2)
    assert command(*words)[0] == 0
    with pytest.raises(ColdUserError):
        Recommender.load(tmp_path / "model").recommend(3)
    words = ("recommend", 3, "--model", tmp_path / "model")
    assert "none of the items of user 3 has a vector" in failing(*words)
    assert listed(*words, "--fallback", "popularity") == [7]


def test_33_an_unknown_item_and_the_closest_titles(answering, failing):
    model, folder = answering
    title = model.recommend_for([model.items[0]], k=1)[0].title
    wrong = title + "~"
    with pytest.raises(UnknownItemError, match="close titles"):
        model.similar_items(wrong)
    assert repr(title) in failing("similar", wrong, "--model", folder)
    assert "neither an id nor a title" in failing("similar", "12345678", "--model", folder)


@pytest.mark.parametrize("k", [0, -3, 2.5, "7", None])
def test_34_a_k_that_is_not_a_whole_number_above_0(k, answering, command, failing):
    model, folder = answering
    with pytest.raises(ValueError, match="k must be a whole number above 0, got"):
        model.recommend(model.users[0], k=k)
    words = ("recommend", model.users[0], "--model", folder, f"-k={k}")
    if isinstance(k, int):
        assert failing(*words).startswith("k must be a whole number above 0")
    elif not isinstance(k, str):
        with pytest.raises(SystemExit, match="2"):
            command(*words)


def test_35_a_k_above_what_is_left(answering, listed):
    model, folder = answering
    user = model.users[0].item()
    found = listed("recommend", user, "--model", folder, "-k", 10**9)
    assert len(found) == len(set(found)) < len(model.items)
    allow = model.items[:5].tolist()
    few = model.recommend(user, k=50, allow=[*allow, *allow], watched=True)
    assert sorted(few.item_ids.tolist()) == allow


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["window", "vector_size", "epochs", "negative", "workers"])
def test_36_a_parameter_that_gensim_would_hang_on(name, value, tmp_path, failing):
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        Recommender(**{name: value})
    path = put(tmp_path / "r.csv", HEADER + ROWS)
    line = failing("train", "--data", path, f"--{name.replace('_', '-')}={value}")
    assert line.startswith(f"{name} must be a whole number")


def test_36_a_parameter_that_does_not_exist(command):
    with pytest.raises(TypeError, match="windw"):
        Recommender(windw=3)
    with pytest.raises(SystemExit, match="2"):
        command("train", "--windw", "3")


# ---- the second round: each of these once went wrong without a word, crashed or hung


@pytest.mark.parametrize("place", ["--data", "--items", "--params", "--from-file"])
@pytest.mark.parametrize(
    "kind", ["pipe", "/dev/zero", "/dev/urandom", "/dev/stdin", "pipes in a folder"]
)
def test_what_is_no_regular_file_is_refused_at_once(place, kind, tmp_path, failing):
    source = Path(kind) if kind.startswith("/") else tmp_path / "r.csv"
    if kind == "pipe":
        os.mkfifo(source)
    elif kind == "pipes in a folder":
        source.mkdir()
        for name in ("ratings.csv", "items.csv", "x.zip", "y.parquet", ".hidden"):
            os.mkfifo(source / name)
    data = put(tmp_path / "good.csv", HEADER + ROWS)
    options = [] if place == "--data" else ["--data", data]
    words = ("download", "ml-100k") if place == "--from-file" else ("train", *options)
    assert re.search("regular|no such file|found in|not a file", failing(*words, place, source))


@pytest.mark.parametrize(
    "typed", ["1_0", "+10", "010", "\u0661\u0660", "10.0", " 10", "1e1", "0xa"]
)
def test_another_way_to_write_a_number_names_no_user_and_no_item(typed, tmp_path, trained, failing):
    folder = trained(HEADER + "10,10,4,881250949\n20,10,3,881250950\n")
    assert "unknown user" in failing("recommend", "--model", folder, "--", typed)
    assert "neither an id nor a title" in failing("similar", "--model", folder, "--", typed)


ODD = "a\x1b[2J\x07\u202eb\x9b\u2028c"
SEEN = r"a\x1b[2J\x07\u202eb\x9b\u2028c"


def test_what_a_terminal_would_obey_is_escaped_wherever_it_is_printed(tmp_path, capfd, caplog):
    def run(*words):
        status = main([*map(str, words)])
        printed = "".join(capfd.readouterr()) + "\n".join(caplog.messages)
        caplog.clear()
        assert status in (0, 1)
        return printed

    def clean(text):
        assert not [c for c in text if not c.isprintable() and c != "\n"], text
        return text.count(SEEN)

    (tmp_path / ODD).mkdir()
    data, folder = tmp_path / ODD / "r.csv", tmp_path / ODD / "model"
    rows = "".join(f"{ODD}{n % 3},{ODD}{n}\n" for n in range(9))
    put(data, "user,item\n" + rows)
    items = put(tmp_path / ODD / "i.csv", f"item,title\n{ODD}0,{ODD}\n{ODD}1,x\n")
    words = ("train", "--data", data, "--model", folder, *OPTIONS)
    assert clean(run(*words, "--items", items)) >= 2
    assert clean(run("recommend", "--model", folder, f"{ODD}1")) >= 1
    assert clean(run("recommend", "--model", folder, f"{ODD}1", "--json")) == 0
    assert clean(run("recommend", "--model", folder, ODD)) >= 1
    assert clean(run("similar", "--model", folder, f"{ODD}99")) >= 1
    assert clean(run("recommend", "--model", f"{folder}x", "1")) >= 1
    line = logging.makeLogRecord({"msg": ODD})
    assert common._OneLine("%(message)s").format(line) == SEEN
    archive = zipped({f"{ODD}1.csv": "a", f"{ODD}2.csv": "b"}, tmp_path / "x.zip")
    assert clean(run("train", "--data", archive)) == 2
    put(data, f"{ODD},item\n1,2\n")
    for options in ((), ("--only", f"{ODD}x=1"), ("--user-col", f"{ODD}x"), ("--data", ODD)):
        assert clean(run(*words, *options)) >= 1
    assert clean(run("download", ODD)) == 1


def test_every_option_that_a_message_names_exists(capsys):
    options = set()
    for verb in VERBS:
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        options |= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    source = (Path(recsys.__file__).parent / "spark" / "__main__.py").read_text(encoding="utf-8")
    options |= set(re.findall(r'"(--[a-z][a-z-]*)"', source))  # its own parser needs the extra
    parameters = {*signature(load_ratings).parameters, *signature(load_items).parameters}
    named = set()
    for path in Path(recsys.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if not node.value.startswith("--"):  # there it is made, or one of pip's
                    named |= set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", node.value))
                assert {*re.findall(r"\b(\w+)= ?\(--", node.value)} <= parameters, path
    assert named
    assert named <= options, named - options


def test_every_row_of_the_list_has_a_test():
    sources = {p.stem: p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("*.py")}
    names = [row.id for row in TABLE]
    for module in ("test_bad_inputs", "test_reading"):
        names += re.findall(r"^def test_(\d\d_.*)\(", sources[module], re.MULTILINE)
    starts = [re.match(r"(?:\d\d[b_ ]+)+", name)[0] for name in names]
    here = {int(number) for start in starts for number in re.findall(r"\d\d", start)}
    assert here | ELSEWHERE.keys() == set(range(1, 45))
    others = "".join(text for name, text in sources.items() if name != "test_bad_inputs")
    for phrase in ELSEWHERE.values():
        assert phrase in others

"""What must hold for any input, tried with many: by hypothesis, and by mutating real files.

The fuzzer of the readers runs for RECSYS_FUZZ_SECONDS (20 in the slow test unless set).
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys import DataError, DownloadError, Recommender, load_items, load_ratings, split_by_time
from recsys.data.datasets import DataSet, check_zip
from recsys.data.sequences import build_sequences, sort_events
from recsys.data.splits import last_out, time_cases
from recsys.evaluation import metrics
from tests.counts import count
from tests.test_splits import as_dict, frame
from tests.test_storage import ROOT, posix

FINDS = Path(__file__).with_name("finds")
QUICK = {"epochs": 1, "vector_size": 4}


def fuzz(examples: int):
    """Run a property on so many examples; on ten times as many where RECSYS_FUZZ_SECONDS is set."""
    return settings(
        max_examples=examples * (10 if os.environ.get("RECSYS_FUZZ_SECONDS") else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


# ---------------------------------------------------------------------------- loading

plain = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\",;|\t:"),
    min_size=1, max_size=6,
).filter(lambda text: not text.replace(".", "").replace("-", "").isdecimal())  # fmt: skip
rows = st.lists(
    st.tuples(plain, plain, st.integers(0, 20), st.integers(1, 10**9)), min_size=1, max_size=12
)


@given(
    rows=rows,
    delimiter=st.sampled_from([",", "\t", ";", "|", "::"]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    trailing=st.booleans(),
    blank=st.booleans(),
    last=st.booleans(),
    packed=st.booleans(),
    order=st.permutations(["user_id", "item_id", "rating", "timestamp"]),
)
@fuzz(50)
def test_a_table_comes_back_however_it_is_written(
    rows, delimiter, end, mark, trailing, blank, last, packed, order, tmp_path
):
    count("fuzz cases run")
    names = ["user_id", "item_id", "rating", "timestamp"]
    table = pd.DataFrame(rows, columns=names)
    lines = [order, *table[order].astype(str).to_numpy().tolist()]
    text = end.join(delimiter.join([*line, *[""] * trailing]) for line in lines) + end * last
    text = mark + (text.replace(end, end + end, 2) if blank else text)
    path = tmp_path / ("r.csv.gz" if packed else "r.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    once = table.drop_duplicates()
    found = load_ratings(path)
    right = (
        found["user_id"].tolist() == once["user_id"].tolist()
        and found["item_id"].tolist() == once["item_id"].tolist()
        and found["rating"].tolist() == once["rating"].tolist()
        and found["timestamp"].astype("int64").tolist() == once["timestamp"].tolist()
    )
    count("silent wrong answers", not right)
    assert right


# ---------------------------------------------------------------------------- splits, sequences

events = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(1, 5), st.integers(1, 40)),
    min_size=2, max_size=60,
)  # fmt: skip
once_each = events.map(lambda rows: list({row[:2]: row for row in rows}.values()))


@given(once_each, st.sampled_from([0.1, 0.2, 0.5, 0.8]), st.sampled_from([None, 3]))
@fuzz(40)
def test_no_protocol_shows_a_user_his_own_future(rows, fraction, min_rating):
    count("fuzz cases run")
    ratings = frame([*rows, (9, 9, 5, 41)])
    try:
        split = split_by_time(ratings, validation_fraction=fraction)
    except DataError:
        return
    assert split.train["timestamp"].max() < split.cutoff <= split.validation["timestamp"].min()
    assert len(split.train) + len(split.validation) == len(ratings)
    when = {row[:2]: frame([row])["timestamp"][0] for row in rows}
    protocols = time_cases(ratings, split.cutoff, min_rating=min_rating)
    for name, cases in protocols.items():
        for user, (history, watched, targets) in as_dict(cases).items():
            assert set(history) <= set(watched)
            assert not set(watched) & set(targets)
            known = [when[user, item] for item in watched]
            asked = [when[user, item] for item in targets]
            assert max(known, default=asked[0]) <= min(asked)
            assert min(asked) >= split.cutoff
            if name == "warm":
                assert max(known) < split.cutoff


@given(once_each)
@fuzz(40)
def test_last_out_asks_for_what_came_last(rows):
    count("fuzz cases run")
    ratings = frame(rows)
    try:
        train, cases = last_out(ratings)
    except DataError:
        return
    when = {row[:2]: row[3] for row in rows}
    for user, (history, _, targets) in as_dict(cases).items():
        (target,) = targets
        assert when[user, target] == max(time for (u, _), time in when.items() if u == user)
        assert target not in history
    left = {user: sum(u == user for u, _ in when) for user, _ in when}
    assert len(train) == sum(max(0, n - 2) for n in left.values())


@given(events, st.randoms(use_true_random=False))
@fuzz(40)
def test_sequences_do_not_depend_on_the_order_of_rows(rows, random):
    count("fuzz cases run")
    ratings = frame(list(dict.fromkeys(rows)))
    shuffled = ratings.sample(frac=1, random_state=random.randrange(2**32), ignore_index=True)
    one, other = build_sequences(ratings), build_sequences(shuffled)
    assert one.codes.tolist() == other.codes.tolist()
    assert one.offsets.tolist() == other.offsets.tolist()
    ordered = sort_events(shuffled)
    assert ordered["item_id"].tolist() == one.item_ids[one.codes].tolist()
    assert (ordered.groupby("user_id")["timestamp"].diff().dropna() >= pd.Timedelta(0)).all()
    assert sorted(one.item_ids[one.codes].tolist()) == sorted(ratings["item_id"].tolist())


# ---------------------------------------------------------------------------- metrics


@given(
    st.lists(
        st.tuples(
            st.permutations(range(9)),
            st.integers(0, 9),
            st.sets(st.integers(0, 12), min_size=1),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 12),
)
@fuzz(30)
def test_metrics_are_those_of_ir_measures(users, k):
    ir = pytest.importorskip("ir_measures")
    count("fuzz cases run")
    hits = np.zeros((len(users), 9), bool)
    relevant, run = [], []
    for u, (ranked, length, targets) in enumerate(users):
        hits[u, :length] = np.isin(ranked[:length], list(targets))
        relevant += [ir.Qrel(f"{u}", str(item), 1) for item in targets]
        run += [ir.ScoredDoc(f"{u}", str(i), float(-n)) for n, i in enumerate(ranked[:length])]
    n_targets = np.array([len(targets) for *_, targets in users])
    ours = {
        ir.RR: metrics.mrr(hits),
        ir.R @ k: metrics.recall(hits, n_targets, k),
        ir.Success @ k: metrics.hit_rate(hits, k),
        ir.nDCG @ k: metrics.ndcg(hits, n_targets, k),
    }
    served = {str(u) for u, (_, length, _) in enumerate(users) if length}
    for one in ir.iter_calc(list(ours), relevant, run) if run else ():
        assert ours[one.measure][int(one.query_id)] == pytest.approx(one.value, abs=1e-12)
        served.discard(one.query_id)
    assert not served


# ---------------------------------------------------------------------------- models

some_ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=12, unique=True),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(str.strip),
        min_size=2, max_size=12, unique=True,
    ),
)  # fmt: skip


@given(users=some_ids, items=some_ids, data=st.data())
@fuzz(15)
def test_filters_and_saving_leave_what_brute_force_finds(users, items, data, tmp_path):
    """Whatever is watched, blocked and allowed; before and after saving; with both indexes."""
    count("fuzz cases run")
    pairs = st.tuples(st.sampled_from(users), st.sampled_from(items))
    views = pd.DataFrame(
        data.draw(st.lists(pairs, min_size=3, max_size=40)), columns=["user_id", "item_id"]
    )
    index = data.draw(st.sampled_from(["annoy", "exact"]))
    model = Recommender(**QUICK, index=index).fit(views)
    model.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.users.tolist() == sorted(set(views["user_id"].tolist()))
    assert loaded.items.tolist() == sorted(set(views["item_id"].tolist()))
    vocabulary = model.items.tolist()
    user = data.draw(st.sampled_from(loaded.users.tolist()))
    some = st.none() | st.lists(st.sampled_from([*vocabulary, "no id", -1, None]), max_size=8)
    block, allow, k = data.draw(some), data.draw(some), data.draw(st.integers(1, 15))
    watched = data.draw(st.booleans())
    seen = set(views.loc[views["user_id"] == user, "item_id"].tolist())
    left = [item for item in vocabulary
            if (watched or item not in seen) and item not in (block or ())
            and (allow is None or item in allow)]  # fmt: skip
    score = {row.item_id: row.score for row in model.recommend(user, 10**6, watched=True)}
    assert sorted(score) == vocabulary
    best = sorted((score[item] for item in left), reverse=True)[:k]
    for each in (model, loaded):
        found = each.recommend(user, k, watched=watched, block=block, allow=allow)
        listed = found.item_ids.tolist()
        right = (
            len(listed) == len(set(listed)) == min(k, len(left))
            and set(listed) <= set(left)
            and np.allclose(found.scores, best, rtol=1e-5, atol=1e-7)
        )
        count("silent wrong answers", not right)
        assert right, (listed, left)
    assert list(loaded.recommend(user, k)) == list(model.recommend(user, k))


# ---------------------------------------------------------------------------- mutated files


@posix
@pytest.mark.parametrize(
    ("seconds", "seed"), [(2, 0), pytest.param(None, 1, marks=pytest.mark.slow)]
)
def test_no_mutated_file_makes_a_reader_crash_hang_or_answer_wrongly(seconds, seed, tmp_path):
    seconds = seconds or float(os.environ.get("RECSYS_FUZZ_SECONDS", "20"))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-m", "tests.fuzz_readers",
         "--seconds", str(seconds), "--seed", str(seed), "--folder", tmp_path / "fuzz"],
        cwd=ROOT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    count("crashes", done.returncode != 0)
    assert done.returncode == 0, f"case: {tmp_path / 'fuzz' / 'case'}\n{done.stderr[-3000:]}"
    *finds, total = map(json.loads, done.stdout.splitlines())
    count("fuzz cases run", total["cases"])
    count("silent wrong answers", sum(find["error"] == "WrongError" for find in finds))
    assert finds == []
    assert total["cases"] > 20


# What each file in tests/finds must be answered with; None: it can be read after all.
MENDED = {
    "line_ends_in_a_time_in_quotes.csv": "timestamp '997-12-03T15:55:49Z\\na3;b;1997-12-04T15",
    "zip_that_points_before_its_beginning.zip": "is corrupt or cut short, get it again",
    "zip_with_another_name_in_its_header.zip": "is corrupt or cut short, get it again: File name",
    "zip_with_a_name_that_is_not_utf8.zip": "is corrupt or cut short, get it again: 'utf-8' codec",
    "parquet_with_a_column_name_that_is_not_utf8.parquet": "is corrupt or cut short, get it again",
    "header_with_a_lone_carriage_return.item": "cannot be split into rows; does a line end in",
    "parquet_with_damaged_notes_of_pandas.parquet": None,
    "parquet_with_damaged_values.parquet": None,
    "half_a_header_movies.csv": "no items in",
    "too_few_fields_and_not_utf8.csv": "line 3: 2 fields where there should be 4",
}


@pytest.mark.parametrize("name", sorted(path.name for path in FINDS.iterdir()))
def test_what_fuzzing_has_found_stays_mended(name, tmp_path, capfd):
    count("fuzz cases run")
    load = load_items if name.endswith((".item", "movies.csv")) else load_ratings
    path = tmp_path / ("movies.csv" if "movies" in name else name)
    path.write_bytes((FINDS / name).read_bytes())
    try:
        found = f"{len(load(path))} rows"
    except DataError as error:
        found = str(error)
    assert (MENDED[name] or "rows") in found
    assert "\n" not in found
    assert capfd.readouterr().err == ""


def test_a_zip_that_points_before_its_beginning_is_no_data_set(tmp_path):
    count("fuzz cases run")
    path = FINDS / "zip_that_points_before_its_beginning.zip"
    with pytest.raises(DownloadError, match="not an intact zip"):
        check_zip(DataSet("x", None, None, ""), path)

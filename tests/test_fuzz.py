"""What must hold for any input, tried with many: by hypothesis, and by mutating real files.

The fuzzer of the readers runs for RECSYS_FUZZ_SECONDS (20 in the slow test unless set).
"""

from __future__ import annotations

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

from recsys import DataError, Recommender, load_items, load_ratings
from tests.counts import count

FINDS = Path(__file__).with_name("finds")
LONG = bool(os.environ.get("RECSYS_FUZZ_SECONDS"))
QUICK = {"epochs": 1, "vector_size": 4}

some_ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=12, unique=True),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(str.strip),
        min_size=2, max_size=12, unique=True,
    ),
)  # fmt: skip


@given(users=some_ids, items=some_ids, data=st.data())
@settings(
    max_examples=150 if LONG else 15, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
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


@pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX")
@pytest.mark.parametrize(
    ("seconds", "seed"), [(2, 0), pytest.param(None, 1, marks=pytest.mark.slow)]
)
def test_no_mutated_file_makes_a_reader_crash_hang_or_answer_wrongly(seconds, seed, tmp_path):
    seconds = seconds or float(os.environ.get("RECSYS_FUZZ_SECONDS", "20"))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-m", "tests.fuzz_readers",
         "--seconds", str(seconds), "--seed", str(seed), "--folder", tmp_path / "fuzz"],
        cwd=Path(__file__).parents[1], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
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

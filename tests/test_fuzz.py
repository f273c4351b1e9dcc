"""Readers are fed with mutated files, for RECSYS_FUZZ_SECONDS (20 in the slow test if unset)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys import DataError, load_items, load_ratings
from tests.counts import count

FINDS = Path(__file__).with_name("finds")
# What each file in tests/finds must be answered with; None: it can be read after all.
MENDED = {
    "line_ends_in_a_time_in_quotes.csv": "line 4: a quote in this row is never closed",
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


@pytest.mark.skipif(os.name != "posix", reason="needs limits of POSIX")
@pytest.mark.parametrize(
    ("seconds", "seed"), [("2", "0"), pytest.param(None, "1", marks=pytest.mark.slow)]
)
def test_no_mutated_file_makes_a_reader_crash_hang_or_answer_wrongly(seconds, seed, tmp_path):
    seconds = seconds or os.environ.get("RECSYS_FUZZ_SECONDS", "20")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-m", "tests.fuzz_readers",
         "--seconds", seconds, "--seed", seed, "--folder", tmp_path],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    count("crashes", done.returncode not in (0, 1))
    count("silent wrong answers", "AssertionError" in done.stderr)
    assert done.returncode == 0, f"case: {[*tmp_path.iterdir()]}\n{done.stderr[-3000:]}"
    count("fuzz cases run", int(done.stdout))
    assert int(done.stdout) > 0


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

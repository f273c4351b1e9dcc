from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from recsys.data import sample
from recsys.data.sample import SAMPLE_RATINGS, SAMPLE_SEED, generate, sample_folder, write
from recsys.errors import DataError

COMMITTED = Path(__file__).parents[1] / "data" / "sample"
Frames = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def frames() -> Frames:
    return generate(SAMPLE_RATINGS, seed=SAMPLE_SEED)


@pytest.fixture(scope="module")
def larger() -> Frames:
    return generate(200_000, seed=SAMPLE_SEED)


@pytest.fixture(scope="module")
def past_and_future(frames: Frames) -> Frames:
    ratings, _ = frames
    cutoff = ratings["timestamp"].quantile(0.8, interpolation="lower")
    return ratings[ratings["timestamp"] < cutoff], ratings[ratings["timestamp"] >= cutoff]


def test_columns_and_types_are_those_of_the_package(frames: Frames) -> None:
    ratings, items = frames
    assert ratings.dtypes.astype(str).to_dict() == {
        "user_id": "int64",
        "item_id": "int64",
        "rating": "float32",
        "timestamp": "datetime64[s, UTC]",
    }
    assert items.columns.to_list() == ["item_id", "title", "genres", "year"]
    assert items["year"].dtype == "int64"
    assert all(type(genres) is tuple and len(genres) in (1, 2) for genres in items["genres"])


def test_values_are_in_range(frames: Frames) -> None:
    ratings, items = frames
    assert set(ratings["rating"]) == {step / 2 for step in range(1, 11)}
    assert ratings["timestamp"].between("2015-03-01", "2016-01-01").all()
    assert items["year"].between(1930, 2015).all()
    assert items["title"].is_unique
    assert ratings["item_id"].isin(items["item_id"]).all()


@pytest.mark.parametrize(
    ("n_ratings", "n_users", "n_items"),
    [(1, 1, 101), (20, 1, 106), (1_000, 25, 177), (20_000, 500, 653), (200_000, 1625, 2628)],
)
def test_sizes_are_exact_and_follow_movielens(n_ratings: int, n_users: int, n_items: int) -> None:
    ratings, items = generate(n_ratings)
    assert (len(ratings), ratings["user_id"].nunique(), len(items)) == (n_ratings, n_users, n_items)
    assert not ratings.duplicated(["user_id", "item_id"]).any()


@given(
    n_users=st.integers(1, 12),
    n_items=st.integers(1, 12),
    fill=st.floats(0, 1),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_size_up_to_half_of_all_pairs_is_met(
    n_users: int, n_items: int, fill: float, seed: int
) -> None:
    most = n_users * ((n_items + 1) // 2)
    n_ratings = n_users + int(fill * (most - n_users))
    ratings, items = generate(n_ratings, n_users=n_users, n_items=n_items, seed=seed)
    assert (len(ratings), ratings["user_id"].nunique(), len(items)) == (n_ratings, n_users, n_items)
    assert items["item_id"].is_unique
    assert not ratings.duplicated(["user_id", "item_id"]).any()


@pytest.mark.parametrize(
    ("n_ratings", "options"),
    [
        (0, {}),
        (-5, {}),
        (10, {"n_users": 11}),
        (10, {"n_users": 0}),
        (10, {"n_items": 0}),
        (26, {"n_users": 5, "n_items": 10}),
    ],
)
def test_a_size_that_cannot_be_is_refused(n_ratings: int, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f'"n_ratings" is {n_ratings}, but'):
        generate(n_ratings, **options)


def test_same_seed_gives_the_same_frames_and_another_seed_others(frames: Frames) -> None:
    again = generate(SAMPLE_RATINGS, seed=SAMPLE_SEED)
    other = generate(SAMPLE_RATINGS, seed=SAMPLE_SEED + 1)
    for table, same, different in zip(frames, again, other, strict=True):
        assert_frame_equal(table, same)
        assert not table.equals(different)


def test_rows_come_by_user_and_item_and_not_by_time(larger: Frames) -> None:
    ratings, items = larger
    assert ratings.index.equals(pd.RangeIndex(len(ratings)))
    assert_frame_equal(ratings, ratings.sort_values(["user_id", "item_id"]))
    assert items["item_id"].is_monotonic_increasing
    steps = np.diff(ratings["timestamp"].astype("int64"))
    assert 0.3 < (steps[np.diff(ratings["user_id"]) == 0] < 0).mean() < 0.7


def test_ids_have_gaps_and_no_meaning(larger: Frames) -> None:
    ratings, items = larger
    first = ratings.groupby("user_id")["timestamp"].min().astype("int64")
    counts = ratings.groupby("item_id").size()
    for ids, meaning in [(first.index, first), (counts.index, counts), (items.item_id, items.year)]:
        assert 1.5 < ids.max() / len(ids) < 2.5
        assert abs(np.corrcoef(ids, meaning)[0, 1]) < 0.08


def test_most_ratings_share_their_timestamp_with_another_of_the_same_user(
    frames: Frames, larger: Frames
) -> None:
    for ratings, _ in (frames, larger):
        tied = ratings.duplicated(["user_id", "timestamp"], keep=False)
        assert 0.7 < tied.mean() < 0.85


def test_most_users_enter_all_within_an_hour_and_some_come_back_for_months(frames: Frames) -> None:
    times = frames[0].groupby("user_id")["timestamp"]
    span = times.max() - times.min()
    assert (span < pd.Timedelta("1h")).mean() > 0.5
    assert 0.25 < (span > pd.Timedelta("30D")).mean() < 0.45


def test_activity_and_popularity_have_heavy_tails(frames: Frames) -> None:
    ratings, items = frames
    per_user = ratings["user_id"].value_counts()
    per_item = ratings["item_id"].value_counts()
    assert per_user.min() >= 20
    assert per_user.max() > 5 * per_user.median()
    assert per_item.iloc[: len(items) // 10].sum() > 0.35 * len(ratings)


def test_a_cut_by_time_leaves_warm_users_new_users_and_new_items(past_and_future: Frames) -> None:
    past, future = past_and_future
    warm = set(past["user_id"]) & set(future["user_id"])
    assert len(warm) >= 100
    assert len(set(future["user_id"]) - warm) >= 50
    assert 0.01 < (~future["item_id"].isin(past["item_id"])).mean() < 0.2


@pytest.mark.parametrize("seed", [SAMPLE_SEED, 1, 2])
def test_recent_popularity_predicts_better_than_all_time_popularity(seed: int) -> None:
    ratings, _ = generate(SAMPLE_RATINGS, seed=seed)
    cutoff = ratings["timestamp"].quantile(0.8, interpolation="lower")
    past = ratings[ratings["timestamp"] < cutoff]
    recent = past[past["timestamp"] >= cutoff - pd.Timedelta("30D")]
    counts = ratings.loc[ratings["timestamp"] >= cutoff, "item_id"].value_counts()

    def share_of_top(table: pd.DataFrame) -> float:
        top = table["item_id"].value_counts().index[:50]
        return float(counts.reindex(top).sum() / counts.sum())

    assert share_of_top(recent) > 1.1 * share_of_top(past)


def test_no_item_is_rated_before_its_year(larger: Frames) -> None:
    ratings, items = larger
    year = ratings["item_id"].map(items.set_index("item_id")["year"])
    assert (ratings["timestamp"].dt.year >= year).all()


def test_a_late_release_gets_no_rating_in_the_first_days(frames: Frames) -> None:
    ratings, items = frames
    first = ratings.groupby("item_id")["timestamp"].min()
    new = items.loc[items["year"] == 2015, "item_id"]
    late = first.reindex(new).dropna() > pd.Timestamp("2015-04-15", tz="UTC")
    assert late.mean() > 0.5
    assert (first.drop(new, errors="ignore") < pd.Timestamp("2015-05-01", tz="UTC")).mean() > 0.5


def test_users_keep_to_the_genres_of_their_taste(frames: Frames) -> None:
    ratings, items = frames
    main = items["genres"].str[0].set_axis(items["item_id"])
    genre = ratings["item_id"].map(main).set_axis(ratings.index)
    by_time = ratings.assign(genre=genre).sort_values(["user_id", "timestamp"], kind="stable")
    place = by_time.groupby("user_id").cumcount()
    half = by_time.groupby("user_id")["item_id"].transform("size") / 2
    # A favourite found in the one half of a user's ratings must show in the other half.
    early = by_time[place < half].groupby("user_id")["genre"].agg(lambda g: g.mode().iloc[0])
    late = by_time[place >= half]
    held = (late["genre"] == late["user_id"].map(early)).mean()
    overall = genre.value_counts(normalize=True)
    by_chance = early.map(overall).mean()
    assert held > by_chance + 0.1


def test_items_of_one_series_are_watched_together_and_in_order(larger: Frames) -> None:
    ratings, items = larger
    title = ratings["item_id"].map(items.set_index("item_id")["title"]).str.rsplit(" ", n=1)
    ratings = ratings.assign(series=title.str[0], part=title.str[1].astype("int64"))
    ratings = ratings.sort_values(["user_id", "timestamp"], kind="stable", ignore_index=True)
    following = ratings.shift(-1)
    steps = (following["user_id"] == ratings["user_id"]) & (
        following["timestamp"] > ratings["timestamp"]  # ties have no order
    )
    together = steps & (following["series"] == ratings["series"])
    by_chance = (ratings["series"].value_counts(normalize=True) ** 2).sum()
    assert together.sum() / steps.sum() > 10 * by_chance
    ahead = (following["part"] - ratings["part"])[together]
    assert (ahead == 1).mean() > 2 * (ahead == -1).mean()


def test_parts_of_a_series_are_released_in_order_and_share_a_main_genre(larger: Frames) -> None:
    _, items = larger
    title = items["title"].str.rsplit(" ", n=1)
    table = items.assign(series=title.str[0], part=title.str[1].astype("int64"))
    table = table.assign(main=items["genres"].str[0]).sort_values(["series", "part"])
    series = table.groupby("series")
    assert series["year"].is_monotonic_increasing.all()
    assert series["main"].nunique().max() == 1
    assert (series["part"].max() == series.size()).all()
    assert series.size().max() == 6


def test_liked_genres_get_better_ratings(larger: Frames) -> None:
    ratings, items = larger
    genre = ratings["item_id"].map(items["genres"].str[0].set_axis(items["item_id"]))
    n_of_genre = ratings.groupby([ratings["user_id"], genre])["rating"].transform("size")
    n_of_user = ratings.groupby("user_id")["rating"].transform("size")
    often = n_of_genre > 0.3 * n_of_user
    assert ratings["rating"][often].mean() > ratings["rating"][~often].mean() + 0.2


def test_written_files_have_the_layout_of_movielens_and_come_back_equal(
    tmp_path: Path, frames: Frames
) -> None:
    ratings, items = frames
    write(tmp_path / "new" / "folder", ratings, items, seed=3)
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.txt",
        "movies.csv",
        "ratings.csv",
    ]
    assert not any(b"\r" in path.read_bytes() for path in folder.iterdir())

    back = pd.read_csv(folder / "ratings.csv", dtype={"rating": "float32"})
    assert back.columns.to_list() == ["userId", "movieId", "rating", "timestamp"]
    back["timestamp"] = pd.to_datetime(back["timestamp"], unit="s", utc=True).dt.as_unit("s")
    assert_frame_equal(back.set_axis(ratings.columns, axis=1), ratings)

    films = pd.read_csv(folder / "movies.csv")
    assert films.columns.to_list() == ["movieId", "title", "genres"]
    parts = films["title"].str.extract(r"^(.*) \((\d{4})\)$")
    assert parts[0].to_list() == items["title"].to_list()
    assert parts[1].astype("int64").to_list() == items["year"].to_list()
    assert films["movieId"].to_list() == items["item_id"].to_list()
    assert [tuple(text.split("|")) for text in films["genres"]] == items["genres"].to_list()


def test_written_readme_says_synthetic_and_how_it_was_made(tmp_path: Path) -> None:
    frames = generate(20, seed=3)
    write(tmp_path, *frames, seed=3)
    text = (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert "SYNTHETIC" in text
    assert "recsys.data.sample.generate(20, seed=3)" in text
    write(tmp_path, *frames)
    assert "generate(20)" in (tmp_path / "README.txt").read_text(encoding="utf-8")


def test_times_in_other_units_are_written_in_seconds_and_frames_are_left_alone(
    tmp_path: Path,
) -> None:
    ratings, items = generate(20, seed=3)
    write(tmp_path / "seconds", ratings, items)
    ratings["timestamp"] = ratings["timestamp"].dt.as_unit("ns")
    before = ratings.copy(), items.copy()
    write(tmp_path / "nanoseconds", ratings, items)
    assert (tmp_path / "seconds" / "ratings.csv").read_bytes() == (
        tmp_path / "nanoseconds" / "ratings.csv"
    ).read_bytes()
    assert_frame_equal(ratings, before[0])
    assert_frame_equal(items, before[1])


@pytest.mark.parametrize("name", ["ratings.csv", "movies.csv", "README.txt"])
def test_committed_sample_is_what_the_module_makes(
    tmp_path: Path, frames: Frames, name: str
) -> None:
    write(tmp_path, *frames, seed=SAMPLE_SEED)
    assert (COMMITTED / name).read_bytes() == (tmp_path / name).read_bytes()


def test_committed_sample_is_small_and_is_the_sample_folder() -> None:
    assert sample_folder() == COMMITTED.resolve()
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 600_000


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the module believe that it was installed without its repository."""
    monkeypatch.setattr(
        sample, "__file__", str(tmp_path / "site" / "recsys" / "data" / "sample.py")
    )
    monkeypatch.setattr(sample, "SAMPLE_RATINGS", 100)
    monkeypatch.delenv("RECSYS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sample_is_made_once_in_the_data_folder_where_there_is_no_repository(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sample_folder() == Path("data", "sample")
    assert len(pd.read_csv(installed / "data" / "sample" / "ratings.csv")) == 100
    assert os.listdir(installed / "data") == ["sample"]  # nothing temporary is left

    monkeypatch.setenv("RECSYS_DATA", str(installed / "elsewhere"))
    assert sample_folder() == installed / "elsewhere" / "sample"
    monkeypatch.setattr(sample, "generate", None)  # a second call makes nothing
    assert sample_folder() == installed / "elsewhere" / "sample"


def test_a_folder_in_the_way_of_the_sample_is_kept_and_named(installed: Path) -> None:
    other = installed / "data" / "sample"
    other.mkdir(parents=True)
    (other / "diary.txt").write_text("mine")
    with pytest.raises(DataError, match="is not the sample: move it away, or set RECSYS_DATA"):
        sample_folder()
    assert os.listdir(installed / "data") == ["sample"]
    assert os.listdir(other) == ["diary.txt"]


def test_a_sample_that_another_process_made_meanwhile_is_taken(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate_late(n_ratings: int, *, seed: int) -> Frames:
        frames = generate(n_ratings, seed=seed)
        write("data/sample", *generate(50, seed=seed))
        return frames

    monkeypatch.setattr(sample, "generate", generate_late)
    folder = sample_folder()
    assert len(pd.read_csv(folder / "ratings.csv")) == 50


def test_running_the_module_writes_the_sample_into_the_repository(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-W", "error", "-m", "recsys.data.sample"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, check=True)
    made = tmp_path / "data" / "sample"
    assert (made / "ratings.csv").read_bytes() == (COMMITTED / "ratings.csv").read_bytes()


@pytest.mark.slow
def test_a_million_ratings_take_seconds_and_no_pair_comes_twice() -> None:
    start = time.perf_counter()
    ratings, items = generate(1_000_000)
    assert time.perf_counter() - start < 10
    assert len(ratings) == 1_000_000
    assert items["title"].is_unique
    assert not ratings.duplicated(["user_id", "item_id"]).any()

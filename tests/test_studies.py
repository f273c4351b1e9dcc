"""Each study answers its question, under its key and in lines of its own."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from recsys import DataError, Recommender, split_by_time, studies
from recsys.data.events import Events, order_events
from recsys.data.frames.ratings import check_ratings
from recsys.data.splits import calibration_split
from recsys.evaluate import evaluate
from recsys.evaluation.opponents import Slice
from recsys.evaluation.report import as_text
from recsys.recommender import fitted
from recsys.settings import TEXTBOOK
from recsys.studies import ablation, dials, neighbours, user_to_user
from recsys.studies.leak import split_at_random
from recsys.studies.user_to_user import nearest_users
from tests.test_baselines import sequences
from tests.test_evaluate import BRIEF, FEW, TINY, briefly, item_sets, without_timings

NAMES = ["ablation", "cold-items", "dials", "leak", "neighbours", "new-users", "update",
         "user-to-user"]  # fmt: skip
KS = (5, 10, 20)
PARAMS = BRIEF | {"popularity_weight": 0.5, "stale_popularity_weight": 2.0}
WALKS = {"epochs": 1, "vector_size": 4, "half_life": 2.0, "calibrate": False}


@pytest.fixture(scope="module")
def report(sample, sample_items):
    """All studies at once; of the ablation, the parts that train fastest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "PARTS", {"textbook": TEXTBOOK, "walks": WALKS})
        return briefly(sample, sample_items, PARAMS, ks=KS, studies=NAMES)


def test_a_study_adds_its_key_and_changes_nothing_else(sample, sample_items, report):
    assert studies.study_names() == NAMES
    plain = briefly(sample, sample_items, PARAMS, ks=KS)
    assert list(report) == [*plain, *(name.replace("-", "_") for name in NAMES)]
    assert without_timings(report) == without_timings(plain)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ablation", "one after the other added to the textbook's recipe:"),
        ("cold-items", "cold items, fold-in: what training has never seen"),
        ("dials", "other settings of the dials:"),
        ("leak", "what a random split pretends"),
        ("neighbours", "the 10 nearest items of "),
        ("new-users", "new users after their first items"),
        ("update", "update: old was trained on the 13,"),
        ("user-to-user", "what the users with the nearest user vectors have watched:"),
    ],
)
def test_a_study_prints_its_own_lines(name, shown, report):
    [study] = studies.find_studies([name])
    lines = study.as_text(json.loads(json.dumps(report, allow_nan=False)))
    text = "\n".join(lines)
    assert shown in text
    assert max(map(len, lines)) <= 115
    assert not {"None", "nan"} & set(text.split())
    assert text in as_text(report, lines)


@pytest.mark.parametrize("name", ["cold-items", "leak", "new-users", "update"])
def test_a_study_says_what_it_needs_before_any_training(name, sample, monkeypatch):
    monkeypatch.setattr(Recommender, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match=f"the study {name} needs a split by time, not split='las"):
        evaluate(sample, studies=[name], split="last-out")
    if name != "new-users":
        with pytest.raises(ValueError, match=f"the study {name} needs one split: give no cutoffs"):
            evaluate(sample, studies=[name], cutoffs=[0.7, 0.8])
    if name == "cold-items":
        with pytest.raises(DataError, match="the study cold-items needs a table of items"):
            evaluate(sample, studies=[name])


def test_a_new_study_is_one_new_file(sample, tmp_path, monkeypatch):
    (tmp_path / "most_popular.py").write_text("""
from recsys.evaluation.run import Study, only
STUDY = Study("most-popular", lambda trial: {"n": int(trial.known.counts().max())}, only,
              lambda report: ["", f"watched {report['most_popular']['n']} times"])
""")
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(tmp_path)])
    assert "most-popular" in studies.study_names()
    report = evaluate(sample, params=TINY, against=(), studies=["most-popular"])
    most = split_by_time(sample).train["item_id"].value_counts().max()
    assert report["most_popular"] == {"n": most}
    [study] = studies.find_studies(["most-popular"])
    assert study.as_text(report)[1] == f"watched {most} times"


# ---- ablation, dials


def test_an_ablation_trains_each_part_as_it_would_be_trained_alone(report, sample):
    textbook = evaluate(sample, params=TEXTBOOK, against=(), ks=KS)["protocols"]
    for protocol, result in report["ablation"].items():
        assert list(result["models"]) == ["item2vec", "textbook", "walks"]
        alone = textbook[protocol]["models"]["item2vec"]["ndcg@20"]["mean"]
        assert result["models"]["textbook"]["ndcg@20"]["mean"] == pytest.approx(alone)
    for params in ablation.PARTS.values():
        Recommender(**params)  # would raise


def test_dials_are_measured_beside_the_model_as_it_is(report):
    for result in report["dials"].values():
        models = result["models"]
        assert list(models) == ["item2vec", *dials.SETTINGS]
        apart, bits = ({name: values[metric]["mean"] for name, values in models.items()}
                       for metric in ("intra_list_distance@10", "novelty@10"))  # fmt: skip
        assert apart["diversity 0.6"] > apart["item2vec"]
        assert bits["popularity 0"] > bits["popularity 4"]


def test_neighbours_are_measured_by_hand(report, sample, sample_items):
    found, ids = report["neighbours"], None
    model = Recommender(**PARAMS).fit(split_by_time(sample).train, sample_items)
    ids, counts = model.items, fitted(model).tables.counts
    genres = sample_items.set_index("item_id")["genres"]
    familiar, shares, rare = ids[counts >= neighbours.ENOUGH], [], []
    for item in familiar:
        near = model.similar_items(item, 10).item_ids
        rare += [counts[np.searchsorted(ids, other)] <= 5 for other in near]
        shares += [jaccard(genres[item], genres[other]) for other in near]
    ours = found["models"]["item2vec"]
    assert (found["n_items"], ours["genres"]) == (len(familiar), pytest.approx(np.mean(shares)))
    assert ours["rare"] == np.mean(rare)
    assert found["chance"]["genres"] < ours["genres"]
    assert set(found["models"]) == {"item2vec", "input vectors", "textbook", "item-knn", "svd"}


def jaccard(one, other):
    return len({*one} & {*other}) / len({*one} | {*other})


def test_series_go_by_title_and_the_nearest_are_ranked_without_the_item_itself():
    titles = [
        "Alien",
        "Heat",
        "Aliens",
        "Alien 3",
        "Alien: Resurrection",
        "Matrix, The",
        "The Matrix",
    ]
    assert neighbours.series_of(titles) == [[0, 3, 4], [5, 6]]
    unit = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
    found = neighbours._by_product(unit)(np.array([2, 0]))
    assert found[:, :2].tolist() == [[1, 0], [1, 2]]
    assert (found[:, 2:] == -1).all()


def test_the_curve_of_new_users_is_that_of_their_lists(sample, report):
    curve = report["new_users"]
    assert list(curve) == ["1", "2", "5", "10", "20"]
    split = split_by_time(sample)
    model = Recommender(**PARAMS).fit(split.train)
    later = split.validation.iloc[order_events(split.validation)[0]]
    later = later[~later["user_id"].isin(split.train["user_id"])]
    recalls, unserved = {n: [] for n in curve}, dict.fromkeys(curve, 0)
    for _, items in later.groupby("user_id")["item_id"]:
        first, targets = items[:20].tolist(), set(items[20:]) - set(items[:20])
        for n in curve if targets else ():
            known = [item for item in first[: int(n)] if item in model.items]
            unserved[n] += len(known) == 0
            found = model.recommend_for(known, 20, block=first) if known else []
            recalls[n].append(len(targets & {one.item_id for one in found}) / len(targets))
    assert unserved["1"] > 0
    for n, result in curve.items():
        assert result["n_users"] == len(recalls[n]) > 10
        assert list(result["models"]) == ["item2vec", *FEW]
        ours = result["models"]["item2vec"]
        assert ours["recall@20"]["mean"] == pytest.approx(np.mean(recalls[n]), abs=1e-9)
        assert ours["n_users_unserved"] == unserved[n]
        # What needs no history says the same after any number of items.
        assert result["models"]["popularity"] == curve["1"]["models"]["popularity"]


# ---- user to user


def last_item_vectors(histories):
    """User vectors of two dimensions: an angle of 10 degrees an item, of the last item alone."""
    angles = np.radians(10 * histories.codes[histories.offsets[1:] - 1])
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def test_the_nearest_users_vote_for_what_they_watched_by_how_near_they_are():
    # User vectors at 10, 20, 80 and, with no history, none; asked for one at 30 degrees.
    train = sequences([[0, 0, 1], [0, 2], [5, 8], []], 9)
    asked, cosine = sequences([[3]], 9), np.cos(np.radians([20, 10, 50]))
    [one] = nearest_users(train, last_item_vectors, n_neighbours=1)(asked)
    assert_allclose(one, [cosine[1], 0, cosine[1], 0, 0, 0, 0, 0, 0], rtol=1e-6)
    [two] = nearest_users(train, last_item_vectors, n_neighbours=2)(asked)
    assert_allclose(two[:3], [cosine[0] + cosine[1], cosine[0], cosine[1]], rtol=1e-6)
    assert two[3:].tolist() == [0] * 6
    [everybody] = nearest_users(train, last_item_vectors, n_neighbours=500)(asked)
    assert_allclose(everybody[[5, 8]], [cosine[2]] * 2, rtol=1e-6)


def test_users_vote_by_the_models_vectors_and_their_number_is_chosen_in_the_training_part(
    sample, report, monkeypatch
):
    events = Events.of(split_by_time(sample).train)
    where, earlier = Slice.of(events, None), calibration_split(events).train
    train, vectors_of = where.train.sequences, Recommender(**PARAMS).fit(earlier)._model.pool_all
    recalls = {n: where.recall(nearest_users(train, vectors_of, n_neighbours=n))
               for n in user_to_user.NEIGHBOURS}  # fmt: skip
    assert len(set(recalls.values())) > 3
    best = max(recalls, key=lambda n: recalls[n])
    monkeypatch.setattr(user_to_user, "NEIGHBOURS", (best,))
    given = evaluate(sample, params=PARAMS, against=(), studies=["user-to-user"], ks=KS)
    assert given["user_to_user"] == report["user_to_user"]
    for result in report["user_to_user"].values():
        assert list(result["models"]) == ["item2vec", "user-to-user"]


# ---- leak


def test_a_random_split_asks_for_what_it_holds_out(sample):
    split = split_at_random(Events.of(check_ratings(sample)), 4_000, None)
    train, warm = split.train.to_frame(), split.protocols["warm"]
    held = sample.merge(train, how="left", indicator=True).query("_merge == 'left_only'")
    assert (len(train), len(held), split.cutoff) == (16_000, 4_000, None)
    # all times are held out alike, and not the latest
    assert held["timestamp"].median() < sample["timestamp"].quantile(0.6)
    watched, later = (frame.groupby("user_id")["item_id"].agg(set) for frame in (train, held))
    targets = {user: later[user] - watched[user] for user in later.index if user in watched.index}
    found = {user: set(items) for user, items in item_sets(warm.targets).items()}
    assert found == {user: items for user, items in targets.items() if items}
    histories = train[train["user_id"].isin(found)].groupby("user_id")["item_id"].agg(list)
    assert item_sets(warm.histories) == histories.to_dict()
    assert not warm.staleness.any()


@pytest.mark.slow
def test_a_random_split_inflates_recall(ml_100k):
    report = evaluate(ml_100k, params=TINY, studies=["leak"])
    by_time, leak = report["protocols"]["warm"]["models"], report["leak"]["models"]
    for name in ("item-knn", "svd", "ease", "markov"):
        assert leak[name]["recall@20"]["ci95"][0] > 1.3 * by_time[name]["recall@20"]["mean"]


# ---- update


def test_an_update_is_compared_on_the_same_users_and_leaks_nothing(sample, report):
    found, split = report["update"], report["update"]["split"]
    assert split["n_old"] + split["n_news"] == report["split"]["n_train"]
    for protocol, result in found["protocols"].items():
        assert list(result["models"]) == ["item2vec", "old", "retrained"]
        assert result["n_users"] == report["protocols"][protocol]["n_users"]
    assert len({values["mrr"]["mean"] for values in result["models"].values()}) == 3
    assert found["drift"]["item2vec"]["n_new_events"] == split["n_news"]
    assert found["drift"]["retrained"]["similar"] < found["drift"]["item2vec"]["similar"]
    # Whatever lies after the cutoff moves no model: the drifts, and who is old, are the same.
    late = (sample["timestamp"] >= pd.Timestamp(report["split"]["cutoff"])).to_numpy()
    items = np.where(late, 10**6 + np.arange(len(sample)), sample["item_id"])
    changed = sample.assign(item_id=items)
    again = evaluate(changed, params=PARAMS, against=(), studies=["update"])
    assert again["update"]["drift"] == found["drift"]


# ---- cold items


def test_cold_items_are_all_that_training_has_never_seen(report, sample):
    split = split_by_time(sample)
    unseen = set(split.validation["item_id"]) - set(split.train["item_id"])
    for protocol, found in report["cold_items"].items():
        without_vector = report["protocols"][protocol]["n_targets_without_vector"]
        assert found["n_targets"] == without_vector > 0
        assert found["n_cold_items"] >= len(unseen)
        assert 0 < found["n_users"] <= found["others"]["n_users"]
        # What is known is found as in the main table, where nobody has a cold item to find.
        main_table = report["protocols"][protocol]["models"]["item2vec"]["recall@5"]["mean"]
        without, beside = (found["others"][n]["recall@5"]["mean"] for n in ("without", "with"))
        assert main_table < without < main_table * 1.1
        difference = found["others"]["difference"]["recall@5"]["mean"]
        assert difference == pytest.approx(beside - without)


def test_cold_items_are_found_above_the_random_floor(report):
    found = report["cold_items"]["fold-in"]
    models = found["alone"]["models"]
    assert list(models) == ["item2vec", "random", "genre-popularity", "own-genres"]
    assert found["alone"]["differences"]["random"]["recall@5"]["ci95"][0] > 0
    share = 5 / found["n_cold_items"]
    assert models["random"]["recall@5"]["mean"] == pytest.approx(share, abs=0.12)
    for name, values in models.items():
        whole = found["whole"]["models"][name]
        assert all(whole[f"recall@{k}"]["mean"] <= values[f"recall@{k}"]["mean"] for k in KS)


def test_a_cold_item_that_the_table_lacks_is_a_miss(report, sample, sample_items):
    split = split_by_time(sample)
    late = split.validation[~split.validation["item_id"].isin(split.train["item_id"])]
    table = sample_items[sample_items["item_id"] != late["item_id"].value_counts().index[0]]
    options = {"params": PARAMS, "against": (), "studies": ["cold-items"], "ks": KS}
    reports = report, evaluate(sample, table, **options)
    every, fewer = (one["cold_items"]["fold-in"] for one in reports)
    assert fewer["n_targets"] == every["n_targets"]
    assert fewer["n_cold_items"] == every["n_cold_items"] - 1
    before, after = (one["alone"]["models"]["item2vec"]["recall@20"] for one in (every, fewer))
    assert before["mean"] > after["mean"] > 0
    known = sample_items[sample_items["item_id"].isin(split.train["item_id"])]
    with pytest.raises(DataError, match="no cold items"):
        evaluate(sample, known, **options)


def test_dials_say_why_rows_are_alike_where_popularity_weighs_nothing():
    weights = {"popularity_weight": 0.0, "stale_popularity_weight": 0.0}
    report = {"dials": {}, "params": weights}
    assert "alike: it weighs nothing in this model" in " ".join(dials.as_text(report))
    assert dials.as_text(report | {"params": weights | {"popularity_weight": 1.0}}) == []

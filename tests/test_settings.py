"""Every setting is written once; the constructor, Word2Vec and the command line agree with it."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from inspect import signature

import numpy as np
import pandas as pd
import pytest

from recsys import DataError, Recommender
from recsys.recommender import fitted
from recsys.settings import SETTINGS, TEXTBOOK, WORD2VEC, check_settings
from recsys.vectors.item2vec import train_item2vec

NAN, INF = float("nan"), float("inf")
NUMBERS = [name for name, setting in SETTINGS.items() if setting.kind in (int, float)]
# What people and scripts pass; each setting takes it, or says at once what it takes.
ODD = [
    0, -1, 0.5, 2**31, 2**32, 1e39, 10**400, 10**5000, -INF, INF, NAN, "", "5", "yes", b"5", None,
    1j, [], [3], {}, True, np.True_, np.int64(2), np.float32(0.5), np.array([1, 2]), np.array(2),
    np.longdouble("1e4000"), Fraction(1, 2), Decimal(1), pd.NA, pd.Series([1.0]), object(),
]  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_any_value_is_taken_as_a_plain_one_or_refused_at_once(name):
    setting, taken = SETTINGS[name], 0
    for value in ODD:
        fitting = {"scoring": "cosine"} if name == "hs" else {}
        try:
            params = Recommender(**{name: value} | fitting).params
        except ValueError as error:
            said = str(error)
            assert said.startswith(f"{name} must be ")
            assert len(said) < 200
            if name in WORD2VEC and value is not None:
                with pytest.raises(ValueError, match=f"^{name} must be"):
                    train_item2vec(None, **{name: value})
        else:
            taken += 1
            assert type(params[name]) is (setting.kind if value is not None else type(None))
    assert taken < len(ODD) / 2
    assert (taken > 0) == (setting.kind is not str)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sg", 2), ("hs", -1), ("negative", 0), ("vector_size", 0), ("window", 2.5), ("epochs", 0),
        ("alpha", 0), ("sample", 2), ("ns_exponent", 300), ("min_count", 0), ("seed", 2**32),
        ("shrink_windows", "yes"), ("workers", 100_000), ("calibrate", 2), ("scoring", "dot"),
        ("ridge", 1e39), ("discount", 10), ("half_life", 1e-320), ("popularity_weight", NAN),
        ("stale_popularity_weight", "much"), ("popularity_days", 0), ("min_rating", 0),
        ("index", "faiss"),
    ],
)  # fmt: skip
def test_the_message_names_the_setting_its_range_and_the_value(name, value):
    setting = SETTINGS[name]
    with pytest.raises(
        ValueError, match=f"^{name} must be .*, got {re.escape(repr(value))}$"
    ) as error:
        Recommender(**{name: value})
    if name in NUMBERS:
        assert f" from {setting.low:.10g} to {setting.high:.10g}, got" in str(error.value)


@pytest.fixture(scope="module")
def views():
    """A popular item among others, 400 views."""
    rng, n = np.random.default_rng(0), 400
    times = pd.to_datetime(1_000_000_000 + np.arange(n) * 7000, unit="s", utc=True)
    items = rng.integers(0, 9, n) ** 2 * rng.integers(0, 2, n)
    return pd.DataFrame({"user_id": rng.integers(0, 20, n), "item_id": items,
                         "rating": rng.integers(1, 6, n), "timestamp": times})  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("end", ["low", "high"])
def test_both_ends_of_every_range_make_a_model_that_answers(name, end, views, tmp_path):
    value = getattr(SETTINGS[name], end)
    brief = {"vector_size": 4, "epochs": 2, "popularity_weight": 1.0, "half_life": 2.0}
    if name == "hs":
        brief["scoring"] = "cosine"
    model = Recommender(**brief | {name: value})
    if name in ("min_count", "min_rating") and end == "high":
        with pytest.raises(DataError, match=f"too little data: .*{name}="):
            model.fit(views)
        return
    found = model.fit(views).recommend(1, 5, watched=True)
    assert np.isfinite(found.scores).all()
    model.save(tmp_path / "model")
    assert list(Recommender.load(tmp_path / "model").recommend(1, 5, watched=True)) == list(found)


def test_of_one_item_no_tree_is_made():
    """gensim would never return."""
    views = pd.DataFrame({"user_id": [1, 2], "item_id": [7, 7]})
    with pytest.raises(DataError, match="hs=1 needs two items"):
        Recommender(hs=1, scoring="cosine").fit(views)


def test_a_training_that_ends_in_no_numbers_makes_no_model(views, monkeypatch):
    model = Recommender(vector_size=4, epochs=1, index="exact").fit(views)
    before = fitted(model)
    monkeypatch.setattr("recsys.model.fit.log_popularity", lambda *_: np.full(9, NAN, np.float32))
    with pytest.raises(ValueError, match=r"NaN or infinity.*alpha"):
        model.fit(views)
    assert fitted(model) is before


def test_settings_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match="hs=1 trains no output vectors"):
        Recommender(hs=1)
    for negative in (0, 5):  # hierarchical softmax draws no noise
        assert Recommender(hs=1, scoring="cosine", negative=negative).params["negative"] == 0
    with pytest.raises(TypeError, match="windw"):
        Recommender(windw=3)
    check_settings(TEXTBOOK)


def test_constructor_docstring_and_word2vec_have_the_names_and_defaults_of_the_table():
    ours = signature(Recommender).parameters
    assert {n: p.default for n, p in ours.items()} == {n: s.default for n, s in SETTINGS.items()}
    assert list(ours) == list(SETTINGS)
    for name, setting in SETTINGS.items():
        (line,) = re.findall(rf"^    {name} : .*$", Recommender.__doc__, re.MULTILINE)
        assert line.endswith(f"{' or None' * setting.optional}, default {setting.default!r}")
        assert setting.help[1:] in Recommender.__doc__
    theirs = dict(signature(train_item2vec).parameters)
    del theirs["sequences"], theirs["corpus_file"]
    defaults = {name: SETTINGS[name].default for name in WORD2VEC}
    assert {n: p.default for n, p in theirs.items()} == defaults


def test_the_textbook_recipe_is_gensims_own_defaults(sample):
    from gensim.models import Word2Vec

    bare = Word2Vec()
    gensims = {name: getattr(bare, name) for name in TEXTBOOK if hasattr(bare, name)}
    assert {**TEXTBOOK, **gensims, "sg": 1} == TEXTBOOK
    assert {"negative", "window", "epochs", "min_count", "sample"} <= set(gensims)
    assert Recommender(**TEXTBOOK).fit(sample).recommend(sample["user_id"][0])

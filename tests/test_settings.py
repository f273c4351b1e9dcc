"""Every setting is written once; the constructor, Word2Vec and the command line agree with it."""

from __future__ import annotations

import re
from inspect import signature

import numpy as np
import pytest

from recsys import Recommender
from recsys.settings import SETTINGS, TEXTBOOK, WORD2VEC, check_settings
from recsys.vectors.calibrate import DEFAULTS
from recsys.vectors.item2vec import train_item2vec

NAN, INF = float("nan"), float("inf")
# Values of each setting that are just inside its range, and others just outside.
RANGES = {
    "sg": ([0, 1, True], [2, -1, 0.5]), "hs": ([0], [2, -1, None]),
    "negative": ([1, 50], [0, -5, "5"]), "vector_size": ([1], [0, None]),
    "window": ([1, np.int64(3)], [0, -1, 2.5]), "epochs": ([None, 1], [0, "5", INF]),
    "alpha": ([1e-4, 1], [0, NAN, INF]), "sample": ([0, 1], [-1e-3, 2]),
    "ns_exponent": ([-0.5, 0.75], [INF, None]), "min_count": ([1], [0]),
    "shrink_windows": ([True, False, 0, 1], [2, None, "yes"]),
    "seed": ([0, 2**32 - 1], [-1, 2**32]), "workers": ([1, 8], [0]),
    "calibrate": ([True, False], ["yes", 2]),
    "scoring": (["cosine", "input-output"], ["dot", None]),
    "ridge": ([0, 3], [-1, None, NAN]), "discount": ([-10, 0, 10], [200, -11, None]),
    "half_life": ([None, 0.01, np.float32(2)], [0, "long", 1e-320]),
    "popularity_weight": ([None, -1, 0], [NAN, "much"]),
    "stale_popularity_weight": ([None, 8.0], [INF, "much"]),
    "audience_weight": ([None, 0, 5.0], [-1, NAN, "much"]),
    "popularity_days": ([None, 0.5], [0, -1]), "min_rating": ([None, 0.5, 4], [0, -1]),
    "index": (["annoy", "exact"], ["faiss", None]),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_values_in_range_are_taken_and_others_refused_at_once(name):
    good, bad = RANGES[name]
    for value in good:
        params = Recommender(**{name: value}).params
        assert params[name] == value
        assert not isinstance(params[name], np.generic)
    for value in bad:
        with pytest.raises(ValueError, match=f"^{name} must be .*, got "):
            Recommender(**{name: value})
        if name in WORD2VEC and value is not None:
            with pytest.raises(ValueError, match=f"^{name} must be"):
                train_item2vec(None, **{name: value})


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
    del theirs["sequences"]
    defaults = {name: SETTINGS[name].default for name in WORD2VEC}
    defaults["epochs"] = DEFAULTS["epochs"]  # there something has to be tried
    assert {n: p.default for n, p in theirs.items()} == defaults


def test_the_textbook_recipe_is_gensims_own_defaults(sample):
    from gensim.models import Word2Vec

    bare = Word2Vec()
    gensims = {name: getattr(bare, name) for name in TEXTBOOK if hasattr(bare, name)}
    assert {**TEXTBOOK, **gensims, "sg": 1} == TEXTBOOK
    assert {"negative", "window", "epochs", "min_count", "sample"} <= set(gensims)
    assert Recommender(**TEXTBOOK).fit(sample).recommend(sample["user_id"][0])

"""Every setting of a model, once: its default, its range, and what it does.

The constructor of `Recommender`, `train_item2vec` and the command line take their names, defaults
and checks from here, or are tested against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from textwrap import indent
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One keyword of `recsys.Recommender`.

    Attributes
    ----------
    kind : type
        int for whole numbers, float for any number, bool, or str for one of `choices`.
    low, high : int or float
        The range, both ends included and finite: what lies in it ends in a model.
    optional : bool
        Whether None is allowed: chosen by calibration, or switched off, as `help` says.
    """

    name: str
    default: Any
    kind: type
    help: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    optional: bool = False

    def check(self, value: Any) -> Any:
        """Return a value as a plain bool, int, float or str, or raise ValueError."""
        try:
            plain = value.item() if hasattr(value, "item") else value
            if plain is None and self.optional:
                return None
            if self._allows(plain):
                return self.kind(plain)
        except (ValueError, TypeError, OverflowError):  # several values, or none, in an array
            pass
        raise ValueError(f"{self.name} must be {self._wanted()}, got {shown(value)}")

    def _allows(self, value: Any) -> bool:
        if self.kind is str:
            return isinstance(value, str) and value in self.choices
        if self.kind is bool:
            return isinstance(value, Real) and value in (0, 1)
        # NaN and infinity are never in a range, as both ends are finite.
        number: Any = Integral if self.kind is int else Real
        return isinstance(value, number) and self.low <= value <= self.high

    def _wanted(self) -> str:
        if self.kind is str:
            return f"one of {self.choices}"
        if self.kind is bool:
            return "True or False"
        text = "a whole number" if self.kind is int else "a number"
        return f"{text} from {self.low:.10g} to {self.high:.10g}"

    def parse(self, text: str) -> Any:
        """Read a number, a word or `none` from the command line, or raise ValueError."""
        if self.optional and text.lower() == "none":
            return None
        return int(text) if self.kind is bool else self.kind(text)


# `train_item2vec` takes those up to `workers`, under gensim's names. Tests make a model at both
# ends of each range: far beyond, gensim or numpy hang, overflow or run out of memory, or nothing
# changes (no window is larger than the 10,000 events that gensim takes at a time).
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("sg", 0, int, "1 = skip-gram, 0 = CBOW", 0, 1),
        Setting("hs", 0, int, "1 = hierarchical softmax instead of negative sampling", 0, 1),
        Setting("negative", None, int, "noise items per training pair; none = as epochs, 5 to 10",
                1, 1000, optional=True),
        Setting("vector_size", 256, int, "dimension of the vectors", 1, 2048),
        Setting("window", 10, int, "neighbours on each side that count as context", 1, 10_000),
        Setting("epochs", None, int, "passes over the sequences; none = the root of 2000 / the "
                "events of an item, 1 to 20, for the default alpha", 1, 1000, optional=True),
        Setting("alpha", 0.15, float, "learning rate at the start", 1e-4, 1),
        Setting("sample", 1e-3, float, "randomly skip items with a larger share of events", 0, 1),
        Setting("ns_exponent", 0.0, float, "noise items are drawn by count ** this", -5, 5),
        Setting("min_count", 1, int, "items with fewer events get no vector", 1, 10**9),
        Setting("shrink_windows", True, bool, "1 = draw each window from 1..window"),
        Setting("seed", 42, int, "seed of the training", 0, 2**32 - 1),
        Setting("workers", 1, int, "training threads; above 1 results vary", 1, 256),
        Setting("calibrate", True, bool, "0 = choose nothing: plain mean, no popularity"),
        Setting("scoring", "input-output", str, "input-output, or cosine of input vectors: the "
                "textbook's way, weaker for users", choices=("input-output", "cosine")),
        Setting("ridge", 0.5, float, "weight of the ridge regression beside the output vectors; "
                "unused with cosine", 0, 1000),
        Setting("discount", 0.25, float, "a watched item weighs count ** -this, so that what "
                "everybody watches says less", -3, 3),
        Setting("half_life", None, float, "items watched until a watched item's weight halves "
                "(chosen)", 0.01, 10**6, optional=True),
        Setting("popularity_weight", None, float, "weight of log popularity for users active now; "
                "without it a user's scores have a standard deviation of about 1 (chosen)",
                -1000, 1000, optional=True),
        Setting("stale_popularity_weight", None, float, "the same for users long absent; a day "
                "after the last event it is the mean of both (chosen)", -1000, 1000, optional=True),
        Setting("popularity_days", None, float, "popularity is that of this many days before the "
                "latest rating; none = all-time (chosen)", 0.001, 10**6, optional=True),
        Setting("audience_weight", None, float, "weight of what the same people watched, for a "
                "history of one item; for n items an n-th of it (chosen)", 0, 1000, optional=True),
        Setting("min_rating", None, float, "ignore ratings below this, except that such items stay "
                "excluded as watched; none keeps all", 0.001, 10**9, optional=True),
        Setting("index", "annoy", str, "what recommend searches with: annoy or exact",
                choices=("annoy", "exact")),
    )
}  # fmt: skip
WORD2VEC = tuple(SETTINGS)[: tuple(SETTINGS).index("workers") + 1]

# What the tutorials do: skip-gram with gensim's other defaults, a plain mean of the watched items'
# vectors, and the cosine between that and the vectors of the items.
TEXTBOOK = {
    "sg": 1, "negative": 5, "vector_size": 100, "window": 5, "epochs": 5, "alpha": 0.025,
    "sample": 1e-3, "ns_exponent": 0.75, "min_count": 5, "scoring": "cosine", "calibrate": False,
    "discount": 0.0,
}  # fmt: skip


# What a list takes beside its length, see `recsys.Recommender.recommend`.
POPULARITY = Setting("popularity", 1.0, float, "multiplies popularity; 0 = pure taste", 0, 1000)
DIVERSITY = Setting("diversity", 0.0, float, "0 to 1: prefer items unlike those above them", 0, 1)


def check_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as plain values.

    Raises
    ------
    ValueError
        One is out of range, or does not fit another.
    """
    settings = SETTINGS
    hs = SETTINGS["hs"].check(params.get("hs", 0))
    if hs:  # hierarchical softmax draws no noise
        settings = SETTINGS | {"negative": replace(SETTINGS["negative"], low=0)}
    plain = {name: settings[name].check(value) for name, value in params.items()}
    if hs and params.get("scoring", "cosine") != "cosine":
        raise ValueError("hs=1 trains no output vectors: use it with scoring='cosine'")
    return plain


def complete_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's settings, checked, as plain values; other names are left out."""
    params = check_settings({name: value for name, value in given.items() if name in SETTINGS})
    if params["hs"]:
        params["negative"] = 0
    if params["scoring"] == "cosine":
        params["ridge"] = 0.0
    return params


def shown(value: Any) -> str:
    """Return what to say of a value in a message: its `repr`, cut short."""
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "a number of thousands of digits"


def word2vec_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that `train_item2vec` takes."""
    return {name: params[name] for name in WORD2VEC}


def describe_in(docstring: str) -> str:
    """Put all settings, with range and help, where a docstring says `<every setting ...>`."""
    lines = []
    for setting in SETTINGS.values():
        optional = " or None" if setting.optional else ""
        lines.append(f"{setting.name} : {setting._wanted()}{optional}, default {setting.default!r}")
        lines.append(f"    {setting.help[0].upper()}{setting.help[1:]}.")
    return re.sub(r"( *)<every setting.*>", lambda at: indent("\n".join(lines), at[1]), docstring)

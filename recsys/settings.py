"""Every setting of a model, once: its default, its range, and what it does.

The constructor of `Recommender`, `train_item2vec` and the command line take their names, defaults
and checks from here, or are tested against it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
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
    low, high : float
        The range, both ends included.
    optional : bool
        Whether None is allowed: chosen by calibration, or switched off, as `help` says.
    """

    name: str
    default: Any
    kind: type
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    optional: bool = False

    def check(self, value: Any) -> None:
        """Raise ValueError for a value of another kind or out of range."""
        if not (self._allows(value) or (value is None and self.optional)):
            raise ValueError(f"{self.name} must be {self._wanted()}, got {value!r}")

    def _allows(self, value: Any) -> bool:
        if self.kind is str:
            return value in self.choices
        if self.kind is bool:
            return value in (False, True)
        number: Any = Integral if self.kind is int else Real  # numpy's numbers too
        is_number = isinstance(value, number) and math.isfinite(value)
        return is_number and self.low <= value <= self.high

    def _wanted(self) -> str:
        if self.kind is str:
            return f"one of {self.choices}"
        if self.kind is bool:
            return "True or False"
        text = "a whole number" if self.kind is int else "a number"
        if math.isfinite(self.high):
            return f"{text} from {self.low:g} to {self.high:g}"
        return f"{text} from {self.low:g} up" if math.isfinite(self.low) else text

    def parse(self, text: str) -> Any:
        """Read a number, a word or `none` from the command line, or raise ValueError."""
        if self.optional and text.lower() == "none":
            return None
        return int(text) if self.kind is bool else self.kind(text)


# `train_item2vec` takes those up to `workers`, under gensim's names.
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("sg", 0, int, "1 = skip-gram, 0 = CBOW", 0, 1),
        Setting("hs", 0, int, "1 = hierarchical softmax instead of negative sampling", 0, 1),
        Setting("negative", 20, int, "noise items per training pair", 1),
        Setting("vector_size", 256, int, "dimension of the vectors", 1),
        Setting("window", 10, int, "neighbours on each side that count as context", 1),
        Setting("epochs", None, int, "passes over the sequences (chosen)", 1, optional=True),
        Setting("alpha", 0.05, float, "learning rate at the start", 1e-4),
        Setting("sample", 1e-3, float, "randomly skip items with a larger share of events", 0, 1),
        Setting("ns_exponent", 0.0, float, "noise items are drawn by count ** this"),
        Setting("min_count", 1, int, "items with fewer events get no vector", 1),
        Setting("shrink_windows", True, bool, "1 = draw each window from 1..window"),
        Setting("seed", 42, int, "seed of the training", 0, 2**32 - 1),
        Setting("workers", 1, int, "training threads; above 1 results vary", 1),
        Setting("calibrate", True, bool, "0 = choose nothing: up to 20 epochs, plain mean, "
                "no popularity"),
        Setting("scoring", "input-output", str, "input-output, or cosine of input vectors: the "
                "textbook's way, weaker for users", choices=("input-output", "cosine")),
        Setting("ridge", 0.5, float, "weight of the ridge regression beside the output vectors; "
                "unused with cosine", 0),
        Setting("discount", 0.25, float, "a watched item weighs count ** -this, so that what "
                "everybody watches says less", -10, 10),
        Setting("half_life", None, float, "items watched until a watched item's weight halves "
                "(chosen)", 0.01, optional=True),
        Setting("popularity_weight", None, float, "weight of log popularity for users active now; "
                "without it a user's scores have a standard deviation of about 1 (chosen)",
                optional=True),
        Setting("stale_popularity_weight", None, float, "the same for users long absent; a day "
                "after the last event it is the mean of both (chosen)", optional=True),
        Setting("popularity_days", None, float, "popularity is that of this many days before the "
                "latest rating; none = all-time (chosen)", 0, optional=True),
        Setting("audience_weight", None, float, "weight of what the same people watched, for a "
                "history of one item; for n items an n-th of it (chosen)", 0, optional=True),
        Setting("min_rating", None, float, "ignore ratings below this, except that such items stay "
                "excluded as watched; none keeps all", 0, optional=True),
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


def check_settings(params: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that is out of range or does not fit another."""
    hs = params.get("hs") == 1
    for name, value in params.items():
        if name == "negative" and hs and value == 0:  # hierarchical softmax draws no noise
            continue
        SETTINGS[name].check(value)
    for name in ("min_rating", "popularity_days"):
        if params.get(name) == 0:
            raise ValueError(f"{name} must be above 0, got {params[name]!r}")
    if hs and params.get("scoring", "cosine") != "cosine":
        raise ValueError("hs=1 trains no output vectors: use it with scoring='cosine'")


def complete_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's settings, checked, as plain values; other names are left out."""
    params = {name: value for name, value in given.items() if name in SETTINGS}
    check_settings(params)
    # numpy's numbers become Python's, so that they can be saved.
    params = {n: value.item() if hasattr(value, "item") else value for n, value in params.items()}
    params["negative"] *= not params["hs"]  # hierarchical softmax draws no noise
    params["ridge"] *= params["scoring"] != "cosine"
    return params


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

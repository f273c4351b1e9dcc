"""What does each setting of the dials of `recommend` cost and bring?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys.evaluation.measure import MODEL, contender_of_model
from recsys.evaluation.report import protocol_tables
from recsys.evaluation.run import Study, average_protocols

if TYPE_CHECKING:
    from recsys.evaluation.measure import Measured
    from recsys.evaluation.run import Trial

# The model itself, with popularity 1 and diversity 0, makes both rows of five.
SETTINGS: dict[str, dict[str, float]] = {
    "popularity 0": {"popularity": 0.0},
    "popularity 0.5": {"popularity": 0.5},
    "popularity 2": {"popularity": 2.0},
    "popularity 4": {"popularity": 4.0},
    "diversity 0.1": {"diversity": 0.1},
    "diversity 0.2": {"diversity": 0.2},
    "diversity 0.4": {"diversity": 0.4},
    "diversity 0.6": {"diversity": 0.6},
}


def measure(trial: Trial) -> dict[str, Measured]:
    """Measure the model once for every setting, and how far apart the items of a list are."""
    dials = {MODEL: {"popularity": 1.0}, **SETTINGS}
    return trial.measure(
        {name: contender_of_model(trial.model, trial.ks[-1], **d) for name, d in dials.items()}
    )


def as_text(report: dict[str, Any]) -> list[str]:
    """Show one table a protocol."""
    return protocol_tables(report["dials"], "other settings of the dials")


STUDY = Study("dials", "other settings of popularity and diversity", measure, average_protocols,
              as_text)  # fmt: skip

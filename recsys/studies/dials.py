"""What does each setting of the dials of `recommend` cost and bring?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys.evaluation.measure import MODEL, contender_of_model
from recsys.evaluation.report import protocol_tables
from recsys.evaluation.run import Study, average_protocols

if TYPE_CHECKING:
    from recsys.evaluation.measure import Measured
    from recsys.evaluation.run import Trial

# Beside the model itself, with popularity 1 and diversity 0.
TRIED = {"popularity": (0.0, 0.5, 2.0, 4.0), "diversity": (0.1, 0.2, 0.4, 0.6)}
SETTINGS = {f"{dial} {x:g}": {dial: x} for dial, values in TRIED.items() for x in values}


def measure(trial: Trial) -> dict[str, Measured]:
    """Measure the model once for every setting, and how far apart the items of a list are."""
    model, k = trial.model, trial.ks[-1]
    return trial.measure(
        {
            name: contender_of_model(model, k, distances=True, **dials)
            for name, dials in {MODEL: {}, **SETTINGS}.items()
        }
    )


def as_text(report: dict[str, Any]) -> list[str]:
    """Show one table a protocol, and say why rows are alike where popularity weighs nothing."""
    lines = protocol_tables(report["dials"], "other settings of the dials")
    if not any(report["params"][f"{stale}popularity_weight"] for stale in ("", "stale_")):
        lines += ["", "The rows of popularity are alike: it weighs nothing in this model, as given "
                  "or without calibration."]  # fmt: skip
    return lines


STUDY = Study("dials", measure, average_protocols, as_text)

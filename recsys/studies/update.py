"""What is an update worth, beside the old model and one trained from scratch?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.splits import cutoff_of
from recsys.errors import DataError
from recsys.evaluation.measure import MODEL, averaged, contender_of_model
from recsys.evaluation.report import align, calibration_lines, protocol_tables, show_number
from recsys.evaluation.run import Study, only
from recsys.model.update import measure_drift, update_model
from recsys.recommender import Recommender, fitted

if TYPE_CHECKING:
    from recsys.evaluation.run import Trial

# The latest share of the training part is the news: at a cutoff of 80% that is from 70% on.
NEWS = 1 / 8


def measure(trial: Trial) -> dict[str, Any]:
    """Train without the news, learn them by `update`, and train on everything; compare the three.

    All are asked for the same users with the same histories, news included. Settings are chosen
    once, without the news.

    Returns
    -------
    dict
        `protocols` of the models `item2vec` (the updated one), `old` and `retrained`; `drift` from
        the old one (`recsys.model.update.measure_drift`); `seconds` without calibration; `split`;
        `calibration`.
    """
    train = trial.split.train
    if train.times is None:
        raise DataError("the study update needs times and there are none")
    old_until = cutoff_of(train.times, NEWS)
    is_new = train.times >= old_until
    old = Recommender(**trial.given).fit(train.where(~is_new), trial.items)
    started = time.perf_counter()
    updated = update_model(fitted(old), train.where(is_new).to_frame(), trial.items)
    learned = time.perf_counter()
    retrained = Recommender(**old.params).fit(train, trial.items)
    trained = time.perf_counter()
    models = {MODEL: updated, "old": fitted(old), "retrained": fitted(retrained)}
    contenders = {name: contender_of_model(one, trial.ks[-1]) for name, one in models.items()}
    drift = {name: v for name, v in updated.about["drift"].items() if name != "seconds"}
    return {
        "split": {
            "old_until": f"{np.datetime64(old_until, 's')}+00:00",
            "n_old": int((~is_new).sum()),
            "n_news": int(is_new.sum()),
        },
        "protocols": {
            protocol: averaged([one]) for protocol, one in trial.measure(contenders).items()
        },
        "drift": {
            MODEL: drift,
            "retrained": measure_drift(models["old"].tables, models["retrained"].tables),
        },
        "calibration": old.about["calibration"],
        "seconds": {
            "old": sum(v for step, v in old.about["seconds"].items() if step != "calibrate"),
            MODEL: learned - started,
            "retrained": trained - learned,
        },
    }


def as_text(report: dict[str, Any]) -> list[str]:
    """Show what each of the three models found, what it took, and what stayed the same."""
    found = report["update"]
    split, drift = found["split"], found["drift"]
    old_until = split["old_until"].replace("T", " ")[:16]
    lines = [
        "",
        f"update: old was trained on the {split['n_old']:,} ratings before {old_until} UTC; "
        f"item2vec is old,",
        f"updated with the next {split['n_news']:,}; retrained was trained on all of these with "
        "the same settings",
        *protocol_tables(found["protocols"], "what an update is worth"),
    ]
    rows = [["", "seconds", "similar", "answers"]]
    for name, seconds in found["seconds"].items():
        shares = drift.get(name, {"similar": 1.0, "answers": 1.0})
        kept = [show_number(shares[each]) for each in ("similar", "answers")]
        rows.append([name, f"{seconds:.1f}", *kept])
    lines += ["", *align(rows)]
    lines.append(
        "of an item's 10 nearest items by cosine (similar), and the 10 that answer it best, the "
        "share that it had in old"
    )
    return lines + calibration_lines("settings without the news", found["calibration"])


STUDY = Study("update", measure, only, as_text, frozenset({"time", "one split"}))

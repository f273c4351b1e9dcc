"""Prepare, recommend and evaluate on a Spark cluster; the model is the one of `recsys`.

Needs the extra `spark` and Java 17. Nothing else in the package imports this folder.
"""

from recsys.spark.batch import recommend_many
from recsys.spark.measure import evaluate
from recsys.spark.prepare import check, read
from recsys.spark.training import fit

__all__ = ["check", "evaluate", "fit", "read", "recommend_many"]

"""What was reached, how sure that is, and whether one run is better than another.

`evaluate_utterances` gives `Predictions`; `score`, `summarise` and `figures` say what was reached, `ua_interval` how
sure that is, `compare` whether another run differs, `reliability_curve` whether the probabilities can be believed, and
`fit_temperature` makes them so. `write_predictions` and `read_predictions` keep them as CSV, `read_run` reads what
training left.
"""

from satn_fast.evaluation.calibration import (
    ReliabilityCurve,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_curve,
)
from satn_fast.evaluation.comparison import ComparedRun, compare_runs
from satn_fast.evaluation.confidence import Comparison, Interval, compare, holm, ua_interval
from satn_fast.evaluation.figures import figures
from satn_fast.evaluation.metrics import ClassFigures, Metrics, evaluate, logits_of, score
from satn_fast.evaluation.predictions import (
    Deviation,
    Predictions,
    PredictionsError,
    Summary,
    join,
    per_speaker,
    read_predictions,
    summarise,
    utterance_name,
    write_predictions,
)
from satn_fast.evaluation.recognition import UnknownLabelError, class_indices, evaluate_utterances
from satn_fast.evaluation.runs import Run, RunError, TrainingRecord, read_record, read_run

__all__ = [
    "ClassFigures",
    "ComparedRun",
    "Comparison",
    "Deviation",
    "Interval",
    "Metrics",
    "Predictions",
    "PredictionsError",
    "ReliabilityCurve",
    "Run",
    "RunError",
    "Summary",
    "TrainingRecord",
    "UnknownLabelError",
    "apply_temperature",
    "class_indices",
    "compare",
    "compare_runs",
    "evaluate",
    "evaluate_utterances",
    "expected_calibration_error",
    "figures",
    "fit_temperature",
    "holm",
    "join",
    "logits_of",
    "negative_log_likelihood",
    "per_speaker",
    "read_predictions",
    "read_record",
    "read_run",
    "reliability_curve",
    "score",
    "summarise",
    "ua_interval",
    "utterance_name",
    "write_predictions",
]

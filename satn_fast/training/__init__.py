"""Learning: the source task, attention transfer, emotion recognition, and what was reached.

`extract_features` turns utterances into features, `train_source` learns phonemes (CTC), `train_emotion` learns
emotions with attention transferred from there (`init`, `map` or `both`), and `evaluate` scores the result.
"""

from satn_fast.training.dataset import FeatureDataset, batches, extract_features
from satn_fast.training.emotion import TransferOptions, train_emotion
from satn_fast.training.loop import TrainingOptions, TrainingResult
from satn_fast.training.metrics import Metrics, evaluate, score
from satn_fast.training.source import phoneme_error_rate, train_source

__all__ = [
    "FeatureDataset",
    "Metrics",
    "TrainingOptions",
    "TrainingResult",
    "TransferOptions",
    "batches",
    "evaluate",
    "extract_features",
    "phoneme_error_rate",
    "score",
    "train_emotion",
    "train_source",
]

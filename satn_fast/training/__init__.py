"""Learning: the source task, attention transfer, emotion recognition, and what was reached.

`extract_features` turns utterances into features (a `FeatureCache` keeps them), `train_source` learns phonemes (CTC),
`train_emotion` learns emotions with attention transferred from there (`init`, `map` or `both`), and `evaluate` scores
the result. `ResidentFeatures` and `MappedFeatures` hold whole corpora, `LengthBuckets` says which utterances go
together, `SpecAugment` and `Perturbation` change them, and `PerturbedUtterances` does so in loader workers.
"""

from satn_fast.evaluation.metrics import Metrics, evaluate, score
from satn_fast.training.augmentation import SpecAugment, utterance_keys
from satn_fast.training.cache import CacheError, CacheWarning, FeatureCache
from satn_fast.training.dataset import Batch, FeatureDataset, batches
from satn_fast.training.emotion import train_emotion
from satn_fast.training.extraction import extract_features
from satn_fast.training.loader import PerturbedUtterances
from satn_fast.training.loading import Versions
from satn_fast.training.normalization import normalize_per_speaker
from satn_fast.training.options import Hardware, TrainingOptions, TransferOptions
from satn_fast.training.perturbation import Perturbation
from satn_fast.training.sampler import LengthBuckets
from satn_fast.training.source import phoneme_error_rate, train_autoencoder, train_source
from satn_fast.training.stores import MappedFeatures, ResidentFeatures
from satn_fast.training.trainer import TrainingResult

__all__ = [
    "Batch",
    "CacheError",
    "CacheWarning",
    "FeatureCache",
    "FeatureDataset",
    "Hardware",
    "LengthBuckets",
    "MappedFeatures",
    "Metrics",
    "Perturbation",
    "PerturbedUtterances",
    "ResidentFeatures",
    "SpecAugment",
    "TrainingOptions",
    "TrainingResult",
    "TransferOptions",
    "Versions",
    "batches",
    "evaluate",
    "extract_features",
    "normalize_per_speaker",
    "phoneme_error_rate",
    "score",
    "train_autoencoder",
    "train_emotion",
    "train_source",
    "utterance_keys",
]

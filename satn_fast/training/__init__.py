"""Learning: the source task, attention transfer, emotion recognition, and what was reached.

`extract_features` turns utterances into features (a `FeatureCache` keeps them), `train_source` learns to recognise
speech (CTC) and `train_autoencoder` to rebuild features, `train_emotion` learns emotions with attention transferred
from there (`init`, `map` or `both`), and `satn_fast.evaluation` scores the result. `ResidentFeatures` and
`MappedFeatures` hold whole corpora, `LengthBuckets` says which utterances go together, `SpecAugment` and `Perturbation`
change them, and `PerturbedUtterances` does so in loader workers.

A waveform's way: `corpus` (features at every speed) -> `loading` (the batches of one process) -> a `task` (`emotion`,
`source`; with `transfer`) -> `trainer` (PyTorch Lightning, `checkpoint`) -> `run` (the folder). `settings` holds what
can be chosen, `recipes` does all of it for the command line.
"""

from typing import TYPE_CHECKING

from satn_fast._lazy import lazy_attributes

if TYPE_CHECKING:
    from satn_fast.evaluation.metrics import Metrics, evaluate, score
    from satn_fast.training.augmentation import Equalizer, MelWarp, SpecAugment, StyleMixing, utterance_keys
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

# Imported when they are asked for: the command line has to show its help without PyTorch.
_HOMES = {
    "Batch": "satn_fast.training.dataset",
    "CacheError": "satn_fast.training.cache",
    "CacheWarning": "satn_fast.training.cache",
    "Equalizer": "satn_fast.training.augmentation",
    "FeatureCache": "satn_fast.training.cache",
    "FeatureDataset": "satn_fast.training.dataset",
    "Hardware": "satn_fast.training.options",
    "LengthBuckets": "satn_fast.training.sampler",
    "MappedFeatures": "satn_fast.training.stores",
    "MelWarp": "satn_fast.training.augmentation",
    "Metrics": "satn_fast.evaluation.metrics",
    "Perturbation": "satn_fast.training.perturbation",
    "PerturbedUtterances": "satn_fast.training.loader",
    "ResidentFeatures": "satn_fast.training.stores",
    "SpecAugment": "satn_fast.training.augmentation",
    "StyleMixing": "satn_fast.training.augmentation",
    "TrainingOptions": "satn_fast.training.options",
    "TrainingResult": "satn_fast.training.trainer",
    "TransferOptions": "satn_fast.training.options",
    "Versions": "satn_fast.training.loading",
    "batches": "satn_fast.training.dataset",
    "evaluate": "satn_fast.evaluation.metrics",
    "extract_features": "satn_fast.training.extraction",
    "normalize_per_speaker": "satn_fast.training.normalization",
    "phoneme_error_rate": "satn_fast.training.source",
    "score": "satn_fast.evaluation.metrics",
    "train_autoencoder": "satn_fast.training.source",
    "train_emotion": "satn_fast.training.emotion",
    "train_source": "satn_fast.training.source",
    "utterance_keys": "satn_fast.training.augmentation",
}

__all__ = [
    "Batch",
    "CacheError",
    "CacheWarning",
    "Equalizer",
    "FeatureCache",
    "FeatureDataset",
    "Hardware",
    "LengthBuckets",
    "MappedFeatures",
    "MelWarp",
    "Metrics",
    "Perturbation",
    "PerturbedUtterances",
    "ResidentFeatures",
    "SpecAugment",
    "StyleMixing",
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


__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)

"""Functionals into a linear support vector machine, in the folds of a protocol.

The machine decides between pairs of labels (libsvm), each label weighted by how rare it is. Features are standardised
on the training folds, and C is chosen inside them, in folds of whole speakers, so that nobody who is tested chooses
anything. A variant of its own first standardises the features of each speaker by themselves, which uses all recordings
of the speaker who is tested, without their labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold
from sklearn.svm import SVC

from benchmarks.recognition.functionals import FEATURES
from satn_fast.data import Utterance
from satn_fast.evaluation import Predictions, class_indices, utterance_name

C = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_INNER_FOLDS = 4

Features = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Baseline:
    """A classical recogniser.

    Attributes:
        features: One of `FEATURES`.
        per_speaker: Whether each speaker is standardised first.
    """

    features: str
    per_speaker: bool = False

    @property
    def variant(self) -> str:
        """What its results are called."""
        return f"{self.features}-svm" + ("-per-speaker" if self.per_speaker else "")

    @property
    def title(self) -> str:
        """In words."""
        return f"{FEATURES[self.features]}, linear SVM" + (", standardised per speaker" if self.per_speaker else "")


BASELINES = tuple(Baseline(features, per_speaker) for features in FEATURES for per_speaker in (False, True))


@dataclass(frozen=True)
class Decided:
    """What a baseline said of a fold that it did not hear.

    Attributes:
        predictions: Its decisions, each with probability 1.
        chosen_c: C, chosen without the fold.
    """

    predictions: Predictions
    chosen_c: float


def cross_validate(
    baseline: Baseline,
    features: Features,
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    folds: Sequence[str],
    progress: Callable[[int, int], None],
) -> Iterator[Decided]:
    """Leaves each fold out in turn.

    Args:
        baseline: What recognises.
        features: (N, D).
        utterances: Those N.
        labels: Names of the classes.
        folds: The fold of each.
        progress: Called with (done, total) folds.

    Raises:
        ValueError: But one speaker is left to train on, and nobody to choose C.
    """
    truth = class_indices(utterances, labels)
    speakers, names = np.array([utterance.speaker for utterance in utterances]), np.array(folds)
    if baseline.per_speaker:
        features = standardised_per_speaker(features, speakers)
    every = sorted(set(folds))
    for number, fold in enumerate(every, start=1):
        heard, rows = np.flatnonzero(names != fold), np.flatnonzero(names == fold)
        chosen_c = choose_c(features[heard], truth[heard], speakers[heard])
        [decided] = decisions(features[heard], truth[heard], features[rows], [chosen_c])
        predictions = Predictions.plain(
            [utterance_name(utterances[row]) for row in rows],
            labels,
            truth[rows],
            list(speakers[rows]),
            np.eye(len(labels))[decided],
            fold=fold,
            seed=0,
        )
        yield Decided(predictions, chosen_c)
        progress(number, len(every))


def standardised_per_speaker(features: Features, speakers: NDArray[np.str_]) -> Features:
    """Features with mean 0 and deviation 1 over the recordings of each speaker; no label is looked at."""
    found = np.empty_like(features)
    for speaker in np.unique(speakers):
        theirs = features[speakers == speaker]
        found[speakers == speaker] = _standardise(theirs, theirs)
    return found


def choose_c(features: Features, truth: Classes, speakers: NDArray[np.str_]) -> float:
    """The C with the best UA on speakers left out in turn; of equal ones the smallest."""
    count = min(_INNER_FOLDS, len(np.unique(speakers)))
    if count < 2:
        raise ValueError(f"{speakers[0]} is the only speaker to train on; two are needed, so that one can choose C")
    found = np.empty((len(C), len(truth)), dtype=np.int64)
    for heard, rows in GroupKFold(count).split(features, truth, speakers):
        found[:, rows] = list(decisions(features[heard], truth[heard], features[rows], C))
    return C[int(np.argmax([balanced_accuracy_score(truth, decided) for decided in found]))]


def decisions(training: Features, truth: Classes, unheard: Features, every_c: Sequence[float]) -> Iterator[Classes]:
    """For each C, what is decided of the features that were not heard."""
    # The products of all pairs are the same for every C, and most of the work.
    known, others = _standardise(training, training), _standardise(unheard, training)
    kernel, between = (known @ known.T).astype(np.float64), (others @ known.T).astype(np.float64)
    for c in every_c:
        machine = SVC(C=c, kernel="precomputed", class_weight="balanced").fit(kernel, truth)
        yield np.asarray(machine.predict(between), dtype=np.int64)


def _standardise(features: Features, training: Features) -> Features:
    """Features by the mean and deviation of those to train on; what does not vary there becomes 0."""
    mean, deviation = training.mean(0, dtype=np.float64), training.std(0, dtype=np.float64)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9 * np.abs(mean) + 1e-12)
    return ((features - mean) * scale).astype(np.float32)

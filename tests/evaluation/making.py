"""Predictions to try things on."""

import numpy as np

from satn_fast.evaluation import Predictions, join


def drawn(rng, speakers: int = 3, utterances: int = 20, labels=("angry", "happy", "sad"), seeds=(None,), fold=""):
    """Predictions that are right in about two of three cases; the same utterances for every seed."""
    count = speakers * utterances
    names = [f"speaker{i % speakers}" for i in range(count)]
    truth = rng.integers(len(labels), size=count)
    truth[: len(labels)] = range(len(labels))
    files = [f"/corpus/{name}/{i}.wav" for i, name in enumerate(names)]
    return join(
        Predictions.plain(files, labels, truth, names, probabilities(rng, truth, len(labels)), fold=fold, seed=seed)
        for seed in seeds
    )


def probabilities(rng, truth, n_labels: int, accuracy: float = 0.66) -> np.ndarray:
    decision = np.where(rng.random(len(truth)) < accuracy, truth, rng.integers(n_labels, size=len(truth)))
    return sure_of(decision, n_labels, rng.uniform(0.6, 0.95, len(truth)))


def sure_of(decision, n_labels: int, confidence) -> np.ndarray:
    rest = (1 - np.broadcast_to(confidence, len(decision))) / (n_labels - 1)
    rows = np.repeat(rest[:, None], n_labels, axis=1)
    rows[np.arange(len(decision)), decision] = confidence
    return rows

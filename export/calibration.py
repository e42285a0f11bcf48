"""What int8 ranges are measured on, and how: utterances of every speaker and label, extremes or percentiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast.config import LARGEST_LEVEL
from satn_fast.frontend import LogMel

if TYPE_CHECKING:
    from satn_fast.data import Utterance
    from satn_fast.export.weights import FoldedSATN

Array = NDArray[np.float32]

# How the ranges of activations follow from the calibration; the first is the default, because it never clips what was
# seen. Which one gives the smaller error depends on the model: with four models of the preset edge, trained on the
# demo's corpus with other seeds, percentiles changed the mean logit error of model.int8.onnx by -21, -8, -3 and +23 %
# (64 utterances), and decisions by one utterance in 192 at most. They are for recordings with clicks.
METHODS = ("minmax", "percentile")

# Of the values of a tensor in one utterance, percentiles leave out one in ten thousand at either end; the range holds
# the rest of every utterance. With 99.9 and 16 utterances, the largest logit error was twice that with 99.99.
PERCENTILE = 99.99

# With the demo's model, sixteen utterances gave the mean logit error of 64 (0.0078 and 0.0077, ten draws each); the
# worst draw of sixteen was 0.0096, of 64 0.0083.
CALIBRATION_SIZE = 64

# Log-Mel bands that far, in standard deviations, from those of the training are none of the model's front end: other
# presets are 7 to 20 away, recordings at a thousandth of the amplitude less than 5 (preset edge, the demo's corpus).
_FOREIGN = 5.0


def choose_calibration(utterances: Sequence[Utterance], size: int = CALIBRATION_SIZE, seed: int = 0) -> list[int]:
    """Draws utterances to calibrate with: every speaker and every label about equally often.

    The draw depends on the utterances and the seed, not on their order.

    Args:
        utterances: Those of the training.
        size: How many; all of them where there are fewer.
        seed: Another seed draws others.

    Returns:
        Their places in `utterances`, in the order in which they were drawn.

    Raises:
        ValueError: No utterances, or a size below 1.

    Example:
        >>> from pathlib import Path
        >>> from satn_fast.data import Utterance
        >>> many = [Utterance(Path(f"{i}.wav"), "calm", "anna") for i in range(98)]
        >>> few = [Utterance(Path("98.wav"), "angry", "anna"), Utterance(Path("99.wav"), "calm", "ben")]
        >>> rows = choose_calibration([*many, *few], size=4)
        >>> 98 in rows, 99 in rows, len(rows)
        (True, True, 4)
    """
    if not utterances:
        raise ValueError("there are no utterances to calibrate with; give those of the training")
    if size < 1:
        raise ValueError(f"calibration size is {size}; give a number from 1")
    generator = np.random.default_rng(seed)
    in_order = sorted(range(len(utterances)), key=lambda row: _identity(utterances[row]))
    groups: dict[tuple[str, str], list[int]] = {}
    for row in generator.permutation(in_order).tolist():
        groups.setdefault((utterances[row].speaker, utterances[row].label), []).append(row)
    chosen: list[int] = []
    taken: Counter[Hashable] = Counter()
    while groups and len(chosen) < size:
        # Of equally rare pairs the one whose label, then whose speaker is rarest; then the one drawn first.
        pair = min(groups, key=lambda p: (taken[p], taken["label", p[1]], taken["speaker", p[0]]))
        chosen.append(groups[pair].pop())
        taken.update([pair, ("label", pair[1]), ("speaker", pair[0])])
        if not groups[pair]:
            del groups[pair]
    return chosen


def check_method(method: str) -> None:
    """Raises ValueError for a word that is no calibration method."""
    if method not in METHODS:
        raise ValueError(f"calibration method is {method!r}; choose one of {', '.join(METHODS)}")


def checked_calibration(
    features: Sequence[ArrayLike] | None, weights: FoldedSATN, front_end: Mapping[str, Any] | None = None
) -> list[Array]:
    """The features as float32 arrays.

    Args:
        features: (T, F) of each utterance.
        weights: Of the model.
        front_end: The settings that the features were computed with, where that is known.

    Raises:
        ValueError: There are none, or they are not those of the model's front end: other settings, another width, or
            log-Mel bands far from those of the training; or they are not finite.
    """
    if features is None or not len(features):
        raise ValueError("calibration is empty; give the features of a few dozen representative utterances")
    if front_end is not None:
        _check_settings(front_end, weights.config.front_end)
    result = []
    for index, utterance in enumerate(features):
        array = np.ascontiguousarray(utterance, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != weights.config.n_features or not len(array):
            raise ValueError(
                f"calibration[{index}] has shape {array.shape}; (frames, {weights.config.n_features}) is expected"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"calibration[{index}] holds NaN or infinity; check the audio")
        result.append(array)
    _check_level(result, weights)
    return result


class Ranges:
    """The range of every tensor over all utterances, zero included.

    Args:
        method: One of `METHODS`.

    Example:
        >>> ranges = Ranges("minmax")
        >>> ranges.add("hidden", np.array([[1.0, 3.0]]))
        >>> ranges.add("hidden", np.array([[-2.0, 1.0]]))
        >>> ranges["hidden"]
        (-2.0, 3.0)
    """

    def __init__(self, method: str) -> None:
        check_method(method)
        self._outermost = 100.0 if method == "minmax" else PERCENTILE
        self._ranges: dict[str, tuple[float, float]] = {}

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Widens the range of a tensor to what it holds in one utterance."""
        low, high = np.percentile(values, (100.0 - self._outermost, self._outermost))
        known_low, known_high = self._ranges.get(name, (0.0, 0.0))
        self._ranges[name] = min(known_low, float(low)), max(known_high, float(high))

    def __getitem__(self, name: str) -> tuple[float, float]:
        return self._ranges[name]


def _identity(utterance: Utterance) -> tuple[str, str, str, float, float]:
    """What tells utterances apart, wherever their corpus lies."""
    return (
        utterance.speaker,
        utterance.label,
        utterance.file.name,
        utterance.start or 0.0,
        utterance.end or 0.0,
    )


def level_so_far(bands: NDArray[np.float64], loudness_exponent: float) -> NDArray[np.float64]:
    """(T, n_bands) to the level of the frames so far, (T, 1): see `satn_fast.reference.level_sums`."""
    level = bands.mean(1, keepdims=True)
    loudness = np.exp(loudness_exponent * level.clip(-LARGEST_LEVEL, LARGEST_LEVEL))
    levels: NDArray[np.float64] = (loudness * level).cumsum(0) / loudness.cumsum(0)
    return levels


def _check_settings(calibration: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Compares all parameters in effect, whether they were said or are those of the preset."""
    theirs, ours = (LogMel(**settings).describe() for settings in (calibration, model))
    different = [name for name in sorted(theirs.keys() | ours.keys()) if theirs.get(name) != ours.get(name)]
    if different:
        listed = ", ".join(f"{name} ({theirs.get(name)} there, {ours.get(name)} in the model)" for name in different)
        raise ValueError(
            f"calibration comes from another front end: {listed}; compute it with LogMel(**model.config.front_end)"
        )


def _check_level(features: Sequence[Array], weights: FoldedSATN) -> None:
    """Refuses features whose log-Mel bands are nowhere near those of the training.

    Without their level, where the model removes it: how loud they are makes no difference then.
    """
    if not weights.mean.any():
        return  # statistics that were never fitted
    n_bands = weights.config.n_bands
    bands = [array[:, :n_bands].astype(np.float64) for array in features]
    if weights.bands is not None:
        bands = [each - level_so_far(each, weights.config.loudness_exponent)[-1] for each in bands]
    mean = np.concatenate(bands).mean(0)
    distance = float(np.median(np.abs(mean - weights.mean[:n_bands]) * weights.inverse_std[:n_bands]))
    if distance > _FOREIGN:
        raise ValueError(
            f"calibration is of another front end or level: its log-Mel bands are {distance:.1f} standard deviations "
            "from those of the training; compute it with LogMel(**model.config.front_end), from speech as loud"
        )

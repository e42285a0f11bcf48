"""Splits of a corpus that keep the speakers apart.

A model that has heard the speakers of its evaluation set looks better than it is, and the evaluation speakers
must not choose the model either. So training, validation and test never share a speaker here.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from satn_fast.data.manifest import Utterance

__all__ = [
    "SpeakerOverlapWarning",
    "Split",
    "check_speaker_overlap",
    "draw_speakers",
    "leave_one_speaker_out",
    "split_by_speaker",
]

# How many random assignments of the speakers are compared for the balance of their labels.
_CANDIDATES = 256


class SpeakerOverlapWarning(UserWarning):
    """Two parts of a corpus that should be independent share speakers."""


@dataclass(frozen=True)
class Split:
    """Three parts of a corpus: fit on `train`, choose the model on `validation`, report `test`."""

    train: list[Utterance]
    validation: list[Utterance]
    test: list[Utterance]


def split_by_speaker(
    utterances: Sequence[Utterance],
    *,
    test_speakers: Iterable[str] | None = None,
    validation_speakers: Iterable[str] | None = None,
    seed: int = 0,
    test_fraction: float = 0.25,
    validation_fraction: float = 0.125,
) -> Split:
    """Split a corpus into three parts without a common speaker.

    Speakers that are not given are drawn: of many random assignments (by `seed`; the order of the utterances plays
    no part), the one whose parts come closest to the label proportions of the whole.

    Args:
        utterances: The corpus.
        test_speakers: Speakers of the test part; drawn if `None`.
        validation_speakers: Speakers of the validation part; drawn if `None`.
        seed: Chooses among equally balanced assignments.
        test_fraction: Share of all speakers for the test part, at least one speaker; ignored with `test_speakers`.
        validation_fraction: The same for the validation part.

    Returns:
        The parts, each in the order of `utterances`, none of them empty.

    Raises:
        ValueError: If a given speaker does not occur or is given twice, a fraction is outside (0, 1), or no speaker
            is left for one of the parts.

    Example:
        >>> from pathlib import Path
        >>> corpus = [Utterance(Path(f"{s}{e}.wav"), e, s) for s in "abcdefgh" for e in ("happy", "sad")]
        >>> split = split_by_speaker(corpus)
        >>> [len(part) for part in (split.train, split.validation, split.test)]
        [10, 2, 4]
    """
    for name, fraction in (("test_fraction", test_fraction), ("validation_fraction", validation_fraction)):
        if not 0 < fraction < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {fraction}")
    counts = _label_counts(utterances)
    test = _given("test_speakers", test_speakers, counts)
    validation = _given("validation_speakers", validation_speakers, counts)
    if common := sorted(set(test) & set(validation)):
        raise ValueError(f"speakers {listing(common)} are both test and validation speakers; give each one role")
    n_test = len(test) or max(1, round(test_fraction * len(counts)))
    n_validation = len(validation) or max(1, round(validation_fraction * len(counts)))
    if len(counts) < 3 or n_test + n_validation >= len(counts):
        raise ValueError(
            f"{len(counts)} speakers cannot make {n_test} for test, {n_validation} for validation and one or more for "
            "training; add speakers (three are the least) or make the other parts smaller"
        )
    chosen = _draw(counts, test, validation, n_test, n_validation, np.random.default_rng(seed))
    return _assign(utterances, *chosen)


def draw_speakers(utterances: Sequence[Utterance], fraction: float, seed: int = 0) -> set[str]:
    """Draw a part of the speakers whose labels are balanced like those of the whole.

    Args:
        utterances: The corpus.
        fraction: Share of all speakers, at least one speaker.
        seed: Chooses among equally balanced draws.

    Returns:
        The speakers; never all of them.

    Raises:
        ValueError: If there is but one speaker.

    Example:
        >>> from pathlib import Path
        >>> corpus = [Utterance(Path(f"{s}{e}.wav"), e, s) for s in "abcdefgh" for e in ("happy", "sad")]
        >>> len(draw_speakers(corpus, 0.25))
        2
    """
    counts = _label_counts(utterances)
    if len(counts) < 2:
        raise ValueError(f"the only speaker is {listing(list(counts))}; two are needed to draw one and keep one")
    count = min(max(1, round(fraction * len(counts))), len(counts) - 1)
    return _draw(counts, [], [], 0, count, np.random.default_rng(seed))[1]


def leave_one_speaker_out(utterances: Sequence[Utterance]) -> Iterator[Split]:
    """Yield one split for each speaker, in alphabetical order, with that speaker alone as the test part.

    The validation part is one of the other speakers, the next in alphabetical order (cyclic) among those that show
    the most labels. So nothing about the test speaker takes part in the choice of the model.

    Args:
        utterances: The corpus.

    Yields:
        As many splits as there are speakers.

    Raises:
        ValueError: If there are fewer than three speakers.

    Example:
        >>> from pathlib import Path
        >>> corpus = [Utterance(Path(f"{s}{e}.wav"), e, s) for s in "abc" for e in ("happy", "sad")]
        >>> [(split.test[0].speaker, split.validation[0].speaker) for split in leave_one_speaker_out(corpus)]
        [('a', 'b'), ('b', 'c'), ('c', 'a')]
    """
    counts = _label_counts(utterances)
    speakers = list(counts)
    if len(speakers) < 3:
        raise ValueError(
            "leaving one speaker out needs three speakers (test, validation, training), "
            f"the corpus has {len(speakers)}: {listing(speakers)}; add speakers"
        )
    for index, speaker in enumerate(speakers):
        others = speakers[index + 1 :] + speakers[:index]
        most = max(len(counts[other]) for other in others)
        validation = next(other for other in others if len(counts[other]) == most)
        yield _assign(utterances, {speaker}, {validation})


def check_speaker_overlap(a: Iterable[Utterance | str], b: Iterable[Utterance | str]) -> list[str]:
    """Warn if two parts of a corpus share speakers.

    Args:
        a: One part, for example what a model was trained on: utterances, or names of speakers.
        b: The other, for example what it is evaluated on.

    Returns:
        The common speakers, sorted; empty if all is well.

    Warns:
        SpeakerOverlapWarning: Names the common speakers.

    Example:
        >>> from pathlib import Path
        >>> check_speaker_overlap([Utterance(Path("1.wav"), "sad", "anna")], [Utterance(Path("2.wav"), "sad", "ben")])
        []
    """
    first, second = ({row if isinstance(row, str) else row.speaker for row in part} for part in (a, b))
    common = sorted(first & second)
    if common:
        warnings.warn(
            f"{len(common)} speakers are in both parts: {listing(common)}. Scores on known speakers are too good; "
            "split by speaker (satn_fast.data.split_by_speaker)",
            SpeakerOverlapWarning,
            stacklevel=2,
        )
    return common


def _label_counts(utterances: Iterable[Utterance]) -> dict[str, Counter[str]]:
    """How many utterances of each label each speaker has, speakers sorted."""
    counts: dict[str, Counter[str]] = {}
    for row in utterances:
        counts.setdefault(row.speaker, Counter())[row.label] += 1
    return dict(sorted(counts.items()))


def _given(name: str, speakers: Iterable[str] | None, known: Mapping[str, object]) -> list[str]:
    if speakers is None:
        return []
    if isinstance(speakers, str):
        raise ValueError(f"{name} must be a list of speakers, got the string {speakers!r}")
    chosen = list(speakers)
    if not chosen:
        raise ValueError(f"{name} is empty; name at least one speaker, or pass None to have them drawn")
    if unknown := sorted(set(chosen) - set(known)):
        raise ValueError(f"{name}: {listing(unknown)} not in the corpus, which has {listing(list(known))}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{name}: a speaker is named twice in {listing(chosen)}")
    return chosen


def _draw(
    counts: Mapping[str, Counter[str]],
    test: list[str],
    validation: list[str],
    n_test: int,
    n_validation: int,
    generator: np.random.Generator,
) -> tuple[set[str], set[str]]:
    """Complete the given test and validation speakers with those that balance the labels best."""
    speakers = list(counts)
    labels = sorted({label for counter in counts.values() for label in counter})
    table = np.array([[counts[speaker][label] for label in labels] for speaker in speakers], dtype=np.float64)
    free = np.array([i for i, speaker in enumerate(speakers) if speaker not in {*test, *validation}], dtype=np.int64)
    fixed_test = [speakers.index(speaker) for speaker in test]
    fixed_validation = [speakers.index(speaker) for speaker in validation]
    best: tuple[float, list[int], list[int]] | None = None
    for _ in range(1 if test and validation else _CANDIDATES):
        order = [int(index) for index in generator.permutation(free)]
        chosen_test = fixed_test or order[:n_test]
        rest = [index for index in order if index not in chosen_test]
        chosen_validation = fixed_validation or rest[:n_validation]
        score = _imbalance(table, chosen_test, chosen_validation)
        if best is None or score < best[0] - 1e-12:
            best = (score, chosen_test, chosen_validation)
    assert best is not None
    return {speakers[index] for index in best[1]}, {speakers[index] for index in best[2]}


def _imbalance(
    table: np.ndarray[tuple[int, ...], np.dtype[np.float64]], test: list[int], validation: list[int]
) -> float:
    """Squared distance of each part's label counts from its share of the whole, relative to the whole.

    `table` is `(speakers, labels)`. The share of a part is its share of the speakers, so this also keeps speakers
    with very many or very few utterances from making a part too large or too small.
    """
    total = table.sum(axis=0)
    train = [index for index in range(len(table)) if index not in {*test, *validation}]
    deviations = [table[part].sum(axis=0) / total - len(part) / len(table) for part in (train, validation, test)]
    return float(np.square(deviations).sum())


def _assign(utterances: Sequence[Utterance], test: set[str], validation: set[str]) -> Split:
    return Split(
        train=[row for row in utterances if row.speaker not in test | validation],
        validation=[row for row in utterances if row.speaker in validation],
        test=[row for row in utterances if row.speaker in test],
    )


def listing(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"

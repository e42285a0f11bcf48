"""What a prepared corpus holds, and what in it will harm a model: durations, labels, speakers, warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from satn_fast.audio import AudioError
from satn_fast.data.corpora import Preparation
from satn_fast.data.corpora.layout import UNLABELLED, Problems
from satn_fast.data.corpora.tables import UNKNOWN_SPEAKER
from satn_fast.data.inspection import Inspection, inspect_audio
from satn_fast.data.manifest import Utterance

__all__ = ["Share", "Summary", "inspect_corpus", "summarise"]

# A label this many times as frequent as another one is worth a warning.
_UNBALANCED = 3.0

# Times in annotations are rounded; a segment may end this much after its file, in seconds.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Share:
    """What a label or a speaker has of a corpus: utterances, seconds, and the counterparts (speakers or labels)."""

    utterances: int
    seconds: float
    counterparts: int


@dataclass(frozen=True)
class Summary:
    """A corpus in figures.

    Attributes:
        corpus: Its name.
        utterances: How many.
        files: How many audio files they lie in.
        seconds: How long all utterances are.
        labels: The share of each label, by name.
        speakers: The share of each speaker, by name.
        sample_rates: How many files have each rate, in Hz.
        label_map: What became of each of the corpus's own labels; `None`: left out.
        left_out: How many utterances were left out of each such label.
        warnings: What will harm a model, one line each.
        problems: What could not be used, one line each.
    """

    corpus: str
    utterances: int
    files: int
    seconds: float
    labels: Mapping[str, Share]
    speakers: Mapping[str, Share]
    sample_rates: Mapping[int, int]
    label_map: Mapping[str, str | None]
    left_out: Mapping[str, int]
    warnings: Sequence[str]
    problems: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it in types that JSON knows."""
        return asdict(self) | {"sample_rates": {str(rate): n for rate, n in self.sample_rates.items()}}


def inspect_corpus(
    utterances: Sequence[Utterance],
    problems: Problems,
    *,
    headers_only: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Utterance], dict[Path, Inspection]]:
    """Look at every audio file of a corpus once.

    Args:
        utterances: The corpus.
        problems: Told of files that are damaged and of utterances that lie outside of their file; where it skips such,
            also of silent files, which otherwise stay and are warned of by `summarise`.
        headers_only: Whether to read no samples, which is faster and finds neither clipping nor silence.
        progress: Called with the number of files done and of all.

    Returns:
        The utterances that can be used, and what their files hold.
    """
    files = list(dict.fromkeys(row.file for row in utterances))
    found: dict[Path, Inspection] = {}
    for done, file in enumerate(files, start=1):
        try:
            inspection = inspect_audio(file, headers_only=headers_only)
            if inspection.silent and problems.skip:
                problems.report(f"{file}: is silent (below -60 dB); record it again, or leave it out")
            else:
                found[file] = inspection
        except (AudioError, OSError) as error:
            problems.report(" ".join(str(error).split()))
        progress(done, len(files))
    usable = [row for row in utterances if row.file in found and _inside(row, found[row.file], problems)]
    used = {row.file for row in usable}
    return usable, {file: inspection for file, inspection in found.items() if file in used}


def _inside(row: Utterance, inspection: Inspection, problems: Problems) -> bool:
    length = inspection.duration
    inside = (row.start or 0.0) < length and (row.end is None or row.end <= length + _TOLERANCE)
    if not inside:
        end = "the end" if row.end is None else f"{row.end:g} s"
        problems.report(
            f"{row.file}: an utterance is to last from {row.start or 0.0:g} s to {end}, the file has {length:g} s; "
            "correct its times"
        )
    return inside


def summarise(preparation: Preparation, inspections: Mapping[Path, Inspection], *, sample_rate: int = 16000) -> Summary:
    """Put a corpus in figures.

    Args:
        preparation: The corpus, its utterances being those that can be used.
        inspections: What each of their files holds, from `inspect_corpus`.
        sample_rate: What the front end will work at, in Hz.

    Example:
        >>> corpus = Preparation("emodb", (Utterance(Path("1.wav"), "sad", "anna"),), {"T": "sad"}, {})
        >>> summary = summarise(corpus, {Path("1.wav"): Inspection(1.5, 48000, 1)})
        >>> summary.seconds, summary.labels["sad"].utterances
        (1.5, 1)
        >>> print(summary.warnings[-1])
        1 of 1 files are not at 16000 Hz (48000 Hz: 1); they are resampled whenever they are read
    """
    rows = preparation.utterances
    seconds = [_seconds(row, inspections[row.file]) for row in rows]
    labels = _shares([row.label for row in rows], seconds, [row.speaker for row in rows])
    speakers = _shares([row.speaker for row in rows], seconds, [row.label for row in rows])
    rates = Counter(inspection.sample_rate for inspection in inspections.values())
    return Summary(
        corpus=preparation.corpus,
        utterances=len(rows),
        files=len(inspections),
        seconds=sum(seconds),
        labels=labels,
        speakers=speakers,
        sample_rates=dict(sorted(rates.items())),
        label_map=dict(preparation.labels),
        left_out=dict(preparation.left_out),
        warnings=[
            *_label_warnings(labels),
            *_speaker_warnings(rows, speakers),
            *_audio_warnings(inspections, sample_rate),
        ],
        problems=list(preparation.problems),
    )


def _seconds(row: Utterance, inspection: Inspection) -> float:
    return min(inspection.duration, row.end or inspection.duration) - (row.start or 0.0)


def _shares(names: Sequence[str], seconds: Sequence[float], others: Sequence[str]) -> dict[str, Share]:
    shares: dict[str, tuple[int, float, set[str]]] = {}
    for name, length, other in zip(names, seconds, others, strict=True):
        count, total, counterparts = shares.get(name, (0, 0.0, set()))
        shares[name] = (count + 1, total + length, counterparts | {other})
    return {name: Share(n, total, len(counterparts)) for name, (n, total, counterparts) in sorted(shares.items())}


def _label_warnings(labels: Mapping[str, Share]) -> list[str]:
    if set(labels) == {UNLABELLED}:
        return []
    warnings = []
    most = max(labels, key=lambda name: labels[name].utterances)
    least = min(labels, key=lambda name: labels[name].utterances)
    if labels[most].utterances > _UNBALANCED * labels[least].utterances:
        warnings.append(
            f"labels are unbalanced: {most} has {labels[most].utterances} utterances, {least} has "
            f"{labels[least].utterances}; judge by unweighted recall, and weight or merge labels"
        )
    if len(labels) == 1:
        warnings.append(f"there is one label only, {most}: nothing can be learnt from it; check the label map")
    elif few := [name for name, share in labels.items() if share.counterparts == 1]:
        warnings.append(
            f"only one speaker has {_listing(few)}: the voice gives the label away; add speakers or leave the label out"
        )
    return warnings


def _speaker_warnings(rows: Sequence[Utterance], speakers: Mapping[str, Share]) -> list[str]:
    warnings = []
    if UNKNOWN_SPEAKER in speakers:
        warnings.append(
            f"{speakers[UNKNOWN_SPEAKER].utterances} utterances have the speaker {UNKNOWN_SPEAKER!r}: no split can "
            "keep their speakers apart; name a --speaker-column, or use `prepare pattern`"
        )
    if len(speakers) < 3:
        warnings.append(f"speakers: {len(speakers)}; a split by speaker needs three (training, validation, test)")
    splits = [(row.speaker, row.extra.get("split", "")) for row in rows]
    if overlap := _in_several(splits):
        warnings.append(
            f"speakers overlap: {_listing(overlap)} occur in several parts of the column split; scores will be too "
            "good, split by speaker instead"
        )
    if overlap := _in_several([(row.speaker, row.session or "") for row in rows]):
        warnings.append(
            f"speakers overlap: {_listing(overlap)} occur in several sessions; leave out speakers, not sessions"
        )
    return warnings


def _in_several(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Who occurs with more than one second element, empty ones not counted."""
    counts = Counter(speaker for speaker, part in set(pairs) if part)
    return sorted(speaker for speaker, n in counts.items() if n > 1)


def _audio_warnings(inspections: Mapping[Path, Inspection], sample_rate: int) -> list[str]:
    warnings = []
    total = len(inspections)
    if other := Counter(found.sample_rate for found in inspections.values() if found.sample_rate != sample_rate):
        rates = ", ".join(f"{rate} Hz: {n}" for rate, n in sorted(other.items()))
        warnings.append(
            f"{other.total()} of {total} files are not at {sample_rate} Hz ({rates}); "
            "they are resampled whenever they are read"
        )
    kinds = (
        ("have several channels", lambda found: found.channels > 1, "training takes the mean of the channels"),
        ("are clipped", lambda found: bool(found.clipped), "record them with less gain, or leave them out"),
        ("are shorter than one frame (25 ms)", lambda found: found.duration < 0.025, "leave them out"),
        ("are silent (below -60 dB)", lambda found: found.silent, "leave them out with --on-error skip"),
    )
    for what, applies, remedy in kinds:
        if files := [str(file) for file, found in inspections.items() if applies(found)]:
            warnings.append(f"{len(files)} of {total} files {what}: {_listing(files, 3)}; {remedy}")
    return warnings


def _listing(names: Sequence[str], shown: int = 8) -> str:
    """A few names, and how many more there are."""
    text = ", ".join(names[:shown])
    return text if len(names) <= shown else f"{text} and {len(names) - shown} more"

"""From the labels that a corpus writes to those of the manifest, by a map that is shown and can be changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from satn_fast.data.corpora.layout import UNLABELLED, LayoutError, Problems
from satn_fast.data.manifest import Utterance

__all__ = ["LabelMap", "label_map", "parse_labels", "relabel"]

LabelMap = Mapping[str, str | None]
"""The corpus's label to ours; `None` leaves its utterances out."""

_NOTHING: LabelMap = MappingProxyType({})


def parse_labels(text: str) -> dict[str, str | None]:
    """Read changes of a label map from `old=new,old=new`; nothing after the sign leaves a label out.

    Raises:
        ValueError: If a part has no `=`, names no label before it, or a label is named twice.

    Example:
        >>> parse_labels("anger=angry, calm=")
        {'anger': 'angry', 'calm': None}
    """
    changes: dict[str, str | None] = {}
    for part in text.split(","):
        old, sign, new = (piece.strip() for piece in part.partition("="))
        if not sign or not old:
            raise ValueError(f"labels: {part.strip()!r} is not old=new; write for example anger=angry,calm=")
        if old in changes:
            raise ValueError(f"labels: {old} is named twice; give it one new label")
        changes[old] = new or None
    return changes


def label_map(
    utterances: Sequence[Utterance], known: LabelMap | None, changes: LabelMap = _NOTHING
) -> dict[str, str | None]:
    """The map for a corpus: its usual one, with changes.

    Args:
        utterances: What was read, with the corpus's own labels.
        known: The usual map; `None` keeps every label as it is and leaves out what has none.
        changes: By the corpus's label, or by the usual new one (which changes all that lead to it).

    Raises:
        LayoutError: If a change is for a label that there is not.

    Example:
        >>> from pathlib import Path
        >>> corpus = [Utterance(Path("1.wav"), "W", "anna"), Utterance(Path("2.wav"), "N", "anna")]
        >>> label_map(corpus, {"W": "angry", "N": "neutral"}, {"W": "hot", "neutral": None})
        {'W': 'hot', 'N': None}
    """
    present = sorted({row.label for row in utterances})
    usual = {code: None if code == UNLABELLED else code for code in present} if known is None else dict(known)
    result = dict(usual)
    for old, new in changes.items():
        codes = [old] if old in usual or old in present else [code for code, label in usual.items() if label == old]
        if not codes:
            there = ", ".join(dict.fromkeys([*usual, *present]))
            raise LayoutError(f"labels: {old!r} is no label of this corpus; it has {there}")
        result.update(dict.fromkeys(codes, new))
    return result


def relabel(
    utterances: Sequence[Utterance], labels: LabelMap, problems: Problems
) -> tuple[list[Utterance], dict[str, int]]:
    """Replace the corpus's labels by those of the map.

    Args:
        utterances: What was read.
        labels: From `label_map`.
        problems: Told of utterances whose label the map does not know.

    Returns:
        The utterances that stay, and how many were left out of each label that leads to `None`.

    Example:
        >>> from pathlib import Path
        >>> corpus = [Utterance(Path("1.wav"), "W", "anna"), Utterance(Path("2.wav"), "L", "anna")]
        >>> rows, left_out = relabel(corpus, {"W": "angry", "L": None}, Problems())
        >>> [row.label for row in rows], left_out
        (['angry'], {'L': 1})
    """
    rows: list[Utterance] = []
    left_out: Counter[str] = Counter()
    for row in utterances:
        if row.label not in labels:
            problems.report(
                f"{row.file}: its label {row.label!r} is not known ({', '.join(labels)} are); "
                f"say what it means with --labels {row.label}=NAME"
            )
        elif (label := labels[row.label]) is None:
            left_out[row.label] += 1
        else:
            rows.append(replace(row, label=label))
    return rows, dict(sorted(left_out.items()))

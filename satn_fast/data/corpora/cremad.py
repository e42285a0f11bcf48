"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset (Cao et al., 2014).

    AudioWAV/1001_DFA_ANG_XX.wav
    VideoDemographics.csv            (optional; in `root` or above it: ActorID,Age,Sex,Race,Ethnicity)

A name: actor, sentence, emotion (below), its level (LO, MD, HI, or XX where none was asked for; one file says X).
The label is the emotion that was acted, not what listeners heard.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from satn_fast.data.corpora.layout import Problems, existing_folder, read_by_name
from satn_fast.data.manifest import Utterance

__all__ = ["LABELS", "read_cremad"]

LABELS: dict[str, str | None] = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}

_NAME = re.compile(r"(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>LO|MD|HI|XX?)")
_SENTENCES = {
    "DFA": "Don't forget a jacket.",
    "IEO": "It's eleven o'clock.",
    "IOM": "I'm on my way to the meeting.",
    "ITH": "I think I have a doctor's appointment.",
    "ITS": "I think I've seen this before.",
    "IWL": "I would like a new alarm clock.",
    "IWW": "I wonder what this is about.",
    "MTI": "Maybe tomorrow it will be cold.",
    "TAI": "The airplane is almost full.",
    "TIE": "That is exactly what happened.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}


def read_cremad(root: Path, problems: Problems) -> list[Utterance]:
    """Read the recordings of CREMA-D below `root`, whatever they are packed in.

    Returns:
        Utterances whose labels are the codes of `LABELS`; further columns `intensity`, `sentence` and,
        where `VideoDemographics.csv` lies in `root` or above it, `gender` and `age`.

    Raises:
        LayoutError: If the folder holds no such file, or one with another name (unless `problems` skips it).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "1001_DFA_ANG_XX.wav").touch()
        >>> [row] = read_cremad(folder, Problems())
        >>> row.label, row.speaker, row.text
        ('ANG', '1001', "Don't forget a jacket.")
    """
    root = existing_folder(root, "CREMA-D")
    actors = _demographics(root)

    def utterance(file: Path, match: re.Match[str]) -> Utterance:
        extra = {"intensity": _LEVELS.get(match["level"], ""), "sentence": match["sentence"]}
        if actors:
            extra |= actors.get(match["actor"], {"gender": "", "age": ""})
        return Utterance(file, match["emotion"], match["actor"], text=_SENTENCES.get(match["sentence"]), extra=extra)

    return read_by_name(root, problems, scheme=_NAME, example="1001_DFA_ANG_XX.wav", utterance=utterance)


def _demographics(root: Path) -> dict[str, dict[str, str]]:
    for folder in (root, root.resolve().parent):
        if (file := folder / "VideoDemographics.csv").is_file():
            with open(file, encoding="utf-8-sig", newline="") as table:
                return {
                    row.get("ActorID") or "": {"gender": (row.get("Sex") or "").lower(), "age": row.get("Age") or ""}
                    for row in csv.DictReader(table)
                }
    return {}

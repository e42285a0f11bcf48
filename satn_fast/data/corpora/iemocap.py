r"""IEMOCAP, the Interactive Emotional Dyadic Motion Capture database (Busso et al., 2008).

    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt
    Session1/dialog/transcriptions/Ses01F_impro01.txt                      (optional)
    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav

A line of `EmoEvaluation` that counts (the others are single annotators'):

    [6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]

that is times in the dialogue, utterance, the label that most annotators agreed on (`xxx`: none), and valence,
activation and dominance from 1 to 5. The speaker is the session with the letter of the *last* part (`Ses01F` here);
the first letter only says who wore the markers. `impro` dialogues are improvised, `script` ones are acted plays.

The usual four classes: neutral, happy (with excited), sad, angry. Of the full release, these are 5,531 utterances.
"""

from __future__ import annotations

import re
from pathlib import Path

from satn_fast.data.corpora.layout import LayoutError, Problems, existing_folder, files_by_name
from satn_fast.data.manifest import Utterance

__all__ = ["LABELS", "LABELS_EXCITED_APART", "read_iemocap"]

LABELS: dict[str, str | None] = {
    "neu": "neutral",
    "hap": "happy",
    "exc": "happy",
    "sad": "sad",
    "ang": "angry",
    "fru": None,
    "fea": None,
    "sur": None,
    "dis": None,
    "oth": None,
    "xxx": None,
}
LABELS_EXCITED_APART: dict[str, str | None] = LABELS | {"exc": "excited"}

_NUMBER = r"\s*(-?[\d.]+)\s*"
_TURN = re.compile(
    rf"\[{_NUMBER}-{_NUMBER}\]\s+(?P<name>Ses\d\d[FM]_\w+_[FM]\w*\d)\s+(?P<label>\w+)\s+\[{_NUMBER},{_NUMBER},{_NUMBER}\]\s*"
)
_TRANSCRIPT = re.compile(r"(?P<name>Ses\d\d[FM]_\w+_[FM]\w*\d)\s+\[[^\]]*\]:\s*(?P<text>.*)")


def read_iemocap(root: Path, problems: Problems, *, improvised_only: bool = False) -> list[Utterance]:
    """Read the labelled utterances of IEMOCAP, one sentence file each.

    Args:
        root: The folder with `Session1` to `Session5` (some of them will do), or the one above it.
        problems: Told of labelled utterances without a sentence file, and of lines that cannot be read.
        improvised_only: Whether to leave the scripted dialogues out.

    Returns:
        Utterances whose labels are the codes of `LABELS`, by session; further columns `dialog`, `style`, `gender`,
        `valence`, `activation`, `dominance`.

    Raises:
        LayoutError: If the folders are not there, or something in them cannot be used (unless `problems` skips it).
    """
    root = existing_folder(root, "IEMOCAP")
    sessions = sorted(
        {*_sessions(root), *(session for below in root.iterdir() if below.is_dir() for session in _sessions(below))}
    )
    utterances = []
    for session in sessions:
        for evaluation in sorted((session / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
            if not improvised_only or "impro" in evaluation.stem:
                utterances += _read_dialog(session, evaluation, problems)
    if not utterances:
        which = "improvised turns" if improvised_only and sessions else "Session*/dialog/EmoEvaluation/Ses*.txt"
        raise LayoutError(f"{root}: holds no {which}; give the folder with Session1 to Session5 of the full release")
    return utterances


def _sessions(folder: Path) -> list[Path]:
    return [path for path in folder.glob("Session*") if (path / "dialog" / "EmoEvaluation").is_dir()]


def _read_dialog(session: Path, evaluation: Path, problems: Problems) -> list[Utterance]:
    texts = _read_transcript(session / "dialog" / "transcriptions" / evaluation.name)
    folder = session / "sentences" / "wav" / evaluation.stem
    files = files_by_name(folder, problems)
    utterances = []
    for number, line in enumerate(_lines(evaluation), start=1):
        if not line.startswith("["):
            continue
        match = _TURN.fullmatch(line)
        if match is None:
            problems.report(f"{evaluation}, line {number}: is not [start - end] name label [v, a, d]; copy it again")
            continue
        name = match["name"]
        file = files.get(name)
        if file is None:
            problems.report(
                f"{folder / name}.wav: no such file, nor another packing of it, but {evaluation} labels it; unpack the "
                "sentences again"
            )
            continue
        utterances.append(_utterance(file, session.name, evaluation.stem, match, texts.get(name)))
    return utterances


def _utterance(file: Path, session: str, dialog: str, match: re.Match[str], text: str | None) -> Utterance:
    name = match["name"]
    gender = name.rsplit("_", 1)[1][0]
    return Utterance(
        file,
        label=match["label"],
        speaker=name[:5] + gender,
        session=session,
        text=text,
        extra={
            "dialog": dialog,
            "style": "improvised" if "impro" in dialog else "scripted",
            "gender": "female" if gender == "F" else "male",
            "valence": match[5],
            "activation": match[6],
            "dominance": match[7],
        },
    )


def _read_transcript(file: Path) -> dict[str, str]:
    matches = (_TRANSCRIPT.fullmatch(line) for line in (_lines(file) if file.is_file() else []))
    return {match["name"]: match["text"].strip() for match in matches if match and match["text"].strip()}


def _lines(file: Path) -> list[str]:
    # Some transcriptions of the release hold bytes of Windows code pages.
    return file.read_text(encoding="utf-8", errors="replace").splitlines()

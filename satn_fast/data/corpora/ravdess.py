"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song (Livingstone & Russo, 2018).

    Actor_01/03-01-06-01-02-01-12.wav

The seven numbers of a name: modality (03 is audio only), vocal channel (01 speech, 02 song), emotion (below),
intensity (01 normal, 02 strong), statement (01, 02), repetition (01, 02), actor (01 to 24; odd is male, even female).
Speech comes as `Audio_Speech_Actors_01-24`, song as `Audio_Song_Actors_01-24`. Song has labels of its own
(`song-05`), which are left out unless asked for.
"""

from __future__ import annotations

import re
from pathlib import Path

from satn_fast.data.corpora.layout import Problems, existing_folder, read_by_name
from satn_fast.data.manifest import Utterance

__all__ = ["LABELS", "read_ravdess"]

_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
LABELS: dict[str, str | None] = {**_EMOTIONS, **{f"song-{code}": None for code in ("01", "02", "03", "04", "05", "06")}}

_NAME = re.compile(
    r"\d\d-(?P<channel>0[12])-(?P<emotion>\d\d)-(?P<intensity>0[12])-(?P<statement>0[12])-\d\d-(?P<actor>\d\d)"
)
_STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


def read_ravdess(root: Path, problems: Problems) -> list[Utterance]:
    """Read the recordings of RAVDESS, in any number of folders below `root`, whatever they are packed in.

    Returns:
        Utterances whose labels are the codes of `LABELS`; further columns `gender`, `intensity`
        and `sentence`.

    Raises:
        LayoutError: If the folder holds no such file, or one with another name (unless `problems` skips it).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "03-01-06-01-02-01-12.wav").touch()
        >>> [row] = read_ravdess(folder, Problems())
        >>> row.label, row.speaker, row.text, row.extra
        ('06', '12', 'Dogs are sitting by the door', {'gender': 'female', 'intensity': 'normal', 'sentence': '02'})
    """
    return read_by_name(
        existing_folder(root, "RAVDESS"),
        problems,
        scheme=_NAME,
        example="03-01-06-01-02-01-12.wav",
        utterance=_utterance,
    )


def _utterance(file: Path, match: re.Match[str]) -> Utterance:
    actor = match["actor"]
    return Utterance(
        file,
        label=match["emotion"] if match["channel"] == "01" else f"song-{match['emotion']}",
        speaker=actor,
        text=_STATEMENTS[match["statement"]],
        extra={
            "gender": "male" if int(actor) % 2 else "female",
            "intensity": "normal" if match["intensity"] == "01" else "strong",
            "sentence": match["statement"],
        },
    )

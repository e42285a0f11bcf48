"""EMO-DB, the Berlin Database of Emotional Speech (Burkhardt et al., 2005).

    wav/03a01Fa.wav

A name: speaker (03), sentence (a01), emotion by the first letter of its German name (below), version (a, b, ...).
The original release; the one in audformat is read by `prepare audformat`.
"""

from __future__ import annotations

import re
from pathlib import Path

from satn_fast.data.corpora.layout import Problems, existing_folder, read_by_name
from satn_fast.data.manifest import Utterance

__all__ = ["LABELS", "read_emodb"]

LABELS: dict[str, str | None] = {
    "W": "angry",  # Wut, or Aerger
    "L": "bored",  # Langeweile
    "E": "disgusted",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])")
_MALE = {"03", "10", "11", "12", "15"}
_FEMALE = {"08", "09", "13", "14", "16"}
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read_emodb(root: Path, problems: Problems) -> list[Utterance]:
    """Read the recordings of EMO-DB below `root`, whatever they are packed in.

    Returns:
        Utterances whose labels are the letters of `LABELS`; further columns `gender` and `sentence`.

    Raises:
        LayoutError: If the folder holds no such file, or one with another name (unless `problems` skips it).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "03a01Fa.wav").touch()
        >>> [row] = read_emodb(folder, Problems())
        >>> row.label, row.speaker, row.text, row.extra
        ('F', '03', 'Der Lappen liegt auf dem Eisschrank.', {'gender': 'male', 'sentence': 'a01'})
    """
    return read_by_name(
        existing_folder(root, "EMO-DB"), problems, scheme=_NAME, example="03a01Fa.wav", utterance=_utterance
    )


def _utterance(file: Path, match: re.Match[str]) -> Utterance:
    speaker = match["speaker"]
    gender = "male" if speaker in _MALE else "female" if speaker in _FEMALE else ""
    text = _SENTENCES.get(match["sentence"])
    extra = {"gender": gender, "sentence": match["sentence"]}
    return Utterance(file, match["emotion"], speaker, text=text, extra=extra)

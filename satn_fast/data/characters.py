"""The characters of a corpus: targets for a CTC source task where no phonemes are known."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from satn_fast.data.manifest import Utterance

__all__ = ["character_inventory", "read_characters"]

_APOSTROPHES = str.maketrans("\u2019\u02bc", "''")


def read_characters(utterance: Utterance) -> list[str]:
    """Return the characters of what is said: letters in lower case, apostrophes, and single blanks between words.

    Digits and punctuation are not spoken as they are written: they are left out. Combined letters are one symbol
    (Unicode NFC).

    Args:
        utterance: With a `text`.

    Returns:
        The symbols in order.

    Raises:
        ValueError: If the utterance has no text, or no letter in it.

    Example:
        >>> from pathlib import Path
        >>> "".join(read_characters(Utterance(Path("1.wav"), "sad", "anna", text="Don't  go, 2nd!")))
        "don't go nd"
    """
    text = unicodedata.normalize("NFC", utterance.text or "").translate(_APOSTROPHES).lower()
    kept = "".join(letter if letter.isalpha() or letter == "'" else " " for letter in text)
    symbols = list(" ".join(kept.split()))
    if not any(symbol.isalpha() for symbol in symbols):
        raise ValueError(
            f"{utterance.file}: the manifest gives no text; add it, or train the source task on phonemes, or as an "
            "autoencoder"
        )
    return symbols


def character_inventory(utterances: Iterable[Utterance]) -> list[str]:
    """Return the characters that occur in a corpus, each once, sorted.

    Raises:
        ValueError: If an utterance has no text.

    Example:
        >>> from pathlib import Path
        >>> character_inventory([Utterance(Path("1.wav"), "sad", "anna", text="Oh no")])
        [' ', 'h', 'n', 'o']
    """
    return sorted({symbol for utterance in utterances for symbol in read_characters(utterance)})

"""The phonemes of a corpus: one small inventory for all accents, and targets for a CTC source task."""

from __future__ import annotations

from collections.abc import Iterable

from satn_fast.data.manifest import Utterance

__all__ = ["PHONEMES", "phoneme_inventory", "read_phonemes", "split_symbol"]

PHONEMES: tuple[str, ...] = (
    *("p", "b", "t", "d", "k", "ɡ", "tʃ", "dʒ", "f", "v", "θ", "ð", "s", "z", "ʃ", "ʒ", "h"),
    *("m", "n", "ŋ", "l", "ɹ", "ɾ", "j", "w"),
    *("i", "ɪ", "ɛ", "æ", "ɑ", "ɒ", "ɔ", "ʊ", "u", "ʌ", "ə", "ɜ", "ɚ"),
    *("eɪ", "aɪ", "ɔɪ", "aʊ", "oʊ", "əʊ"),
)
"""Every symbol that `render_corpus` writes, in IPA: 25 consonants, 13 vowels, 6 diphthongs."""

# What espeak-ng calls a phoneme, once stress and length marks are gone, where it is not in PHONEMES: allophones of
# one accent, and vowels with a glued-on schwa, r or l, which become two symbols.
_REWRITES: dict[str, tuple[str, ...]] = {
    "a": ("æ",),
    "aa": ("æ",),
    "ɐ": ("ə",),
    "ᵻ": ("ɪ",),
    "e": ("eɪ",),
    "əɪ": ("ɜ",),
    "o": ("əʊ",),
    "æʊ": ("aʊ",),
    "əl": ("ə", "l"),
    "ɛə": ("æ",),
    "eə": ("ɛ", "ə"),
    "iə": ("ɪ", "ə"),
    "ʊə": ("ʊ", "ə"),
    "aɪə": ("aɪ", "ə"),
    "aɪɚ": ("aɪ", "ɚ"),
    "ɑɹ": ("ɑ", "ɹ"),
    "ɔɹ": ("ɔ", "ɹ"),
    "oɹ": ("ɔ", "ɹ"),
    "ɛɹ": ("ɛ", "ɹ"),
    "ɪɹ": ("ɪ", "ɹ"),
    "ʊɹ": ("ʊ", "ɹ"),
}
_MARKS = str.maketrans("", "", "ˈˌːˑ̩̃")


def split_symbol(symbol: str) -> tuple[str, ...]:
    """Turn a phoneme symbol of espeak-ng into symbols of `PHONEMES`.

    Args:
        symbol: In IPA, possibly with stress and length marks; empty for a pause.

    Returns:
        No symbol for a pause, else one or two.

    Raises:
        ValueError: If the symbol is not known.

    Example:
        >>> split_symbol("ˈɔːɹ"), split_symbol("tʃ"), split_symbol("")
        (('ɔ', 'ɹ'), ('tʃ',), ())
    """
    plain = symbol.translate(_MARKS)
    if not plain:
        return ()
    if plain in PHONEMES:
        return (plain,)
    if plain not in _REWRITES:
        raise ValueError(f"espeak-ng symbol {symbol!r} is in no rule of satn_fast.data.phonemes; add one")
    return _REWRITES[plain]


def read_phonemes(utterance: Utterance) -> list[str]:
    """Return the phonemes of an utterance, from the `phonemes` column of its manifest (symbols between blanks).

    Args:
        utterance: As read by `read_manifest` or returned by `render_corpus`.

    Returns:
        The symbols in order.

    Raises:
        ValueError: If the utterance has no phonemes.

    Example:
        >>> from pathlib import Path
        >>> read_phonemes(Utterance(Path("1.wav"), "sad", "anna", extra={"phonemes": "h aɪ"}))
        ['h', 'aɪ']
    """
    symbols = utterance.extra.get("phonemes", "").split()
    if not symbols:
        raise ValueError(
            f"{utterance.file}: the manifest gives no phonemes (symbols between blanks in a column 'phonemes'); "
            "add them, or train the source task on characters"
        )
    return symbols


def phoneme_inventory(utterances: Iterable[Utterance]) -> list[str]:
    """Return the phonemes that occur in a corpus, each once, sorted.

    Args:
        utterances: The corpus; every utterance has phonemes.

    Returns:
        The symbols; a CTC head needs one output for each, and one for blank.

    Raises:
        ValueError: If an utterance has no phonemes.

    Example:
        >>> from pathlib import Path
        >>> phoneme_inventory([Utterance(Path("1.wav"), "sad", "anna", extra={"phonemes": "h aɪ h"})])
        ['aɪ', 'h']
    """
    return sorted({symbol for utterance in utterances for symbol in read_phonemes(utterance)})

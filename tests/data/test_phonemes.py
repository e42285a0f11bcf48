from pathlib import Path

import pytest

from satn_fast.data import PHONEMES, Utterance, phoneme_inventory, read_phonemes
from satn_fast.data.phonemes import _REWRITES, split_symbol


def utterance(phonemes):
    return Utterance(Path("a.wav"), "sad", "anna", extra={} if phonemes is None else {"phonemes": phonemes})


def test_the_inventory_is_small_and_clean():
    assert 40 <= len(PHONEMES) <= 50
    assert len(set(PHONEMES)) == len(PHONEMES)
    assert not set("".join(PHONEMES)) & set("ˈˌː \t_|")


def test_every_rewrite_ends_in_the_inventory():
    assert {symbol for symbols in _REWRITES.values() for symbol in symbols} <= set(PHONEMES)
    assert not set(_REWRITES) & set(PHONEMES)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [("", ()), ("ˈ", ()), ("ˌoʊ", ("oʊ",)), ("ˈɜː", ("ɜ",)), ("ˈɔːɹ", ("ɔ", "ɹ")), ("aɪɚ", ("aɪ", "ɚ")), ("p", ("p",))],
)
def test_marks_go_and_glued_vowels_are_split(symbol, expected):
    assert split_symbol(symbol) == expected


def test_an_unknown_symbol_is_not_dropped():
    with pytest.raises(ValueError, match="'ʘ' is in no rule"):
        split_symbol("ʘ")


def test_phonemes_are_read_from_the_manifest_column():
    assert read_phonemes(utterance("h ə l oʊ")) == ["h", "ə", "l", "oʊ"]
    assert phoneme_inventory([utterance("l oʊ"), utterance("h ə l oʊ")]) == ["h", "l", "oʊ", "ə"]


@pytest.mark.parametrize("missing", [None, "", "  "])
def test_missing_phonemes_are_named(missing):
    with pytest.raises(ValueError, match=r"a\.wav: the manifest gives no phonemes"):
        read_phonemes(utterance(missing))

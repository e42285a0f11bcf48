import random
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.data import (
    SpeakerOverlapWarning,
    Utterance,
    check_speaker_overlap,
    leave_one_speaker_out,
    split_by_speaker,
)

LABELS = ("angry", "happy", "neutral", "sad")


def corpus(n_speakers, labels=LABELS, repeats=2):
    return [
        Utterance(Path(f"s{s:02d}_{label}_{i}.wav"), label, f"s{s:02d}")
        for s in range(n_speakers)
        for label in labels
        for i in range(repeats)
    ]


def speakers(part):
    return {row.speaker for row in part}


def parts(split):
    return split.train, split.validation, split.test


rows = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(LABELS)), min_size=3, max_size=80).filter(
    lambda pairs: len({speaker for speaker, _ in pairs}) >= 3
)


@given(rows, st.integers(0, 2**32))
def test_a_split_is_disjoint_complete_and_never_empty(pairs, seed):
    utterances = [Utterance(Path(f"{i}.wav"), label, f"s{speaker}") for i, (speaker, label) in enumerate(pairs)]
    split = split_by_speaker(utterances, seed=seed)
    train, validation, test = (speakers(part) for part in parts(split))
    assert train
    assert validation
    assert test
    assert len(train | validation | test) == len(train) + len(validation) + len(test)
    assert sorted(row.file for part in parts(split) for row in part) == sorted(row.file for row in utterances)


@given(rows)
def test_every_speaker_is_left_out_once_and_never_validates_its_own_model(pairs):
    utterances = [Utterance(Path(f"{i}.wav"), label, f"s{speaker}") for i, (speaker, label) in enumerate(pairs)]
    splits = list(leave_one_speaker_out(utterances))
    assert [speakers(split.test) for split in splits] == [{s} for s in sorted(speakers(utterances))]
    for split in splits:
        train, validation, test = (speakers(part) for part in parts(split))
        assert len(validation) == 1
        assert train
        assert len(train | validation | test) == len(train) + len(validation) + len(test)
        assert sum(map(len, parts(split))) == len(utterances)


def test_a_split_depends_on_the_seed_and_not_on_the_order():
    utterances = corpus(16)
    shuffled = random.Random(1).sample(utterances, len(utterances))
    chosen = [speakers(split_by_speaker(utterances, seed=seed).test) for seed in range(10)]
    assert chosen == [speakers(split_by_speaker(shuffled, seed=seed).test) for seed in range(10)]
    assert len(set(map(frozenset, chosen))) > 5


def test_the_fractions_count_speakers():
    split = split_by_speaker(corpus(16))
    assert [len(speakers(part)) for part in parts(split)] == [10, 2, 4]
    split = split_by_speaker(corpus(16), test_fraction=0.5, validation_fraction=0.25)
    assert [len(speakers(part)) for part in parts(split)] == [4, 4, 8]


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_balanced_where_the_speakers_allow_it(seed):
    # Half of the speakers have only two of the labels each; a fair test part takes one of each half.
    utterances = []
    for s in range(8):
        labels = LABELS[:2] if s < 4 else LABELS[2:]
        utterances += [Utterance(Path(f"{s}_{label}.wav"), label, f"s{s}") for label in labels]
    split = split_by_speaker(utterances, seed=seed, validation_fraction=0.25)
    for part in parts(split):
        assert len(set(Counter(row.label for row in part).values())) == 1
        assert {row.label for row in part} == set(LABELS)


def test_given_speakers_are_kept_and_the_rest_is_drawn():
    split = split_by_speaker(corpus(8), test_speakers=["s03"], validation_speakers=["s05", "s06"])
    assert speakers(split.test) == {"s03"}
    assert speakers(split.validation) == {"s05", "s06"}
    assert speakers(split.train) == {"s00", "s01", "s02", "s04", "s07"}
    split = split_by_speaker(corpus(8), test_speakers=["s03"])
    assert speakers(split.test) == {"s03"}
    assert len(speakers(split.validation)) == 1


@pytest.mark.parametrize(
    ("n_speakers", "options", "message"),
    [
        (2, {}, "2 speakers cannot make.*add speakers"),
        (0, {}, "0 speakers cannot make"),
        (4, {"test_fraction": 0.9}, "cannot make 4 for test"),
        (4, {"test_fraction": 0.0}, "test_fraction must lie between 0 and 1"),
        (4, {"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1"),
        (4, {"test_speakers": ["anna"]}, "test_speakers: anna not in the corpus, which has s00, s01"),
        (4, {"test_speakers": "s00"}, "must be a list"),
        (4, {"test_speakers": []}, "is empty"),
        (4, {"validation_speakers": ["s00", "s00"]}, "named twice"),
        (4, {"test_speakers": ["s00"], "validation_speakers": ["s00"]}, "s00.* are both"),
        (3, {"test_speakers": ["s00", "s01"]}, "cannot make 2 for test"),
    ],
)
def test_an_impossible_split_says_why(n_speakers, options, message):
    with pytest.raises(ValueError, match=message):
        split_by_speaker(corpus(n_speakers), **options)


def test_two_speakers_cannot_be_left_out_in_turn():
    with pytest.raises(ValueError, match="needs three speakers.*the corpus has 2: s00, s01"):
        next(leave_one_speaker_out(corpus(2)))


def test_the_validation_speaker_shows_all_labels():
    utterances = [row for row in corpus(4) if row.speaker != "s01" or row.label == "sad"]
    assert [speakers(s.validation) for s in leave_one_speaker_out(utterances)] == [{"s02"}, {"s02"}, {"s03"}, {"s00"}]


def test_an_overlap_is_a_warning_that_names_the_speakers():
    utterances = corpus(3)
    with pytest.warns(SpeakerOverlapWarning, match="1 speakers are in both parts: s01"):
        assert check_speaker_overlap(utterances[:10], utterances[10:]) == ["s01"]


def test_no_overlap_is_no_warning():
    split = split_by_speaker(corpus(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_speaker_overlap(split.train, split.test) == []

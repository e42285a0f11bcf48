import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast import SourceModel
from satn_fast.training import FeatureDataset, TrainingOptions, phoneme_error_rate, train_source
from satn_fast.training.source import collapse, edit_distance

from ..models.test_reference import small_config
from .tones import symbols

OPTIONS = TrainingOptions(epochs=25, batch_size=8, learning_rate=0.02, augmentation=None)


def test_recognises_symbols_it_has_learned():
    result = train_source(small_config(normalization="global"), ("a", "b"), symbols(64, 0), symbols(16, 1), OPTIONS)
    rates = [record["error_rate"] for record in result.history]
    assert rates[result.best_epoch - 1] == min(rates)
    assert phoneme_error_rate(result.model, symbols(16, 1)) == pytest.approx(min(rates))
    assert phoneme_error_rate(result.model, symbols(32, 2)) < 0.1
    assert rates[0] > 0.5


def test_equal_seeds_give_equal_numbers_and_leave_the_outside_alone():
    options = TrainingOptions(epochs=2, seed=3)
    before = torch.random.get_rng_state()
    runs = [train_source(small_config(dropout=0.2), ("a", "b"), symbols(20, 0), symbols(4, 1), options) for _ in "ab"]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert runs[0].history == runs[1].history
    for left, right in zip(*(run.model.parameters() for run in runs), strict=True):
        assert torch.equal(left, right)


def test_untrained_and_silent_models_have_defined_error_rates():
    model = SourceModel(small_config(), ("a", "b"))
    model.head.weight.data.zero_()
    model.head.bias.data = torch.tensor([1.0, 0.0, 0.0])  # blank always wins: every symbol is deleted
    assert phoneme_error_rate(model, symbols(4, 0)) == 1.0
    assert phoneme_error_rate(model, FeatureDataset([], [])) == 0.0


def test_no_epochs_or_utterances_are_refused():
    nothing = FeatureDataset([], [])
    with pytest.raises(ValueError, match="at least one"):
        train_source(small_config(), ("a", "b"), nothing, symbols(2, 0))
    with pytest.raises(ValueError, match="at least one"):
        train_source(small_config(), ("a", "b"), symbols(2, 0), symbols(2, 0), TrainingOptions(epochs=0))


def test_paths_collapse_as_ctc_says():
    assert collapse([0, 1, 1, 0, 1, 2, 2, 0]) == [1, 1, 2]
    assert collapse([]) == []


words = st.lists(st.integers(1, 3), max_size=8)


@given(words, words, words)
def test_edit_distance_is_a_metric(a, b, c):
    assert edit_distance(a, a) == 0
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_edit_distance_of_known_words():
    assert edit_distance([*map(ord, "kitten")], [*map(ord, "sitting")]) == 3

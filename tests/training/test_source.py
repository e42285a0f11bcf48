import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast import SourceModel
from satn_fast.training import (
    FeatureDataset,
    StyleMixing,
    TrainingOptions,
    batches,
    phoneme_error_rate,
    train_autoencoder,
    train_source,
)
from satn_fast.training.source import collapse, edit_distance
from satn_fast.training.task import mean_activity

from ..models.test_reference import small_config
from .tones import symbols

OPTIONS = TrainingOptions(epochs=25, batch_size=8, learning_rate=0.02, augmentation=())


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


def test_activity_penalty_bounds_what_the_tcn_gives_to_attention():
    data = symbols(32, 0)
    batch = next(iter(batches(data, 32)))

    def activity(penalty):
        options = TrainingOptions(epochs=6, batch_size=8, learning_rate=0.02, activity_penalty=penalty)
        model = train_source(small_config(normalization="global"), ("a", "b"), data, symbols(4, 1), options).model
        return float(mean_activity(model.encoder(batch.features, batch.lengths), batch.lengths).detach())

    assert activity(1.0) < 0.5 * activity(0.0)
    assert TrainingOptions().activity_penalty > 0


def test_mean_activity_ignores_padding():
    model = SourceModel(small_config(), ("a", "b")).eval()
    x, padded = torch.randn(1, 7, 6), torch.zeros(1, 20, 6)
    padded[:, :7] = x
    length = torch.tensor([7])
    torch.testing.assert_close(
        mean_activity(model.encoder(padded, length), length), mean_activity(model.encoder(x), length)
    )


def test_first_of_equally_good_epochs_is_kept():
    nothing_said = FeatureDataset([torch.randn(9, 6)], [torch.zeros(0, dtype=torch.long)])
    options = TrainingOptions(epochs=3, learning_rate=1e-9)
    result = train_source(small_config(), ("a", "b"), symbols(4, 0), nothing_said, options)
    assert [record["error_rate"] for record in result.history] == [result.history[0]["error_rate"]] * 3
    assert result.best_epoch == 1


def test_autoencoder_rebuilds_what_it_hears():
    options = TrainingOptions(epochs=15, batch_size=8, learning_rate=0.01)
    config = small_config(normalization="global")
    result = train_autoencoder(config, symbols(64, 0), symbols(16, 1), options)
    errors = [record["error"] for record in result.history]
    assert errors[result.best_epoch - 1] == min(errors) < 0.5 < errors[0]
    batch = next(iter(batches(symbols(16, 1), 16)))
    model = result.model
    with torch.no_grad():
        wanted = model.encoder.normalization(batch.features, batch.lengths)
        error = (model(batch.features, batch.lengths) - wanted).square().mean()  # all utterances are equally long
    assert float(error) == pytest.approx(min(errors), rel=1e-4)


def test_source_tasks_mix_the_styles_of_all_utterances():
    options = TrainingOptions(epochs=1, batch_size=8, augmentation=(StyleMixing(0.5),))
    assert train_source(small_config(), ("a", "b"), symbols(16, 0), symbols(8, 1), options).history
    assert train_autoencoder(small_config(), symbols(16, 0), symbols(8, 1), options).history


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
    with pytest.raises(ValueError, match="epochs is 0"):
        TrainingOptions(epochs=0)


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

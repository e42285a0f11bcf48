import itertools

import numpy as np
import pytest

from satn_fast.evaluation import Predictions, PredictionsError, compare, holm, join, ua_interval

from .making import drawn, probabilities, sure_of


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def ua(truth, hits):
    return np.mean([hits[truth == label].mean() for label in np.unique(truth)])


def rerun(rng, predictions: Predictions, accuracy: float = 0.66) -> Predictions:
    """The same utterances, recognised anew."""
    scores = probabilities(rng, predictions.truth, len(predictions.labels), accuracy)
    return Predictions(**(vars(predictions) | {"probabilities": scores}))


def drawn_one_by_one(rng, truth, hits, strata, count):
    """The bootstrap as a textbook has it: draws utterances of every stratum, and computes the UA of what was drawn."""
    values = []
    for _ in range(count):
        rows = np.concatenate([rng.choice(rows, len(rows)) for rows in strata])
        values.append(ua(truth[rows], hits[rows]))
    return values


@pytest.mark.parametrize("speakers", [3, 12])
def test_interval_agrees_with_drawing_one_by_one(rng, speakers):
    predictions = drawn(rng, speakers=speakers, utterances=240 // speakers)
    interval = ua_interval(predictions)
    truth, names = predictions.truth, np.array(predictions.speakers)
    if speakers == 3:
        assert (interval.unit, interval.units) == ("utterances", 240)
        strata = [np.flatnonzero((names == s) & (truth == c)) for s in set(names) for c in range(3)]
        expected = drawn_one_by_one(rng, truth, predictions.right, strata, 2000)
    else:
        assert (interval.unit, interval.units) == ("speakers", 12)
        rows_of = {name: np.flatnonzero(names == name) for name in sorted(set(names))}
        expected = []
        for _ in range(2000):
            rows = np.concatenate([rows_of[name] for name in rng.choice(list(rows_of), len(rows_of))])
            expected.append(ua(truth[rows], predictions.right[rows]))
    assert interval.value == pytest.approx(predictions.metrics().ua)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(expected, [0.025, 0.975]), atol=0.012)


def test_eight_speakers_are_enough_to_draw_speakers(rng):
    assert ua_interval(drawn(rng, speakers=7)).unit == "utterances"
    assert ua_interval(drawn(rng, speakers=8)).unit == "speakers"


def test_seeds_are_averaged_and_do_not_count_as_more_utterances(rng):
    once = drawn(rng, seeds=(0,))
    thrice = join(Predictions(**(vars(once) | {"seeds": (seed,) * len(once)})) for seed in (0, 1, 2))
    assert ua_interval(thrice) == ua_interval(once)
    other = join([once, Predictions(**(vars(rerun(rng, once)) | {"seeds": (1,) * len(once)}))])
    uas = [other.take(np.array([s == seed for s in other.seeds])).metrics().ua for seed in (0, 1)]
    assert ua_interval(other).value == pytest.approx(np.mean(uas))


def test_equal_seeds_give_equal_intervals_and_others_differ(rng):
    predictions = drawn(rng)
    first, again, other = (ua_interval(predictions, resamples=9, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_higher_confidence_is_wider(rng):
    predictions = drawn(rng)
    narrow, wide = ua_interval(predictions, level=0.5), ua_interval(predictions, level=0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_utterances_alone_in_speaker_and_label_still_vary():
    files, speakers = [f"{i}.wav" for i in range(6)], [f"s{i}" for i in range(6)]
    scores = sure_of(np.array([0, 0, 0, 1, 1, 1]), 2, 0.9)
    interval = ua_interval(Predictions.plain(files, "ab", [0] * 6, speakers, scores))
    assert interval.low < 0.5 < interval.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says(rng):
    covered = 0
    for _ in range(200):
        predictions = drawn(rng, speakers=2, utterances=60, labels=("a", "b"))
        scores = sure_of(np.where(rng.random(120) < 0.7, predictions.truth, 1 - predictions.truth), 2, 0.8)
        interval = ua_interval(Predictions(**(vars(predictions) | {"probabilities": scores})), resamples=500)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.89 <= covered / 200 <= 0.99


def test_exact_p_value_is_that_of_exchanging_every_way(rng):
    first = drawn(rng, speakers=2, utterances=6)
    second = rerun(rng, first, 0.5)
    truth, a, b = first.truth, first.right.astype(float), second.right.astype(float)
    observed = abs(ua(truth, b) - ua(truth, a))
    extreme = []
    for swap in itertools.product([False, True], repeat=len(first)):
        kept, other = np.where(swap, b, a), np.where(swap, a, b)
        extreme.append(abs(ua(truth, other) - ua(truth, kept)) >= observed - 1e-9)
    found = compare(first, second)
    assert found.exact
    assert found.p_value == pytest.approx(np.mean(extreme))
    assert abs(found.difference.value) == pytest.approx(observed)


def test_exact_p_value_of_speakers_that_all_gain(rng):
    first = drawn(rng, speakers=9, utterances=6)
    wrong = sure_of((first.truth + 1) % 3, 3, 0.8)
    right = sure_of(first.truth, 3, 0.8)
    worst, best = (Predictions(**(vars(first) | {"probabilities": scores})) for scores in (wrong, right))
    found = compare(worst, best)
    assert (found.difference.unit, found.difference.value, found.exact) == ("speakers", 1.0, True)
    assert found.p_value == pytest.approx(2 / 2**9)


def test_random_exchanges_approach_the_exact_p_value(rng, monkeypatch):
    first = drawn(rng, speakers=2, utterances=8)
    second = rerun(rng, first, 0.9)
    exact = compare(first, second)
    monkeypatch.setattr("satn_fast.evaluation.confidence._EXACT_UNITS", 0)
    random = compare(first, second)
    assert exact.exact
    assert not random.exact
    assert random.p_value == pytest.approx(exact.p_value, abs=0.02)


def test_a_run_does_not_differ_from_itself(rng):
    predictions = drawn(rng)
    found = compare(predictions, predictions)
    assert (found.p_value, found.exact) == (1.0, True)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)


def test_no_effect_is_found_about_as_rarely_as_it_should(rng):
    found = 0
    for _ in range(200):
        first = drawn(rng, speakers=2, utterances=30)
        found += compare(first, rerun(rng, first), resamples=400).p_value < 0.05
    assert found <= 20


def test_pairing_sees_what_two_intervals_do_not(rng):
    first = drawn(rng, speakers=3, utterances=60)
    wrong = np.flatnonzero(~first.right)[:14]
    scores = first.probabilities.copy()
    scores[wrong] = sure_of(first.truth[wrong], 3, 0.9)
    better = Predictions(**(vars(first) | {"probabilities": scores}))
    found = compare(first, better)
    assert found.difference.low > 0
    assert found.p_value < 0.001
    assert ua_interval(first).high > ua_interval(better).low


def test_order_of_rows_and_labels_and_place_of_the_corpus_do_not_matter(rng):
    first = drawn(rng)
    second = rerun(rng, first)
    expected = compare(first, second)
    order = rng.permutation(len(second))
    moved = second.take(order)
    moved = Predictions(
        **(
            vars(moved)
            | {
                "files": tuple(file.replace("/corpus", "/elsewhere/data") for file in moved.files),
                "labels": moved.labels[::-1],
                "truth": 2 - moved.truth,
                "probabilities": moved.probabilities[:, ::-1],
            }
        )
    )
    assert compare(first, moved) == expected


def test_other_utterances_are_refused(rng):
    first = drawn(rng)
    with pytest.raises(PredictionsError, match="different utterances: 1 are in one only"):
        compare(first, first.take(np.arange(len(first)) > 0))
    other = Predictions(**(vars(first) | {"truth": (first.truth + 1) % 3}))
    with pytest.raises(PredictionsError, match=r"is angry by speaker0 in one run and happy by speaker0"):
        compare(first, other)


def test_a_seed_that_is_not_finished_is_named(rng):
    both = drawn(rng, seeds=(0, 1))
    with pytest.raises(PredictionsError, match="seed 1 has no prediction for"):
        ua_interval(both.take(np.arange(len(both) - 1)))


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 0.0}, {"resamples": 0}])
def test_arguments_out_of_range_are_refused(rng, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ua_interval(drawn(rng), **wrong)


def test_holm_adjusts_in_steps():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []

"""What recordings outside of a studio are made of."""

import numpy as np
import pytest
import torch

from satn_fast import LogMel
from satn_fast.audio import read_audio, write_wav
from satn_fast.data import Utterance
from satn_fast.training import FeatureCache, FeatureDataset, Perturbation, conditions, extract_features
from satn_fast.training.conditions import (
    KINDS,
    Codec,
    Cut,
    DrawnCondition,
    Level,
    Noise,
    Reverberation,
    Telephone,
    codec_problem,
    condition_kinds,
    draw_condition,
)
from satn_fast.training.corpus import read_corpus
from satn_fast.training.settings import EmotionSettings, SourceSettings

RATE = 16000

CODECS = [Codec(8.0), Codec(24.0), Codec(8.0, "mp3"), Codec(32.0, "mp3"), Codec(64.0, "mp3")]
CHANNELS = [
    *(Noise(10.0, colour) for colour in ("white", "pink", "speech")),
    Noise(10.0, "babble", [np.sin(np.arange(400.0)).astype(np.float32)]),
    Telephone(),
    Reverberation(0.4),
    *CODECS,
]
EVERYTHING = [Level(-12.0), Level(30.0, clip=True), *CHANNELS, Cut(0.5), Cut(0.5, "middle")]


def speech(seconds=2.0, rate=RATE, seed=0):
    """Harmonics of a gliding voice, in syllables, over a little breath."""
    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(3 * t)) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 30) if k * 160 < rate / 2)
    breath = 0.02 * np.random.default_rng(seed).standard_normal(len(t))
    return (0.1 * (voice * (0.3 + np.sin(2 * np.pi * 3 * t) ** 2) + breath)).astype(np.float32)


def heard(condition, x, seed=0, rate=RATE):
    return condition(x, rate, np.random.default_rng(seed))


def decibels(ratio):
    return 10 * np.log10(ratio)


def power(x):
    return np.mean(np.square(x, dtype=np.float64))


def power_between(x, low, high, rate=RATE):
    hertz = np.fft.rfftfreq(len(x), 1 / rate)
    return np.sum((np.abs(np.fft.rfft(x.astype(np.float64))) ** 2)[(hertz >= low) & (hertz < high)])


@pytest.mark.parametrize("condition", EVERYTHING, ids=repr)
@pytest.mark.parametrize("n", [0, 1, 2, 37, 399, 4001])
def test_waveforms_of_any_length_stay_float32_finite_and_as_long(condition, n):
    x = speech()[500 : 500 + n]
    before = x.copy()
    found = heard(condition, x)
    assert found.dtype == np.float32
    assert found.shape == (n,)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(x, before)  # the caller's samples are the caller's
    assert not np.shares_memory(found, x)


@pytest.mark.parametrize("condition", EVERYTHING, ids=repr)
def test_silence_stays_silent(condition):
    assert not heard(condition, np.zeros(16000, np.float32)).any()


@pytest.mark.parametrize("condition", EVERYTHING, ids=repr)
def test_the_same_generator_gives_the_same_samples(condition):
    x = speech()
    np.testing.assert_array_equal(heard(condition, x, seed=3), heard(condition, x, seed=3))


@pytest.mark.parametrize("condition", CHANNELS[:6], ids=repr)
def test_another_generator_gives_other_noise_and_another_room(condition):
    x = speech()
    same = np.array_equal(heard(condition, x, seed=3), heard(condition, x, seed=4))
    assert same == isinstance(condition, Telephone)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize("condition", [Telephone(), Reverberation(0.7, -5.0), *CODECS], ids=repr)
def test_channels_keep_the_level_of_the_speech(condition, rate):
    x = speech(rate=rate)
    assert abs(decibels(power(heard(condition, x, rate=rate)) / power(x))) < 0.01


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5, 30.0])
@pytest.mark.parametrize("colour", ["white", "pink", "speech", "babble"])
def test_noise_has_the_snr_that_is_asked_for_beside_unchanged_speech(colour, snr):
    x = speech()
    others = [speech(0.7, seed=seed)[seed:] for seed in range(3)]
    noise = heard(Noise(snr, colour, others), x).astype(np.float64) - x
    assert abs(decibels(power(x) / power(noise)) - snr) < 0.1


def test_colours_of_noise_have_their_spectra():
    x = speech(20.0)

    def octaves(colour):
        noise = heard(Noise(0.0, colour), x) - x
        return np.array([decibels(power_between(noise, low, 2 * low)) for low in (62.5, 125, 250, 500, 1000, 2000)])

    np.testing.assert_allclose(np.diff(octaves("white")), 3.01, atol=0.5)
    np.testing.assert_allclose(np.diff(octaves("pink")), 0.0, atol=0.5)
    own = np.array([decibels(power_between(x, low, 2 * low)) for low in (62.5, 125, 250, 500, 1000, 2000)])
    np.testing.assert_allclose(octaves("speech"), own, atol=1.5)


def test_babble_is_made_of_the_others_alone():
    tones = [np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32) for hertz in (500, 1500, 3000)]
    x = speech()
    noise = heard(Noise(0.0, "babble", tones), x) - x
    theirs = sum(power_between(noise, hertz - 20, hertz + 20) for hertz in (500, 1500, 3000))
    assert theirs > 0.99 * power_between(noise, 0, 8000)
    # Loud voices count no more than quiet ones.
    np.testing.assert_allclose(heard(Noise(0.0, "babble", [100 * tones[0], *tones[1:]]), x) - x, noise, atol=1e-5)


def test_babble_without_others_is_refused():
    with pytest.raises(ValueError, match="give waveforms of other speakers"):
        Noise(0.0, "babble")


def test_a_level_is_a_gain_that_may_clip():
    x = speech()
    np.testing.assert_allclose(heard(Level(20.0), x), 10 * x, rtol=1e-6)
    found = heard(Level(20.0, clip=True), x)
    np.testing.assert_array_equal(found, np.clip(heard(Level(20.0), x), -1, 1))
    assert np.abs(found).max() == 1.0


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_telephone_passes_its_band_alone(rate):
    x = 0.1 * np.random.default_rng(0).standard_normal(4 * rate).astype(np.float32)
    found = heard(Telephone(), x, rate=rate)

    def gain(low, high):
        return decibels(power_between(found, low, high, rate) / power_between(x, low, high, rate))

    inside = gain(300, 3400)
    assert abs(gain(350, 1500) - gain(1500, 3300)) < 0.5
    # What is left is the error of eight bits.
    assert gain(0, 180) < inside - 25
    if rate > 8000:
        assert gain(4100, rate / 2) < inside - 50


def test_a_telephone_spends_its_eight_bits_by_the_mu_law():
    loud = conditions._mu_law(np.linspace(-1, 1, 100_001).astype(np.float32))
    assert len(np.unique(loud)) == 255
    quiet = np.linspace(-0.01, 0.01, 100_001).astype(np.float32)
    # Half a step, which grows with the sample; eight linear bits would be off by 0.004.
    half_step = (np.abs(quiet) + 1 / 255) * np.log(256) / 127 / 2
    assert (np.abs(conditions._mu_law(quiet) - quiet) < 1.05 * half_step).all()


@pytest.mark.parametrize("rt60", [0.2, 0.5, 1.0])
def test_a_room_decays_by_60_decibels_in_its_time(rt60):
    response = Reverberation(rt60).impulse_response(RATE, np.random.default_rng(1))
    tail = response[1:]
    energy = decibels(np.cumsum(tail[::-1] ** 2)[::-1])  # Schroeder's backward integration
    energy -= energy[0]
    first, last = (int(np.argmax(energy < level)) for level in (-5, -25))
    slope = (energy[last] - energy[first]) / ((last - first) / RATE)
    assert abs(-60 / slope - rt60) < 0.1 * rt60
    assert len(response) == rt60 * RATE


@pytest.mark.parametrize("ratio", [-6.0, 0.0, 10.0])
def test_a_room_has_the_direct_path_that_is_asked_for(ratio):
    response = Reverberation(0.5, ratio).impulse_response(RATE, np.random.default_rng(0))
    assert response[0] == 1.0
    assert abs(decibels(response[0] ** 2 / np.sum(response[1:] ** 2)) - ratio) < 1e-6
    assert not response[1 : 1 + RATE // 500].any()


def test_reverberation_is_convolution_with_the_room():
    x = speech(0.5)
    room = Reverberation(0.3)
    response = room.impulse_response(RATE, np.random.default_rng(5))
    expected = np.convolve(x.astype(np.float64), response)[: len(x)]
    found = heard(room, x, seed=5)
    np.testing.assert_allclose(found, expected * np.sqrt(power(x) / power(expected)), atol=1e-6)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_what_is_decoded_is_in_time_with_what_was_encoded(codec):
    x = speech()
    found = heard(codec, x)
    size = 4 * len(x)
    correlation = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(x, size)), size)
    late = int(np.argmax(correlation))
    assert min(late, size - late) <= 4
    assert correlation.max() > 0.7 * np.sum(x.astype(np.float64) ** 2)


def test_lower_bit_rates_lose_more():
    x = speech(4.0)
    for kind in ("opus", "mp3"):
        errors = [power(heard(Codec(kilobits, kind), x) - x) for kilobits in (8.0, 16.0, 64.0)]
        assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("kilobits", [6.0, 8.0, 16.0, 32.0])
def test_opus_keeps_near_its_bit_rate(kilobits, monkeypatch):
    import soundfile

    sizes = []
    read = soundfile.read

    def measured(memory, **how):
        sizes.append(len(memory.getvalue()))
        return read(memory, **how)

    monkeypatch.setattr(soundfile, "read", measured)
    heard(Codec(kilobits), speech(20.0))
    assert sizes[-1] * 8 / 20 / 1000 == pytest.approx(kilobits, rel=0.3)


def test_a_missing_codec_says_what_to_do(monkeypatch):
    import soundfile

    def refuse(*arguments, **options):
        raise soundfile.LibsndfileError(0, "no such format")

    codec_problem.cache_clear()
    monkeypatch.setattr(soundfile, "SoundFile", refuse)
    try:
        with pytest.raises(ImportError, match=r"opus cannot be written by soundfile .* leave the condition codec out"):
            heard(Codec(16.0), speech())
    finally:
        codec_problem.cache_clear()


def test_a_cut_keeps_the_loudest_stretch_or_the_middle():
    x = np.zeros(4 * RATE, np.float32)
    x[3 * RATE : 3 * RATE + 8000] = 0.5
    assert heard(Cut(0.5), x).tolist() == [0.5] * 8000
    x[2 * RATE] = 0.1
    middle = heard(Cut(1.0, "middle"), x)
    assert len(middle) == RATE
    assert middle[RATE // 2] == np.float32(0.1)
    np.testing.assert_array_equal(heard(Cut(9.0), x), x)


def test_draws_cover_every_kind_and_colour_and_their_ranges():
    drawn = [draw_condition(np.random.default_rng(seed)) for seed in range(800)]
    by_type = {kind: [c for c in drawn if type(c) is kind] for kind in (Noise, Reverberation, Telephone, Codec)}
    assert min(map(len, by_type.values())) > 150
    assert {noise.colour for noise in by_type[Noise]} == {"white", "pink", "speech"}
    snrs = [noise.snr_decibels for noise in by_type[Noise]]
    assert 5 <= min(snrs) < 7
    assert 28 < max(snrs) <= 30
    times = [room.rt60 for room in by_type[Reverberation]]
    assert 0.1 <= min(times) < 0.13
    assert 0.77 < max(times) <= 0.8
    for kind, least in (("opus", 6), ("mp3", 8)):
        rates = [codec.kilobits for codec in by_type[Codec] if codec.kind == kind]
        assert least <= min(rates) < least + 1
        assert 29 < max(rates) <= 32
    others = [speech(0.2)]
    assert "babble" in {draw_condition(np.random.default_rng(s), ["noise"], others).colour for s in range(40)}


def test_draws_keep_to_the_kinds_that_are_asked_for():
    found = {type(draw_condition(np.random.default_rng(seed), ("codec", "telephone"))) for seed in range(30)}
    assert found == {Codec, Telephone}


def test_a_drawn_condition_is_named_by_all_that_decides_it():
    drawn = [DrawnCondition(Noise(snr), seed=(0, n)) for snr in (10.0, 10.5) for n in range(2)]
    assert len({repr(one) for one in drawn}) == 4
    x = speech()
    assert len({one(x, RATE).tobytes() for one in drawn}) == 4


@pytest.mark.parametrize(
    ("text", "kinds"), [("none", ()), ("all", KINDS), ("codec,noise", ("codec", "noise")), ("noise, noise", ("noise",))]
)
def test_kinds_are_named_between_commas(text, kinds):
    assert condition_kinds(text) == kinds


@pytest.mark.parametrize("text", ["", "wind", "noise,", "all,noise"])
def test_unknown_kinds_are_named(text):
    with pytest.raises(ValueError, match="choose none, all, or some of noise, reverberation, telephone, codec"):
        condition_kinds(text)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Noise(0.0, "brown"), "colour is 'brown'"),
        (lambda: Reverberation(0.0), "rt60 is 0.0"),
        (lambda: Reverberation(float("nan")), "rt60 is nan"),
        (lambda: Codec(5.0), "kilobits is 5.0; give opus a bit rate from 6 to 256"),
        (lambda: Codec(16.0, "aac"), "kind is 'aac'"),
        (lambda: Cut(0.0), "seconds is 0.0"),
        (lambda: Cut(1.0, "end"), "where is 'end'"),
        (lambda: draw_condition(np.random.default_rng(0), ()), "kinds is empty"),
    ],
)
def test_impossible_conditions_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# --- in training -------------------------------------------------------------------------------------------


@pytest.fixture
def utterances(tmp_path):
    found = []
    for number in range(6):
        write_wav(tmp_path / f"{number}.wav", np.clip(speech(0.3 + 0.05 * number, seed=number), -1, 1), RATE)
        found.append(Utterance(tmp_path / f"{number}.wav", "sad", "anna"))
    return found


def same(found, expected):
    return [torch.equal(a, b) for a, b in zip(found, expected, strict=True)]


def test_a_perturbation_draws_a_condition_for_its_share_of_the_utterances():
    drawn = [Perturbation(conditions=KINDS).draw_condition(epoch, n) for epoch in range(4) for n in range(200)]
    there = [one for one in drawn if one is not None]
    assert 340 < len(there) < 460
    assert len({repr(one) for one in there}) == len(there)
    assert Perturbation().draw_condition(0, 0) is None
    assert Perturbation(conditions=KINDS, condition_share=0.0).draw_condition(0, 0) is None
    whole = Perturbation(conditions=("noise",), condition_share=1.0)
    assert all(whole.draw_condition(0, n) is not None for n in range(50))
    assert whole.draw_condition(3, 5) == whole.draw_condition(3, 5)


def test_speed_and_gain_are_drawn_alike_with_and_without_conditions():
    plain, noisy = Perturbation(gain_decibels=6.0), Perturbation(gain_decibels=6.0, conditions=KINDS)
    assert [plain.draw(2, n) for n in range(20)] == [noisy.draw(2, n) for n in range(20)]


def test_versions_at_other_speeds_have_other_conditions():
    fast, slow = (Perturbation((speed,), conditions=KINDS, condition_share=1.0) for speed in (1.1, 0.9))
    assert not any(fast.draw_condition(0, n) == slow.draw_condition(0, n) for n in range(20))


@pytest.mark.parametrize(("name", "value"), [("condition_share", 1.5), ("conditions", ("wind",))])
def test_impossible_perturbations_are_refused(name, value):
    with pytest.raises(ValueError, match="condition"):
        Perturbation(**{name: value})


def test_features_are_those_of_the_waveform_under_its_condition(utterances):
    perturbation = Perturbation((1.1,), conditions=KINDS, condition_share=1.0)
    found = extract_features(utterances, LogMel(), perturbation=perturbation, epoch=2)
    for number, utterance in enumerate(utterances):
        faster = Perturbation.apply(read_audio(utterance.file).waveform, RATE, 1.1)
        expected = LogMel()(perturbation.draw_condition(2, number)(faster, RATE))
        np.testing.assert_allclose(found[number].numpy(), expected, atol=2e-4)


def test_features_under_a_condition_are_cached_by_all_that_decides_it(utterances, tmp_path):
    def features(cache=None, epoch=0, seed=0, n_threads=None):
        perturbation = Perturbation((1.0,), seed=seed, conditions=("noise", "codec"), condition_share=1.0)
        return extract_features(
            utterances, LogMel(), cache=cache, perturbation=perturbation, epoch=epoch, n_threads=n_threads
        )

    cache = FeatureCache(tmp_path / "cache", LogMel())
    clean = extract_features(utterances, LogMel(), cache=cache)
    first = features(cache)
    assert cache.hits == 0
    assert not any(same(first, clean))
    assert all(same(features(cache, n_threads=1), first))
    assert cache.hits == len(utterances)
    assert all(same(features(n_threads=2), first))
    assert all(same(extract_features(utterances, LogMel(), cache=cache), clean))
    for others in (features(cache, epoch=1), features(cache, seed=1)):
        assert not any(same(others, first))


def test_features_of_another_version_of_the_conditions_are_not_taken_from_the_cache(utterances, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path / "cache", LogMel())
    perturbation = Perturbation((1.0,), conditions=("noise",), condition_share=1.0)
    extract_features(utterances, LogMel(), cache=cache, perturbation=perturbation)
    monkeypatch.setattr("satn_fast.training.extraction.CONDITIONS_VERSION", conditions.VERSION + 1)
    extract_features(utterances, LogMel(), cache=cache, perturbation=perturbation)
    assert cache.hits == 0


def test_a_corpus_has_every_speed_as_it_is_and_otherwise_recorded(utterances):
    def corpus(**settings):
        said = []
        found = read_corpus(
            utterances,
            lambda utterance: torch.tensor(0),
            LogMel(),
            EmotionSettings(**settings),
            keep=FeatureDataset,
            start=lambda what: said.append(what) or (lambda done, total, note="": None),
            notify=lambda said: None,
        )
        versions = [[found.data.features[row + len(utterances) * n] for row in range(6)] for n in found.drawn]
        return versions, said, found

    plain, _, _ = corpus(speeds="1,1.1")
    found, said, whole = corpus(speeds="1,1.1", conditions="all")
    assert said == [
        "log-Mel features",
        "log-Mel features at 1.1",
        "log-Mel features at 1, recorded otherwise",
        "log-Mel features at 1.1, recorded otherwise",
    ]
    assert (len(plain), len(found)) == (2, 4)
    for ours, theirs in zip(found[:2], plain, strict=True):
        assert all(same(ours, theirs))
    for noisy, clean in zip(found[2:], found[:2], strict=True):
        assert [len(x) for x in noisy] == [len(x) for x in clean]
        assert not any(same(noisy, clean))
    assert all(same(whole.features(range(6)), found[0]))
    assert whole.versioned([0, 2]).count == 4


@pytest.mark.parametrize("settings", [EmotionSettings, SourceSettings])
def test_settings_refuse_unknown_conditions(settings):
    assert settings().versions() == [(speed, ()) for speed in settings().speed_factors()]
    with pytest.raises(ValueError, match="conditions name 'wind'"):
        settings(conditions="noise,wind")

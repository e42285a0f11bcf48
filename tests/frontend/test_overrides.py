"""Any parameter of any preset can be changed, and means what the oracle says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.frontend import LogMel
from tests.frontend import oracles
from tests.frontend.signals import PRESETS, voice_like

OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "window_seconds": st.sampled_from([0.004, 0.0101, 0.016, 0.02, 0.0250625, 0.032]),
        "hop_seconds": st.sampled_from([0.0013, 0.005, 0.0125, 0.02, 0.04, 0.1]),
        "sample_rounding": st.sampled_from(["down", "nearest"]),
        "fft_size": st.sampled_from([None, 512, 1024, 2048]),
        "window": st.sampled_from(["povey", "hamming", "hamming_periodic", "hann", "hann_periodic", "rectangular"]),
        "framing": st.sampled_from(["snip_edges", "pad_end", "center_zero", "center_reflect"]),
        "remove_dc": st.booleans(),
        "preemphasis": st.sampled_from([0.0, 0.5, 0.97, 1.0]),
        "preemphasis_mode": st.sampled_from(["frame", "signal"]),
        "low_hz": st.sampled_from([0.0, 20.0, 125.0]),
        "high_hz": st.sampled_from([None, 3800.0, 4000.0]),
        "mel_scale": st.sampled_from(["htk", "slaney"]),
        "filters": st.sampled_from(["mel", "hz", "bins"]),
        "filter_norm": st.sampled_from(["none", "slaney"]),
        "power_norm": st.sampled_from(["none", "fft_size"]),
        "floor_mode": st.sampled_from(["clamp", "zero"]),
        "float_scale": st.sampled_from([1.0, 100.0, 32768.0]),
        "deltas": st.booleans(),
        "delta_window": st.sampled_from([1, 2, 3, 9]),
        "log": st.sampled_from(["ln", "log10", "db"]),
    },
)


@pytest.mark.filterwarnings("ignore:.*too narrow:UserWarning")
@given(
    preset=st.sampled_from(PRESETS),
    rate=st.sampled_from([8000, 11025, 16000]),
    n_mels=st.sampled_from([1, 2, 13, 40, 80]),
    n_samples=st.integers(1100, 4000),
    overrides=OVERRIDES,
)
def test_overridden_front_end_equals_the_oracle(preset, rate, n_mels, n_samples, overrides):
    overrides.setdefault("top_db", None)
    front_end = LogMel(rate, n_mels, preset, precision="float64", **overrides)
    audio = voice_like(n_samples, seed=n_samples, rate=rate) / 32768
    features = front_end(audio)
    expected = oracles.log_mel(audio, front_end.describe())
    assert features.shape == expected.shape == (front_end.frame_count(n_samples), front_end.n_features)

    # The logarithm of a band far below its frame's peak has fewer digits, in the oracle as well.
    energies = oracles.mel_energies(audio, front_end.describe())
    peak = energies.max(axis=1, keepdims=True, initial=0.0)
    tolerance = 1e-9 + 5 * np.where(energies > 0, 1e-13 * peak / np.maximum(energies, 1e-300), 0)
    static = features[:, :n_mels]
    assert np.all(np.abs(static - expected[:, :n_mels]) <= tolerance)
    if overrides.get("deltas", True):
        first = oracles.delta(static, front_end.describe()["delta_window"])
        second = oracles.delta(first, front_end.describe()["delta_window"])
        np.testing.assert_allclose(features[:, n_mels:], np.concatenate([first, second], axis=1), rtol=0, atol=1e-9)


def test_each_parameter_changes_the_features():
    base = LogMel()
    audio = voice_like(8000)
    changes = {
        "window_seconds": 0.02,
        "hop_seconds": 0.012,
        "fft_size": 1024,
        "window": "hann",
        "framing": "center_reflect",
        "remove_dc": False,
        "preemphasis": 0.9,
        "preemphasis_mode": "signal",
        "low_hz": 60.0,
        "high_hz": 7600.0,
        "mel_scale": "slaney",
        "filters": "hz",
        "filter_norm": "slaney",
        "power_norm": "fft_size",
        "log": "log10",
        "floor": 1e6,
        "int16_scale": 2.0,
        "deltas": False,
        "delta_window": 3,
        "precision": "float64",
    }
    unchanged = base(audio)
    for name, value in changes.items():
        changed = LogMel(**{name: value})
        assert changed.describe()[name] == value
        assert changed != base
        assert not np.array_equal(changed(audio), unchanged), name


def test_top_db_clips_before_the_deltas():
    front_end = LogMel(preset="librosa", top_db=20, precision="float64")
    audio = voice_like(8000)
    features = front_end(audio)
    static = features[:, :40]
    assert static.max() - static.min() == pytest.approx(20)
    np.testing.assert_allclose(features[:, 40:80], oracles.delta(static, 2), rtol=0, atol=1e-9)


@pytest.mark.parametrize("framing", ["snip_edges", "pad_end", "center_zero", "center_reflect"])
def test_hop_longer_than_the_window_skips_samples(framing):
    audio = voice_like(20000)
    for hop in range(200, 1600, 67):
        front_end = LogMel(
            window_seconds=0.01,
            hop_seconds=hop / 16000,
            fft_size=512,
            framing=framing,
            preemphasis_mode="signal",
            precision="float64",
        )
        expected = oracles.log_mel(audio, front_end.describe())
        np.testing.assert_allclose(front_end(audio), expected, rtol=0, atol=1e-9)
        stream = front_end.stream()  # whose buffer fills up between two windows, too
        rows = [*(stream.push(chunk) for chunk in np.split(audio, range(97, 20000, 97))), stream.finish()]
        np.testing.assert_allclose(np.concatenate(rows), expected, rtol=0, atol=1e-9)


def test_empty_bands_warn_and_stay_at_the_floor():
    with pytest.warns(UserWarning, match="n_mels") as caught:
        front_end = LogMel(n_mels=128, deltas=False)
    assert len(caught) == 1
    features = front_end(voice_like(4000))
    constant = np.ptp(features, axis=0) == 0
    assert constant.any()
    np.testing.assert_allclose(features[:, constant], np.log(1.1920929e-07), rtol=1e-6)

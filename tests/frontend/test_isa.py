"""Every instruction set that this processor has gives the same features, to float rounding, by every way in."""

import numpy as np
import pytest

from satn_fast.frontend import LogMel, supported_isas
from tests.frontend import oracles
from tests.frontend.signals import PRESETS, voice_like

isas = pytest.mark.parametrize("isa", supported_isas())
AUDIO = voice_like(16000 * 2, seed=1)


@pytest.fixture
def use(monkeypatch):
    return lambda isa: monkeypatch.setenv("SATN_FAST_ISA", isa)


@isas
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("preset", PRESETS)
def test_equals_the_oracle(use, isa, preset, precision):
    use(isa)
    front_end = LogMel(preset=preset, precision=precision)
    assert front_end.isa == isa
    error = np.abs(front_end(AUDIO) - oracles.log_mel(AUDIO, front_end.describe()))
    if precision == "float64":
        assert error.max() < 1e-9
    else:
        assert np.mean(error <= 1e-4) >= 0.999


@isas
@pytest.mark.parametrize("chunk", [1, 37, 160, 1600, 5000])
def test_stream_equals_offline_bit_for_bit(use, isa, chunk):
    use(isa)
    front_end = LogMel(n_mels=41, window_seconds=0.0251)
    audio = AUDIO[:6001]
    stream = front_end.stream()
    pieces = [stream.push(audio[i : i + chunk]) for i in range(0, len(audio), chunk)]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish()]), front_end(audio))


@isas
def test_every_number_of_frames_equals_one_frame_at_a_time(use, isa):
    # Groups, incomplete groups and single frames must not differ in the last bit.
    use(isa)
    front_end = LogMel(deltas=False)
    long = front_end(AUDIO)
    for n_frames in range(1, 40):
        n_samples = front_end.frame_length + (n_frames - 1) * front_end.hop_length
        np.testing.assert_array_equal(front_end(AUDIO[:n_samples]), long[:n_frames])


@isas
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("position", [0, 500, 1023, 1024, 2000])
def test_bad_samples_are_found_wherever_they_are(use, isa, bad, position):
    use(isa)
    audio = (AUDIO[:2001] / 32768).astype(np.float32)
    audio[position] = bad
    with pytest.raises(ValueError, match=f"sample {position} is"):
        LogMel()(audio)


def test_the_best_one_is_chosen_unless_another_is_named(monkeypatch):
    monkeypatch.delenv("SATN_FAST_ISA", raising=False)
    assert LogMel().isa == supported_isas()[-1]
    monkeypatch.setenv("SATN_FAST_ISA", "")
    assert LogMel().isa == supported_isas()[-1]


def test_an_unknown_one_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("SATN_FAST_ISA", "mmx")
    with pytest.raises(ValueError, match="SATN_FAST_ISA is mmx") as error:
        LogMel()
    assert supported_isas()[0] in str(error.value)

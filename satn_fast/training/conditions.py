"""Recording conditions: what a waveform becomes outside of a studio.

Every condition takes a mono float32 waveform with its rate, and a generator that decides whatever is random: the same
generator gives the same waveform. What goes through a channel (noise, a room, a telephone, a codec) has the same length
and, but for added noise, the same RMS as before, so that each condition changes one thing; `Level` changes the level,
and `Cut` the length.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "KINDS",
    "Codec",
    "Condition",
    "Cut",
    "DrawnCondition",
    "Level",
    "Noise",
    "Reverberation",
    "Telephone",
    "check_kinds",
    "codec_problem",
    "condition_kinds",
    "draw_condition",
]

Waveform: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = Literal["white", "pink", "speech", "babble"]
Format: TypeAlias = Literal["opus", "mp3"]

KINDS = ("noise", "reverberation", "telephone", "codec")
"""What `draw_condition` draws from."""

# To be raised whenever a condition gives other samples for the same settings: cached features are keyed by it.
VERSION = 1

# Below, pink noise would have much of its power where small microphones hear nothing.
_PINK_FROM_HZ = 20.0

# Fewer voices leave gaps to listen in, many more become a steady noise (Simpson & Cooke 2005).
_TALKERS = 6

# ITU-T G.711 and G.712: what a telephone passes, its rate, and the law by which its 8 bits are spent.
_TELEPHONE_RATE = 8000
_TELEPHONE_BAND = (200.0, 300.0, 3400.0, 3800.0)
_MU = 255.0

# The first reflection of a room, of a talker and a microphone a metre or two apart, comes so much later.
_FIRST_REFLECTION_SECONDS = 0.002

# Rates in Hz that the formats know, with the least and the highest bit rate in kbit/s that libsndfile 1.2 gives them.
_BIT_RATES: dict[str, dict[int, tuple[float, float]]] = {
    "opus": dict.fromkeys((8000, 12000, 16000, 24000, 48000), (6.0, 256.0)),
    "mp3": dict.fromkeys((8000, 11025, 12000), (8.0, 64.0))
    | dict.fromkeys((16000, 22050, 24000), (8.0, 160.0))
    | dict.fromkeys((32000, 44100, 48000), (32.0, 320.0)),
}

# Of LAME and libmpg123 together; the decoder removes it where the encoder could say so, which takes high bit rates.
_MP3_DELAY = 1105

# libsndfile's names for bit rates go from 0, the highest, to 1, the lowest, which it refuses for MP3.
_LARGEST_COMPRESSION = 0.999


class Condition(Protocol):
    """What happens to a waveform on its way."""

    def __call__(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """The waveform under this condition.

        Args:
            waveform: (n_samples,) float32, mono; may be empty.
            sample_rate: Its rate in Hz.
            generator: Decides what is random.

        Returns:
            A new (n_samples,) float32, of fewer samples from `Cut` alone.
        """


@dataclass(frozen=True)
class Level:
    """Another distance or another knob: a gain.

    Attributes:
        decibels: The gain in dB.
        clip: Whether samples beyond full scale, 1, are cut off there, as a recorder does that is set too high.

    Example:
        >>> x = np.array([0.25, -0.5], np.float32)
        >>> Level(20.0, clip=True)(x, 16000, np.random.default_rng(0)).tolist()
        [1.0, -1.0]
    """

    decibels: float
    clip: bool = False

    def __call__(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """See `Condition`; nothing is random."""
        louder = waveform * np.float32(10.0 ** (self.decibels / 20.0))
        return np.clip(louder, -1.0, 1.0) if self.clip else louder


@dataclass(frozen=True)
class Noise:
    """Noise beside the speech, all along the waveform; the speech itself stays as it was.

    Attributes:
        snr_decibels: Power of the speech over that of the noise, both means over the waveform, pauses included, in dB.
        colour: "white", equal power in every Hz; "pink", in every octave from 20 Hz; "speech", the spectrum of the
            waveform itself with random phases (speech-shaped noise); or "babble", six of `others` at once, at equal
            levels, each from a random place on, and again from its start where it ends.
        others: What babble is made of: waveforms at the same rate, of other speakers.

    Raises:
        ValueError: The colour is another word, or babble is asked for without other utterances.

    Example:
        >>> x = np.sin(np.arange(16000) / 5).astype(np.float32) / 4
        >>> noise = Noise(10.0, "pink")(x, 16000, np.random.default_rng(0)) - x
        >>> round(float(10 * np.log10(np.mean(x**2) / np.mean(noise**2))), 1)
        10.0
    """

    snr_decibels: float
    colour: Colour = "white"
    others: Sequence[Waveform] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.colour not in ("white", "pink", "speech", "babble"):
            raise ValueError(f"colour is {self.colour!r}; choose white, pink, speech or babble")
        if self.colour == "babble" and not len(self.others):
            raise ValueError("colour is 'babble', but others is empty; give waveforms of other speakers")

    def __call__(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """See `Condition`. Silence stays silence: it has no ratio to anything."""
        noise = self._noise(waveform, sample_rate, generator)
        wanted = _rms(waveform) * 10.0 ** (-self.snr_decibels / 20.0)
        there = _rms(noise)
        return waveform + (noise * (wanted / there if there else 0.0)).astype(np.float32)

    def _noise(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """As many samples of noise, at any level."""
        n = len(waveform)
        if self.colour == "white":
            return generator.standard_normal(n)
        if self.colour == "babble":
            return _babble(self.others, n, generator)
        if self.colour == "pink":
            length = _transform_length(max(n, sample_rate))  # a single period of 20 Hz has to fit
            hertz = np.fft.rfftfreq(length, 1.0 / sample_rate)
            amplitudes = np.where(hertz < _PINK_FROM_HZ, 0.0, 1.0 / np.sqrt(np.maximum(hertz, _PINK_FROM_HZ)))
        else:
            length = _transform_length(n)
            amplitudes = np.abs(np.fft.rfft(waveform, length))
        phases = generator.uniform(0.0, 2.0 * np.pi, len(amplitudes))
        return np.fft.irfft(amplitudes * np.exp(1j * phases), length)[:n]


@dataclass(frozen=True)
class Telephone:
    """A call over a fixed line: 300 to 3400 Hz (ITU-T G.712), at 8 kHz, in eight bits by the mu-law (ITU-T G.711).

    The law is the smooth one with mu = 255, which G.711 follows in straight pieces. The RMS is kept, as a telephone's
    gain control does, although the lowest harmonics are lost. The result has the rate of the waveform again.

    Example:
        >>> x = np.sin(np.arange(16000) / 5).astype(np.float32) / 4
        >>> Telephone()(x, 16000, np.random.default_rng(0)).shape
        (16000,)
    """

    def __call__(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """See `Condition`; nothing is random.

        Raises:
            ImportError: `soxr` is not installed.
        """
        narrow = _band_passed(_resampled(waveform, sample_rate, _TELEPHONE_RATE), _TELEPHONE_RATE, _TELEPHONE_BAND)
        heard = _resampled(_mu_law(_at_level(narrow, waveform)), _TELEPHONE_RATE, sample_rate)
        return _at_level(_fitted(heard, len(waveform)), waveform)


@dataclass(frozen=True)
class Reverberation:
    """A room: a direct path, and a tail of noise that decays exponentially (Polack's model).

    The end of the tail, beyond the waveform, is cut off. The RMS is kept.

    Attributes:
        rt60: Seconds in which the tail decays by 60 dB. Living rooms have about 0.4, classrooms 0.6, halls 1 and more.
        direct_decibels: Energy of the direct path over that of the tail, in dB; 0 at the room's critical distance, a
            metre or so away from the talker, and 6 less at twice that.

    Raises:
        ValueError: `rt60` is not positive.

    Example:
        >>> x = np.sin(np.arange(16000) / 5).astype(np.float32) / 4
        >>> room = Reverberation(0.5, direct_decibels=-3.0)
        >>> room(x, 16000, np.random.default_rng(0)).shape
        (16000,)
        >>> len(room.impulse_response(16000, np.random.default_rng(0)))
        8000
    """

    rt60: float
    direct_decibels: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rt60) and self.rt60 > 0):
            raise ValueError(f"rt60 is {self.rt60}; give a positive number of seconds")

    def __call__(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """See `Condition`."""
        response = self.impulse_response(sample_rate, generator)
        length = _transform_length(len(waveform) + len(response))
        spectrum = np.fft.rfft(waveform, length) * np.fft.rfft(response, length)
        return _at_level(np.fft.irfft(spectrum, length)[: len(waveform)], waveform)

    def impulse_response(self, sample_rate: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """(rt60 * sample_rate) samples, the first of which is the direct path, with amplitude 1."""
        first = 1 + round(_FIRST_REFLECTION_SECONDS * sample_rate)
        seconds = np.arange(max(round(self.rt60 * sample_rate), first + 1)) / sample_rate
        response = generator.standard_normal(len(seconds)) * 10.0 ** (-3.0 * seconds / self.rt60)
        response[:first] = 0.0
        response *= math.sqrt(10.0 ** (-self.direct_decibels / 10.0) / float(np.sum(response**2)))
        response[0] = 1.0
        return response


@dataclass(frozen=True)
class Codec:
    """A voice message: encoded at a low bit rate and decoded again, by libsndfile.

    What is beyond full scale is clipped before. The delay is removed, and the RMS kept.

    Attributes:
        kilobits: Bit rate in kbit/s: from 6 for Opus, whose encoder keeps near it, and from 8 for MP3, which takes the
            next one of its table. Vorbis is not offered: libsndfile gives it a quality, and none below 27 kbit/s at
            16 kHz.
        kind: "opus" or "mp3".

    Raises:
        ValueError: The kind is another word, or the bit rate is out of range.

    Example:
        >>> x = np.sin(np.arange(16000) / 5).astype(np.float32) / 4
        >>> Codec(12.0)(x, 16000, np.random.default_rng(0)).shape
        (16000,)
    """

    kilobits: float
    kind: Format = "opus"

    def __post_init__(self) -> None:
        if self.kind not in _BIT_RATES:
            raise ValueError(f"kind is {self.kind!r}; choose opus or mp3")
        ranges = _BIT_RATES[self.kind].values()
        least, most = min(low for low, _ in ranges), max(high for _, high in ranges)
        if not least <= self.kilobits <= most:
            raise ValueError(f"kilobits is {self.kilobits}; give {self.kind} a bit rate from {least:g} to {most:g}")

    def __call__(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """See `Condition`; nothing is random.

        Raises:
            ImportError: `soundfile` is missing, or its libsndfile cannot write the format; see `codec_problem`.
        """
        if problem := codec_problem(self.kind):
            raise ImportError(problem)
        if not len(waveform):
            return waveform.copy()  # libsndfile reads nothing back
        rate = self._rate(sample_rate)
        least, most = _BIT_RATES[self.kind][rate]
        compression = min((most - self.kilobits) / (most - least), _LARGEST_COMPRESSION)
        sent = np.clip(_resampled(waveform, sample_rate, rate), -1.0, 1.0)
        heard = _coded(sent, rate, self.kind, compression)
        return _at_level(_fitted(_resampled(heard, rate, sample_rate), len(waveform)), waveform)

    def _rate(self, sample_rate: int) -> int:
        """The next higher rate at which the format has the bit rate, or the highest."""
        possible = [rate for rate, (low, high) in _BIT_RATES[self.kind].items() if low <= self.kilobits <= high]
        return min((rate for rate in possible if rate >= sample_rate), default=possible[-1])


@dataclass(frozen=True)
class Cut:
    """A stretch of the waveform: what a short utterance, or an impatient listener, leaves.

    Attributes:
        seconds: Its length; a shorter waveform stays whole.
        where: "loudest", the stretch with the most energy, or "middle".

    Raises:
        ValueError: `seconds` is not positive, or `where` is another word.

    Example:
        >>> x = np.array([0, 0, 0.5, 0.25, 0], np.float32)
        >>> Cut(2 / 16000)(x, 16000, np.random.default_rng(0)).tolist()
        [0.5, 0.25]
    """

    seconds: float
    where: Literal["loudest", "middle"] = "loudest"

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"seconds is {self.seconds}; give a positive number")
        if self.where not in ("loudest", "middle"):
            raise ValueError(f"where is {self.where!r}; choose loudest or middle")

    def __call__(self, waveform: Waveform, sample_rate: int, generator: np.random.Generator) -> Waveform:
        """See `Condition`; nothing is random."""
        n = max(1, round(self.seconds * sample_rate))
        if n >= len(waveform):
            return waveform.copy()
        start = (len(waveform) - n) // 2
        if self.where == "loudest":
            energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
            start = int(np.argmax(energy[n:] - energy[:-n]))
        return waveform[start : start + n].copy()


@dataclass(frozen=True)
class DrawnCondition:
    """A condition with all that decides it: the same waveform gives the same result, whenever and wherever.

    Its `repr` names it in a cache.

    Attributes:
        condition: What happens.
        seed: Of the generator that decides what is random in it.

    Example:
        >>> drawn = DrawnCondition(Noise(20.0), seed=(0, 7))
        >>> x = np.sin(np.arange(16000) / 5).astype(np.float32) / 4
        >>> np.array_equal(drawn(x, 16000), drawn(x, 16000))
        True
    """

    condition: Condition
    seed: tuple[int, ...] = ()

    def __call__(self, waveform: Waveform, sample_rate: int) -> Waveform:
        """The waveform under the condition."""
        return self.condition(waveform, sample_rate, np.random.default_rng(self.seed))


def draw_condition(
    generator: np.random.Generator, kinds: Sequence[str] = KINDS, others: Sequence[Waveform] = ()
) -> Condition:
    """A condition such as recordings come in, for training.

    Each kind is as likely as another. Noise has 5 to 30 dB SNR, and each colour is as likely; a room has an RT60 of 0.1
    to 0.8 s, and a direct path of -3 to 10 dB; Opus has 6 to 32 kbit/s, and MP3 8 to 32.

    Args:
        generator: Decides.
        kinds: Some of `KINDS`.
        others: Waveforms of other speakers, of whom nobody is evaluated; without them, there is no babble.

    Raises:
        ValueError: A kind is another word, or there is none.

    Example:
        >>> draw_condition(np.random.default_rng(1), ["telephone"])
        Telephone()
    """
    check_kinds(kinds)
    if not kinds:
        raise ValueError(f"kinds is empty; choose from {', '.join(KINDS)}")
    kind = kinds[int(generator.integers(len(kinds)))]
    if kind == "noise":
        colours: list[Colour] = ["white", "pink", "speech"]
        if len(others):
            colours.append("babble")
        return Noise(float(generator.uniform(5.0, 30.0)), colours[int(generator.integers(len(colours)))], others)
    if kind == "reverberation":
        return Reverberation(float(generator.uniform(0.1, 0.8)), float(generator.uniform(-3.0, 10.0)))
    if kind == "telephone":
        return Telephone()
    format_: Format = "opus" if generator.integers(2) else "mp3"
    least = 6.0 if format_ == "opus" else 8.0
    # Half of them below 14 or 16, where a codec can be heard.
    return Codec(float(np.exp(generator.uniform(math.log(least), math.log(32.0)))), format_)


def condition_kinds(text: str) -> tuple[str, ...]:
    """What a setting says: `none`, `all`, or kinds between commas.

    Raises:
        ValueError: A word is none of these.

    Example:
        >>> condition_kinds("all"), condition_kinds("none"), condition_kinds("noise, codec")
        (('noise', 'reverberation', 'telephone', 'codec'), (), ('noise', 'codec'))
    """
    if text == "none":
        return ()
    if text == "all":
        return KINDS
    kinds = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    check_kinds(kinds)
    return kinds


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises ValueError for a word that is no kind of condition."""
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(
                f"conditions name {kind!r}; choose none, all, or some of {', '.join(KINDS)} between commas"
            )


@lru_cache
def codec_problem(kind: Format) -> str | None:
    """Why a codec cannot be used here, and the remedy; `None` where it can.

    Example:
        >>> problem = codec_problem("opus")
        >>> problem is None or "pip install" in problem
        True
    """
    remedy = 'pip install "soundfile>=0.13", or leave the condition codec out'
    try:
        import soundfile
    except ImportError:
        return f"{kind} needs soundfile: {remedy}"
    try:
        _coded(np.zeros(1600, np.float32), 16000, kind, 0.95)
    except (TypeError, ValueError, soundfile.LibsndfileError) as error:
        version = f"soundfile {soundfile.__version__} with {soundfile.__libsndfile_version__}"
        return f"{kind} cannot be written by {version} ({str(error).rstrip('. ')}): {remedy}"
    return None


def _coded(waveform: Waveform, rate: int, kind: Format, compression: float) -> Waveform:
    """Encoded, decoded, and as long as before."""
    import soundfile

    how = {
        "opus": {"format": "OGG", "subtype": "OPUS"},
        "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"},
    }[kind]
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", rate, 1, compression_level=compression, **how) as file:
        file.write(waveform)
    memory.seek(0)
    heard: Waveform = soundfile.read(memory, dtype="float32")[0]
    late = _MP3_DELAY if kind == "mp3" and len(heard) > len(waveform) else 0
    return _fitted(heard[late:], len(waveform))


def _babble(others: Sequence[Waveform], n: int, generator: np.random.Generator) -> NDArray[np.float64]:
    talkers = generator.choice(len(others), size=_TALKERS, replace=len(others) < _TALKERS)
    total = np.zeros(n)
    for talker in talkers:
        voice = others[talker]
        level = _rms(voice)
        if level:
            total += np.resize(np.roll(voice, -int(generator.integers(len(voice)))), n) / level
    return total


def _band_passed(
    waveform: NDArray[np.floating[Any]], rate: int, band: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """What lies between the inner two of four frequencies in Hz; up to the outer two, a raised cosine. No delay."""
    low_stop, low, high, high_stop = band
    length = _transform_length(len(waveform) + rate // 10)  # the filter rings less than a tenth of a second
    hertz = np.fft.rfftfreq(length, 1.0 / rate)
    rising = np.clip((hertz - low_stop) / (low - low_stop), 0.0, 1.0)
    falling = np.clip((high_stop - hertz) / (high_stop - high), 0.0, 1.0)
    gain = 0.25 * (1.0 - np.cos(np.pi * rising)) * (1.0 - np.cos(np.pi * falling))
    passed: NDArray[np.float64] = np.fft.irfft(np.fft.rfft(waveform, length) * gain, length)[: len(waveform)]
    return passed


def _mu_law(waveform: Waveform) -> Waveform:
    """To eight bits by the mu-law, and back."""
    clipped = np.clip(waveform.astype(np.float64), -1.0, 1.0)
    sent = np.round(127.0 * np.log1p(_MU * np.abs(clipped)) / np.log1p(_MU)) / 127.0
    return np.asarray(np.sign(clipped) * np.expm1(sent * np.log1p(_MU)) / _MU, np.float32)


def _resampled(waveform: Waveform, rate: int, wanted: int) -> Waveform:
    if rate == wanted or not len(waveform):
        return waveform
    try:
        import soxr
    except ImportError as error:
        raise ImportError('conditions at another rate need soxr: pip install "satn-fast[train]"') from error
    changed: Waveform = soxr.resample(waveform, rate, wanted, quality="HQ")
    return changed


def _fitted(waveform: Waveform, n: int) -> Waveform:
    """The first `n` samples, with zeros behind them where there are fewer."""
    fitted: Waveform = np.pad(waveform[:n], (0, max(0, n - len(waveform))))
    return fitted


def _at_level(changed: NDArray[np.floating[Any]], waveform: Waveform) -> Waveform:
    """At the RMS of `waveform`; silence where nothing came through."""
    there = _rms(changed)
    return (changed * (_rms(waveform) / there if there else 0.0)).astype(np.float32)


def _rms(waveform: NDArray[np.floating[Any]]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def _transform_length(n: int) -> int:
    """A power of two that holds `n` samples."""
    return int(1 << max(1, (n - 1).bit_length()))

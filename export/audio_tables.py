"""The front end as a few linear maps: the one source of numbers for every exported graph that takes audio.

A frame's spectrum is computed in stages, as in a mixed-radix FFT. The audio is cut into rows of `b` samples, `b` a
power of two that divides the hop. The samples at one position of all rows of a frame form a short DFT of
`R = fft_size / b` values (first stage, a convolution over rows, which cuts the frames as well); those of all positions
are turned and added (second stage, a matrix product). At 16 kHz this takes a sixth of the multiplications of one DFT
matrix.

Scale, pre-emphasis and window are part of the tables. The mean of the frame, and what pre-emphasis does at its first
sample, are linear, too: they are two more positions of a row.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Wide = NDArray[np.float64]

# Longer rows make the second stage larger, shorter ones the first.
_LONGEST_ROW = 16


class AudioTables(NamedTuple):
    """A front end's settings, resolved, and the constants of its graph. `G = R / 2` groups, `P` positions, `K` rows."""

    options: Mapping[str, Any]
    """What `LogMel.describe` gives."""
    window_length: int
    hop_length: int
    row: int
    """Samples of a row, `b`."""
    rows: Array
    """(P, taps): every position of a row from its samples and, where there are `b + 1` taps, the one before."""
    first_stage: Array
    """(P, 2G, K): two numbers of each group at each position, from the rows of a frame."""
    second_stage: Array
    """(G, 2b, 2P): real, then imaginary parts of a group's bins, from the group's two numbers at all positions."""
    mel: Array
    """(n_mels, 2bG): the filters, for the squares of what the second stage gives."""

    @property
    def emphasises_signal(self) -> bool:
        """Whether pre-emphasis runs over the whole signal, before the tables."""
        return bool(self.options["preemphasis"]) and self.options["preemphasis_mode"] == "signal"

    @property
    def rows_per_hop(self) -> int:
        """Stride of the first stage."""
        return self.hop_length // self.row

    @property
    def padding(self) -> tuple[int, int]:
        """Samples that rows and frames reach before and after the audio, which with "pad_end" fills a window first."""
        framing, fft_size = self.options["framing"], int(self.options["fft_size"])
        before = self.rows.shape[1] - self.row
        after = self.first_stage.shape[2] * self.row - self.window_length
        if framing == "pad_end":
            return before, after + self.hop_length - 1
        if framing == "snip_edges":
            return before, after
        # The window stands in the middle of the FFT, the middle of the FFT on the frame's centre.
        left = fft_size // 2 - (fft_size - self.window_length) // 2
        return before + left, after + self.window_length - left


def audio_tables(front_end: Mapping[str, Any]) -> AudioTables:
    """Computes the constants for keyword arguments of `satn_fast.LogMel`.

    Raises:
        ValueError: The settings are wrong, or ask for double precision.

    Example:
        >>> tables = audio_tables({"preset": "kaldi", "sample_rate": 16000, "n_mels": 40})
        >>> tables.first_stage.shape, tables.second_stage.shape, tables.mel.shape
        ((17, 32, 25), (16, 32, 34), (40, 512))
    """
    from satn_fast.frontend import LogMel

    front = LogMel(**front_end)
    options: dict[str, Any] = front.describe()
    if options["precision"] != "float32":
        raise ValueError(
            f"front_end has precision {options['precision']!r}, but a graph that takes audio computes in float32; "
            "export without audio_input, or train with precision 'float32'"
        )
    length, hop, fft_size = front.frame_length, front.hop_length, int(options["fft_size"])
    # The mean of a frame is that of its rows.
    row = math.gcd(_LONGEST_ROW, hop, fft_size, length if options["remove_dc"] else 0)
    window, bins = options["float_scale"] * _window(options["window"], length), _bins_of_groups(fft_size, row)
    filters, extras = mel_filters(options)[:, bins], _extras(options, window, row)
    return AudioTables(
        options=options,
        window_length=length,
        hop_length=hop,
        row=row,
        rows=_rows(options, row, extras).astype(np.float32),
        first_stage=_first_stage(_of_samples(options, window), fft_size, row, extras).astype(np.float32),
        second_stage=_second_stage(window, fft_size, row, bins, extras).astype(np.float32),
        mel=np.concatenate([filters, filters], axis=2).reshape(len(filters), -1).astype(np.float32),
    )


def least_samples(front_end: Mapping[str, Any]) -> int:
    """Samples of the shortest audio that has a frame, for keyword arguments of `satn_fast.LogMel`.

    Example:
        >>> [least_samples({"preset": preset}) for preset in ("kaldi", "torchaudio", "psf")]
        [400, 257, 1]
    """
    from satn_fast.frontend import LogMel

    front = LogMel(**front_end)
    options: dict[str, Any] = front.describe()
    least = {"snip_edges": front.frame_length, "center_reflect": options["fft_size"] // 2 + 1}
    return int(least.get(options["framing"], 1))


def delta_weights(options: Mapping[str, Any]) -> list[float]:
    """Weights of the frames 1, 2, ... later in the regression of HTK; those before have the negative."""
    reach = int(options["delta_window"])
    squares = sum(i * i for i in range(1, reach + 1))
    return [i / (2.0 * squares) for i in range(1, reach + 1)]


def log_factor(options: Mapping[str, Any]) -> float:
    """What the natural logarithm is multiplied by."""
    return {"ln": 1.0, "log10": 1.0 / math.log(10.0), "db": 10.0 / math.log(10.0)}[options["log"]]


def mel_filters(options: Mapping[str, Any]) -> Wide:
    """(n_mels, fft_size / 2) weights of the power spectrum, for what `LogMel.describe` gives."""
    fft_size, rate, scale = options["fft_size"], options["sample_rate"], options["mel_scale"]
    low, high = (_hz_to_mel(np.array(options[edge]), scale) for edge in ("low_hz", "high_hz"))
    mel = low + (high - low) / (options["n_mels"] + 1) * np.arange(options["n_mels"] + 2)
    hz, index = _mel_to_hz(mel, scale), np.arange(fft_size // 2)
    if options["filters"] == "bins":
        edges, position = np.floor((fft_size + 1.0) * hz / rate), index.astype(np.float64)
    elif options["filters"] == "mel":
        edges, position = mel, _hz_to_mel(index * (rate / fft_size), scale)
    else:
        edges, position = hz, index * (rate / fft_size)
    left, center, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # on whole bins, edges may coincide
        rising = np.where((position >= left) & (position < center), (position - left) / (center - left), 0.0)
        falling = np.where((position >= center) & (position < right), (right - position) / (right - center), 0.0)
    weights: Wide = rising + falling
    if options["filter_norm"] == "slaney":
        weights *= (2.0 / (hz[2:] - hz[:-2]))[:, None]
    return weights / fft_size if options["power_norm"] == "fft_size" else weights


def _window(kind: str, length: int) -> Wide:
    period = length if kind.endswith("_periodic") else length - 1
    cosine = np.cos(2.0 * np.pi * np.arange(length) / period)
    shapes: dict[str, Wide] = {
        "povey": np.maximum(0.5 - 0.5 * cosine, 0.0) ** 0.85,
        "hamming": 0.54 - 0.46 * cosine,
        "hann": 0.5 - 0.5 * cosine,
        "rectangular": np.ones(length),
    }
    return shapes[kind.removesuffix("_periodic")]


def _hz_to_mel(hz: Wide, scale: str) -> Wide:
    if scale == "htk":
        mel: Wide = 2595.0 * np.log10(1.0 + hz / 700.0)
        return mel
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + 27.0 * np.log(np.maximum(hz, 1.0) / 1000.0) / np.log(6.4))


def _mel_to_hz(mel: Wide, scale: str) -> Wide:
    if scale == "htk":
        hz: Wide = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
        return hz
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


def _bins_of_groups(fft_size: int, row: int) -> NDArray[np.int64]:
    """(G, b) bins of each group, those made of one value of the short DFT and of its conjugate.

    The first and the middle value are real, and share group 0. The bin at half the sample rate is in no filter.
    """
    short = fft_size // row
    bins = np.arange(fft_size // 2)
    group = np.minimum(bins % short, -bins % short) % (short // 2)
    return np.argsort(group, kind="stable").reshape(short // 2, row)


class _Extra(NamedTuple):
    """A position of a row that holds no sample: a number that is to be added to a frame's samples with some weights."""

    taps: Wide
    """The number, from the sample before the row and those of the row, `b + 1`."""
    rows: Wide
    """How much each row of a frame contributes, (K,)."""
    weights: Wide
    """(L,)."""


def _emphasises_frames(options: Mapping[str, Any]) -> bool:
    return bool(options["preemphasis"]) and options["preemphasis_mode"] == "frame"


def _extras(options: Mapping[str, Any], window: Wide, row: int) -> list[_Extra]:
    extras, n_rows = [], -(-len(window) // row)
    first = np.eye(n_rows)[0]
    if options["remove_dc"]:
        # Of a constant, pre-emphasis leaves the rest.
        gain = 1.0 - options["preemphasis"] if _emphasises_frames(options) else 1.0
        mean = np.append(0.0, np.full(row, 1.0 / row))
        extras.append(_Extra(mean, np.full(n_rows, 1.0 / n_rows), -gain * window))
    if _emphasises_frames(options) and window[0]:
        # Within a frame, the first sample stands before itself. It takes the place of the one that the signal before
        # the frame has changed; the difference of the two would, in silence after sound, not vanish.
        rest = (1.0 - options["preemphasis"]) * window[0]
        extras.append(_Extra(np.eye(row + 1)[1], first, rest * np.eye(len(window))[0]))
    return extras


def _of_samples(options: Mapping[str, Any], window: Wide) -> Wide:
    """(L,) the window, without a first sample that is an extra position."""
    return np.append(0.0, window[1:]) if _emphasises_frames(options) else window


def _rows(options: Mapping[str, Any], row: int, extras: Sequence[_Extra]) -> Wide:
    """(P, taps), see `AudioTables`."""
    samples = np.eye(row, row + 1, 1)
    if not _emphasises_frames(options):
        return np.stack([*samples, *(extra.taps for extra in extras)])[:, 1:]
    emphasised = samples - options["preemphasis"] * np.eye(row, row + 1)
    return np.stack([*emphasised, *(extra.taps for extra in extras)])


def _first_stage(window: Wide, fft_size: int, row: int, extras: Sequence[_Extra]) -> Wide:
    """(P, 2G, K), see `AudioTables`."""
    short, n_rows = fft_size // row, -(-len(window) // row)
    angle = 2.0 * np.pi / short * (np.arange(short // 2)[:, None] * np.arange(n_rows) % short)
    numbers = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    numbers[0, 1] = (-1.0) ** np.arange(n_rows)  # the middle value stands where the first has its imaginary part
    weights = np.append(window, np.zeros(n_rows * row - len(window))).reshape(n_rows, row)
    passed_on = np.zeros((short // 2, 2, 1))
    passed_on[:, 0] = 1.0
    positions = [*(numbers * of_rows for of_rows in weights.T), *(passed_on * extra.rows for extra in extras)]
    return np.stack(positions).reshape(len(positions), short, n_rows)


def _second_stage(window: Wide, fft_size: int, row: int, bins: NDArray[np.int64], extras: Sequence[_Extra]) -> Wide:
    """(G, 2b, 2P), see `AudioTables`."""
    short = fft_size // row
    value = (bins % short)[:, :, None]
    # How a bin's value of the short DFT is made of the two numbers: itself or its conjugate, or one of the real ones.
    first = np.where(value == short // 2, 0, 1)
    second = np.select([value == 0, value == short // 2, value < short // 2], [0, 1, 1j], -1j)

    def turned(times: int) -> NDArray[np.complex128]:
        """(G, b, times): what a sample at each time contributes to a bin."""
        turns: NDArray[np.complex128] = np.exp(
            -2j * np.pi / fft_size * (bins[:, :, None] * np.arange(times) % fft_size)
        )
        return turns

    samples = np.stack([turned(row) * first, turned(row) * second], axis=3)
    of_extras = np.zeros((*bins.shape, len(extras)), np.complex128)
    for index, extra in enumerate(extras):
        of_extras[:, :, index] = turned(len(window)) @ extra.weights
    numbers = np.stack([of_extras, np.zeros_like(of_extras)], axis=3)
    spectrum = np.concatenate([samples, numbers], axis=2).reshape(*bins.shape, -1)
    return np.concatenate([spectrum.real, spectrum.imag], axis=1)

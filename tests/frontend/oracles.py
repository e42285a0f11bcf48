"""The front end in plain float64 numpy, from the tools' definitions and with nothing shared with the C++ code.

Slow and obvious. `log_mel` takes the dictionary that `LogMel.describe` returns.
"""

import math
from typing import Any

import numpy as np


def samples(seconds: float, rate: int, rounding: str) -> int:
    exact = round(seconds * rate, 5)
    return math.floor(exact) if rounding == "down" else math.floor(exact + 0.5)


def window(kind: str, n: int) -> np.ndarray:
    period = n if kind.endswith("_periodic") else n - 1
    cosine = np.cos(2 * np.pi * np.arange(n) / period)
    kind = kind.removesuffix("_periodic")
    if kind == "povey":
        return (0.5 - 0.5 * cosine) ** 0.85
    if kind == "hamming":
        return 0.54 - 0.46 * cosine
    if kind == "hann":
        return 0.5 - 0.5 * cosine
    return np.ones(n)


def hz_to_mel(hz: np.ndarray, scale: str) -> np.ndarray:
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 1127.0 * np.log(1 + hz / 700)
    log_part = 15 + np.log(np.maximum(hz, 1e-9) / 1000) * 27 / np.log(6.4)
    return np.where(hz < 1000, hz * 3 / 200, log_part)


def mel_to_hz(mel: np.ndarray, scale: str) -> np.ndarray:
    if scale == "htk":
        return 700 * (np.exp(mel / 1127.0) - 1)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def mel_matrix(
    n_mels: int, fft_size: int, rate: int, low: float, high: float, *, scale: str, filters: str, norm: str
) -> np.ndarray:
    """Filters as a dense (n_mels, fft_size / 2 + 1) matrix."""
    mels = np.linspace(hz_to_mel(low, scale), hz_to_mel(high, scale), n_mels + 2)
    edges_hz = mel_to_hz(mels, scale)
    bins = np.arange(fft_size // 2 + 1)
    hz = bins * rate / fft_size
    if filters == "bins":
        edges = np.floor((fft_size + 1) * edges_hz / rate + 1e-9)
        matrix = np.zeros((n_mels, len(bins)))
        for j in range(n_mels):
            left, center, right = edges[j : j + 3].astype(int)
            for i in range(left, center):
                matrix[j, i] = (i - left) / (center - left)
            for i in range(center, right):
                matrix[j, i] = (right - i) / (right - center)
    else:
        edges = mels if filters == "mel" else edges_hz
        x = hz_to_mel(hz, scale) if filters == "mel" else hz
        rising = (x - edges[:-2, None]) / np.diff(edges)[:-1, None]
        falling = (edges[2:, None] - x) / np.diff(edges)[1:, None]
        matrix = np.maximum(0, np.minimum(rising, falling))
        matrix[:, -1] = 0  # the Nyquist bin, reached by rounding only
    if norm == "slaney":
        matrix *= (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return matrix


def frame(signal: np.ndarray, p: dict[str, Any], length: int, hop: int) -> np.ndarray:
    if p["framing"] == "snip_edges":
        count = 0 if len(signal) < length else 1 + (len(signal) - length) // hop
    elif p["framing"] == "pad_end":
        count = 1 + max(0, math.ceil((len(signal) - length) / hop))
        signal = np.pad(signal, (0, max(0, (count - 1) * hop + length - len(signal))))
    else:
        count = 1 + len(signal) // hop
        half = p["fft_size"] // 2
        mode = "reflect" if p["framing"] == "center_reflect" else "constant"
        signal = np.pad(signal, (half, half), mode=mode)[(p["fft_size"] - length) // 2 :]
    return np.array([signal[t * hop : t * hop + length] for t in range(count)]).reshape(count, length)


def mel_energies(waveform: np.ndarray, p: dict[str, Any]) -> np.ndarray:
    """Linear Mel energies, (T, n_mels)."""
    rate = p["sample_rate"]
    length = samples(p["window_seconds"], rate, p["sample_rounding"])
    hop = samples(p["hop_seconds"], rate, p["sample_rounding"])
    scale = p["int16_scale"] if waveform.dtype == np.int16 else p["float_scale"]
    signal = waveform.astype(np.float64) * scale
    if p["preemphasis_mode"] == "signal":
        signal = np.append(signal[:1], signal[1:] - p["preemphasis"] * signal[:-1])
    frames = frame(signal, p, length, hop)
    if p["remove_dc"]:
        frames = frames - frames.mean(axis=1, keepdims=True)
    if p["preemphasis_mode"] == "frame":
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        frames = frames - p["preemphasis"] * before
    power = np.abs(np.fft.rfft(frames * window(p["window"], length), p["fft_size"])) ** 2
    if p["power_norm"] == "fft_size":
        power = power / p["fft_size"]
    matrix = mel_matrix(
        p["n_mels"],
        p["fft_size"],
        p.get("bin_rate", rate),
        p["low_hz"],
        p["high_hz"],
        scale=p["mel_scale"],
        filters=p["filters"],
        norm=p["filter_norm"],
    )
    return power @ matrix.T


def delta(rows: np.ndarray, n: int) -> np.ndarray:
    if len(rows) == 0:
        return rows
    padded = np.pad(rows, ((n, n), (0, 0)), mode="edge")
    total = sum(i * (padded[n + i : n + i + len(rows)] - padded[n - i : n - i + len(rows)]) for i in range(1, n + 1))
    return total / (2 * sum(i * i for i in range(1, n + 1)))


def log_mel(waveform: np.ndarray, p: dict[str, Any]) -> np.ndarray:
    """The features, (T, n_features)."""
    energies = mel_energies(waveform, p)
    if p["floor_mode"] == "clamp":
        energies = np.maximum(energies, p["floor"])
    else:
        energies = np.where(energies == 0, p["floor"], energies)
    rows = {
        "ln": np.log,
        "log10": np.log10,
        "db": lambda x: 10 * np.log10(x),
        "none": lambda x: x,
    }[p["log"]](energies)
    if p["top_db"] is not None and len(rows):
        rows = np.maximum(rows, rows.max() - p["top_db"])
    if not p["deltas"]:
        return rows
    first = delta(rows, p["delta_window"])
    return np.concatenate([rows, first, delta(first, p["delta_window"])], axis=1)

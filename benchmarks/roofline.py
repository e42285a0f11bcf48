"""The fastest that a machine could be: ceilings that are measured on it, not read from a data sheet."""

import functools
import math
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.timing import measure_in_turn
from satn_fast import LogMel, SATNConfig
from satn_fast.config import FEATURE_ORDERS, SPECTRAL_BANDS, SPECTRAL_FRAMES, SPECTRAL_POOLED

# A processor copies what its caches hold faster than the rest, so a ceiling belongs to a size.
SMALLEST_COPY, LARGEST_COPY = 2**16, 2**28

# What forward and backward do, in forwards: each product has two gradients, each of which is such a product.
TRAINING = 3.0


@dataclass(frozen=True)
class Work:
    """What an operation cannot avoid.

    Attributes:
        operations: Floating-point operations, a multiplication and an addition counted as two.
        bytes: Each input read once, each output written once.
    """

    operations: float
    bytes: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Work":
        return Work(self.operations * times, self.bytes * times)

    def share(self, seconds: float, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """What a record says: the work, the part of the time that could not be saved, and what binds it.

        On a processor on as many threads as PyTorch has now.
        """
        floors = self.floors(device, dtype)
        bound = max(floors, key=floors.__getitem__)
        figures = {"operations": self.operations, "bytes": self.bytes}
        return figures | {"roofline_share": floors[bound] / seconds, "bound": bound}

    def floors(self, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
        """Seconds that the arithmetic and the memory take at least."""
        return {
            "arithmetic": self.operations / operations_per_second(device, dtype),
            "memory": self.bytes / bytes_per_second(device, self.bytes),
        }


def convolution(rows: float, c_in: int, c_out: int, taps: int, element_size: int, *, residual: bool = True) -> Work:
    """A convolution of so many frames, forward."""
    traffic = rows * (c_in + c_out * (2 if residual else 1)) + taps * c_in * c_out
    return Work(2.0 * rows * taps * c_in * c_out, traffic * element_size)


def attention(pairs: float, rows: float, heads: int, head_size: int, element_size: int) -> Work:
    """Self-attention forward, over so many pairs of frames that see each other, in each head."""
    return Work(4.0 * pairs * heads * head_size, 4.0 * rows * heads * head_size * element_size)


def pooling(rows: float, channels: int, hidden: int, element_size: int) -> Work:
    """Attentive pooling forward."""
    return Work(2.0 * rows * channels * hidden, rows * channels * element_size)


def visible_pairs(frames: int, window: int | None) -> float:
    """How many pairs of frames see each other in one utterance."""
    if window is None or window >= frames:
        return float(frames * frames) if window is None else frames * (frames + 1) / 2
    return window * (window + 1) / 2 + (frames - window) * window


def model(config: SATNConfig, lengths: Sequence[int]) -> Work:
    """The whole model in float32, forward, on utterances of so many frames: features and parameters are read once."""
    rows, channels, size = sum(lengths), config.channels, 4
    layers = [convolution(rows, channels, channels, config.kernel_size, size)] * (2 * config.n_blocks - 1)
    layers.append(convolution(rows, config.tcn_inputs, channels, config.kernel_size, size))
    layers += [convolution(rows, channels, channels, 1, size)] * 4  # query, key, value, output
    if config.tcn_inputs != channels:
        layers.append(convolution(rows, config.tcn_inputs, channels, 1, size))
    pairs = sum(visible_pairs(frames, config.attention_window) for frames in lengths)
    layers.append(attention(pairs, rows, config.n_heads, channels // config.n_heads, size))
    layers.append(pooling(rows, config.pooled_channels, config.pooling_size, size))
    # The product of two layers need not leave the cache: only what comes from outside and goes there is counted.
    parameters = sum(layer.operations for layer in layers[:-2]) / (2 * rows)
    parameters += config.pooled_channels * config.pooling_size
    if config.spectral_channels:
        places = config.spectral_places * SPECTRAL_POOLED
        seen = FEATURE_ORDERS * SPECTRAL_BANDS
        layers.append(convolution(rows * places, seen, config.spectral_channels, SPECTRAL_FRAMES, size))
        parameters += seen * SPECTRAL_FRAMES * config.spectral_channels
    return Work(sum(layer.operations for layer in layers), size * (rows * config.n_features + parameters))


def log_mel(front_end: LogMel, frames: int) -> Work | None:
    """The front end in float32: the radix-2 FFT of real numbers, power, two Mel filters in each bin; `None` in float64.

    Windowing, logarithms and deltas are not counted: what is counted is little enough to be a floor.
    """
    settings = front_end.describe()
    if settings["precision"] != "float32":
        return None
    n_fft, hop = settings["fft_size"], settings["sample_rate"] * settings["hop_seconds"]
    per_frame = 2.5 * n_fft * math.log2(n_fft) + (3 + 4) * (n_fft // 2 + 1)
    return Work(frames * per_frame, 4.0 * frames * (hop + front_end.n_features))


def bytes_per_second(device: torch.device, n_bytes: float) -> float:
    """A copy of as many bytes, read and written; on a GPU, of a gigabyte."""
    if device.type == "cuda":
        return _copy_on_gpu(device)
    size = 2 ** math.ceil(math.log2(min(max(n_bytes, SMALLEST_COPY), LARGEST_COPY)))
    return _copy_on_cpu(size, torch.get_num_threads())


def operations_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """A large matrix product of random numbers, in the precision that PyTorch gives this dtype now."""
    return _product_on_gpu(device, dtype) if device.type == "cuda" else _product_on_cpu(dtype, torch.get_num_threads())


@functools.cache
def _copy_on_gpu(device: torch.device) -> float:
    n_bytes = 2**30
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = measure_in_turn({"copy": lambda: target.copy_(source)}, device)["copy"].seconds
    return 2 * n_bytes / seconds


@functools.cache
def _product_on_gpu(device: torch.device, dtype: torch.dtype) -> float:
    size = 8192
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    seconds = measure_in_turn({"product": lambda: a @ b}, device)["product"].seconds
    return 2 * size**3 / seconds


@functools.cache
def _copy_on_cpu(n_bytes: int, threads: int) -> float:
    """`threads` are those of PyTorch now; they tell one ceiling from another."""
    source = torch.ones(n_bytes // 8)  # half of the bytes are read, half written
    target = torch.empty_like(source)
    return n_bytes / _least_seconds(lambda: target.copy_(source))


@functools.cache
def _product_on_cpu(dtype: torch.dtype, threads: int) -> float:
    rates = []
    for size in (256, 512, 1024):
        a, b = torch.randn(2, size, size).to(dtype)
        target = torch.empty_like(a)
        rates.append(2 * size**3 / _least_seconds(functools.partial(torch.matmul, a, b, out=target)))
    return max(rates)


def _least_seconds(run: Callable[[], object], seconds: float = 0.2, repeats: int = 12) -> float:
    """The best of several rounds: whatever else runs here can only make a ceiling look lower."""
    once = min(timeit.repeat(run, number=1, repeat=3))
    number = max(1, round(seconds / repeats / max(once, 1e-9)))
    return min(timeit.repeat(run, number=number, repeat=repeats)) / number

"""The launches of the causal convolution that `compile_check` compiles: every entry of the tables of tile sizes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from satn_fast.kernels.causal_conv1d import triton_backend, weight_normalization
from satn_fast.kernels.causal_conv1d.settings import Settings
from satn_fast.kernels.triton_runtime import Architecture, Launch

BATCH, N_FRAMES, TAPS = 32, 1000, 3
SETTINGS = Settings(dilation=4, relu=True, dropout_p=0.1)
NUMBERS = {
    "float16": (torch.float16, "ieee"),
    "bfloat16": (torch.bfloat16, "ieee"),
    "float32": (torch.float32, "ieee"),
    "float32 as tf32": (torch.float32, "tf32"),
}


def compile_cases(target: Architecture) -> Iterator[tuple[str, Launch]]:
    """Names and launches; the tensors have no memory."""
    for name, (dtype, precision) in NUMBERS.items():
        with float32_precision(precision):
            yield f"conv forward, {name}", _forward(target, dtype, 256, everything=True)
            yield f"conv backward input, {name}", _backward_input(target, dtype, 256, gated=True)
            yield f"conv backward weight, {name}", _backward_weight(target, dtype, 256)
    half = torch.bfloat16
    yield "conv forward, bfloat16, evaluating", _forward(target, half, 256, everything=False)
    yield "conv forward, bfloat16, 32 channels", _forward(target, half, 32, everything=True)
    yield "conv forward, bfloat16, 100 channels", _forward(target, half, 100, everything=True)
    yield "conv backward input, no gate", _backward_input(target, half, 256, gated=False)
    yield "conv backward input, 100 channels", _backward_input(target, half, 100, gated=True)
    yield "conv backward weight, real tiles", triton_backend.real_tiles_launch(_frames(256, half), _lengths(), target)
    yield "conv backward epilogue, bfloat16", _backward_epilogue(half, 256)
    yield "conv backward epilogue, float32", _backward_epilogue(torch.float32, 256)
    v, g, weight = _tensor(256, 256, TAPS), _tensor(256, 1, 1), _tensor(TAPS, 256, 256, dtype=half)
    yield "weight norm forward", weight_normalization.forward_launch(v, g, weight)
    yield "weight norm backward", weight_normalization.backward_launch(weight, v, g, v, g)


def _forward(target: Architecture, dtype: torch.dtype, channels: int, everything: bool) -> Launch:
    x, weight, bias = _frames(channels, dtype), _weight(channels, dtype), _tensor(channels, dtype=dtype)
    return triton_backend.forward_launch(
        x,
        weight,
        bias,
        residual=x if everything else None,
        lengths=_lengths(),
        seed=_seed() if everything else None,
        y=x,
        active=_frames(channels // 8, torch.uint8) if everything else None,
        settings=SETTINGS,
        architecture=target,
    )


def _backward_input(target: Architecture, dtype: torch.dtype, channels: int, gated: bool) -> Launch:
    x, weight = _frames(channels, dtype), _weight(channels, dtype)
    return triton_backend.backward_input_launch(
        x, x if gated else None, weight, _lengths(), x, 1.0, settings=SETTINGS, architecture=target
    )


def _backward_weight(target: Architecture, dtype: torch.dtype, channels: int) -> Launch:
    x, shape, real_tiles = _frames(channels, dtype), _weight(channels, dtype).shape, _tensor(1, dtype=torch.int32)
    return triton_backend.backward_weight_launch(
        x, x, x, _lengths(), real_tiles, shape, 1.0, settings=SETTINGS, architecture=target, n_processors=132
    )


def _backward_epilogue(dtype: torch.dtype, channels: int) -> Launch:
    x, active = _frames(channels, dtype), _frames(channels // 8, torch.uint8)
    return triton_backend.backward_epilogue_launch(x, x, active, _lengths(), _seed(), x, x, SETTINGS)


def _tensor(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _frames(channels: int, dtype: torch.dtype) -> Tensor:
    return _tensor(BATCH, N_FRAMES, channels, dtype=dtype)


def _weight(channels: int, dtype: torch.dtype) -> Tensor:
    return _tensor(TAPS, channels, channels, dtype=dtype)


def _lengths() -> Tensor:
    return _tensor(BATCH, dtype=torch.int64)


def _seed() -> Tensor:
    return _tensor(1, dtype=torch.int64)


@contextmanager
def float32_precision(precision: str) -> Iterator[None]:
    """Multiplies float32 `"ieee"` or `"tf32"` for as long as it lasts."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = precision
    try:
        yield
    finally:
        matmul.fp32_precision = before

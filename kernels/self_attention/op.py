"""Checks the arguments of self-attention and chooses what computes it."""

import torch
from torch import Tensor

from satn_fast.kernels.backend import autocast_tensors, runs_on_triton
from satn_fast.kernels.lengths import check_lengths
from satn_fast.kernels.self_attention import registration, torch_backend
from satn_fast.kernels.self_attention.tiles import LARGEST_HEAD_SIZE


def self_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    lengths: Tensor | None = None,
    window: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Multi-head scaled dot-product self-attention (Vaswani et al. 2017, equation 1).

    Args:
        q: (B, T, H, D) queries, floating point.
        k: (B, T, H, D) keys.
        v: (B, T, H, D) values.
        lengths: (B,) integers, the real frames of each row; `None` means all. Padded frames change no output
            and no gradient, and are exactly zero in the result; so is every frame of an empty row.
        window: `W` lets frame `t` attend to frames `t-W+1 .. t` only (causal); `None` to all frames.
        scale: Factor of the scores; `None` means `D ** -0.5`.

    Returns:
        (B, T, H, D), the dtype of `q`.

    Raises:
        ValueError: Shapes differ or a value is out of range.
        RuntimeError: The backend `"triton"` is chosen and cannot run, or the head size is above 128.

    Example:
        >>> q = k = v = torch.randn(2, 5, 4, 8)
        >>> y = self_attention(q, k, v, window=1)  # a frame that sees only itself
        >>> torch.allclose(y, v)
        True
    """
    check_queries_and_keys(q, k, lengths, window)
    if v.shape != k.shape:
        raise ValueError(f"v has shape {tuple(v.shape)}, k has {tuple(k.shape)}; they must be equal")
    if runs_on_triton(q, unless=_too_large(q)):
        return _on_triton(q, k, v, lengths, window, q.shape[-1] ** -0.5 if scale is None else scale)
    if q.shape[0] == 0 or q.shape[1] == 0:
        return torch.zeros_like(v)
    return torch_backend.self_attention(q, k, v, lengths=lengths, window=window, scale=scale)


def _too_large(q: Tensor) -> str | None:
    if q.shape[-1] <= LARGEST_HEAD_SIZE:
        return None
    return f"the kernels of self_attention take head sizes up to {LARGEST_HEAD_SIZE}, not {q.shape[-1]}"


def _on_triton(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, window: int | None, scale: float) -> Tensor:
    q, k, v = autocast_tensors(q, k, v)
    for name, tensor in (("k", k), ("v", v)):
        if tensor.dtype != q.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, but q is {q.dtype}; convert one of them or use autocast")
    if scale < 0.0:
        # The kernels look for the largest score before they scale.
        q, scale = -q, -scale
    y: Tensor = registration.self_attention(q, k, v, lengths, window, float(scale))[0]
    return y


def check_queries_and_keys(q: Tensor, k: Tensor, lengths: Tensor | None, window: int | None) -> None:
    """Refuses queries and keys that cannot make an attention map.

    Raises:
        ValueError: Shapes differ or a value is out of range.
    """
    if q.dim() != 4:
        raise ValueError(f"q has shape {tuple(q.shape)}; give (batch, frames, heads, head_size)")
    if k.shape != q.shape:
        raise ValueError(f"k has shape {tuple(k.shape)}, q has {tuple(q.shape)}; they must be equal")
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; choose a number of frames from 1, or None for all")
    check_lengths(lengths, q, "q")

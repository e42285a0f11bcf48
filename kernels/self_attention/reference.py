"""Self-attention in plain PyTorch: the specification. It builds the T x T map."""

import torch
from torch import Tensor

from satn_fast.kernels.lengths import frame_mask, zero_padded


def self_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    lengths: Tensor | None = None,
    window: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """See `satn_fast.functional.self_attention`."""
    weights = attention_map(q, k, lengths=lengths, window=window, scale=scale)
    return torch.einsum("bhqk,bkhd->bqhd", weights, zero_padded(v, lengths))


def attention_map(
    q: Tensor,
    k: Tensor,
    *,
    lengths: Tensor | None = None,
    window: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Gives the attention weights themselves.

    Args:
        q: (B, T, H, D) queries.
        k: (B, T, H, D) keys.
        lengths: (B,) integers or `None`.
        window: Attend to the last `window` frames only, or `None` for all.
        scale: Factor of the scores; `None` means `D ** -0.5`.

    Returns:
        (B, H, T, T): a row per query that sums to 1, and is zero for padded queries and keys.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.einsum("bqhd,bkhd->bhqk", zero_padded(q, lengths), zero_padded(k, lengths)) * scale
    hidden = ~visible_keys(q, lengths, window)
    # The second fill turns rows without any key (softmax gives NaN there) into zeros.
    return scores.masked_fill(hidden, -torch.inf).softmax(-1).masked_fill(hidden, 0.0)


def visible_keys(q: Tensor, lengths: Tensor | None, window: int | None) -> Tensor:
    """Tells which keys each query attends to: (B or 1, 1, T, T) bool."""
    n_frames = q.shape[1]
    frames = torch.arange(n_frames, device=q.device)
    distance = frames[:, None] - frames
    visible = torch.ones_like(distance, dtype=torch.bool)
    if window is not None:
        visible = (distance >= 0) & (distance < window)
    visible = visible[None, None]
    if lengths is not None:
        real = frame_mask(lengths, n_frames)
        visible = visible & real[:, None, None, :] & real[:, None, :, None]
    return visible

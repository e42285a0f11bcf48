"""Self-attention on PyTorch's scaled_dot_product_attention; a window costs O(T * window), not O(T^2)."""

import torch
import torch.nn.functional as F
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
    q, k, v = (zero_padded(tensor, lengths) for tensor in (q, k, v))
    # A causal window never looks at padding, which stands after the real frames: it needs no lengths.
    y = _whole_utterance(q, k, v, lengths, scale) if window is None else _windowed(q, k, v, window, scale)
    return zero_padded(y, lengths)


def _whole_utterance(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, scale: float | None) -> Tensor:
    visible = None
    if lengths is not None:
        # A row without frames would have nothing to attend to (NaN); it looks at its first, zeroed frame.
        visible = frame_mask(lengths.clamp(min=1), q.shape[1])[:, None, None, :]
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=visible, scale=scale
    )
    return y.transpose(1, 2)


def _windowed(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float | None) -> Tensor:
    """Cuts time into tiles of `window` frames; a tile attends to itself and the tile before it."""
    batch, n_frames, heads, size = q.shape
    window = min(window, n_frames)
    tail = -n_frames % window
    q, k, v = (F.pad(tensor, (0, 0, 0, 0, 0, tail)) for tensor in (q, k, v))
    n_tiles = q.shape[1] // window

    queries = q.reshape(batch * n_tiles, window, heads, size)
    keys, values = (_with_previous_tile(tensor.reshape(batch, n_tiles, window, heads, size)) for tensor in (k, v))
    visible = _visible_in_tiles(window, n_tiles, q.device).repeat(batch, 1, 1, 1)
    y = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=visible, scale=scale
    )
    return y.transpose(1, 2).reshape(batch, n_tiles * window, heads, size)[:, :n_frames]


def _with_previous_tile(tiles: Tensor) -> Tensor:
    """(B, N, W, H, D) to (B*N, 2W, H, D): every tile preceded by the one before it, zeros before the first."""
    previous = F.pad(tiles[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([previous, tiles], dim=2).flatten(0, 1)


def _visible_in_tiles(window: int, n_tiles: int, device: torch.device) -> Tensor:
    """(N, 1, W, 2W) bool: the last `window` keys of each query, none from before the start."""
    query = torch.arange(window, device=device)[:, None]
    key = torch.arange(-window, window, device=device)[None, :]
    in_window = (key <= query) & (key > query - window)
    not_before_start = (torch.arange(n_tiles, device=device)[:, None, None] > 0) | (key >= 0)
    return (in_window & not_before_start)[:, None]

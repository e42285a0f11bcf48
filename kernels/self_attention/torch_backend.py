"""Self-attention on PyTorch's scaled_dot_product_attention; a window costs O(T * window), not O(T^2).

`self_attention` is what runs where there is no Triton, with PyTorch's own gradients. `forward` and `backward` compute
what the kernels compute, with the same arguments, for `torch.ops.satn_fast.self_attention` on any device; they build
the T x T map.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.kernels.lengths import frame_mask, zero_padded
from satn_fast.kernels.self_attention.reference import visible_keys


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
    return zero_padded(unmasked_self_attention(q, k, v, lengths=lengths, window=window, scale=scale), lengths)


def unmasked_self_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    lengths: Tensor | None = None,
    window: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """The same where padding is finite; what it gives at padded frames means nothing and must get no gradient."""
    # A causal window never looks at padding, which stands after the real frames: it needs no lengths.
    if window is not None and tiles_pay(q.shape[1], window):
        return _in_tiles(q, k, v, window, scale)
    if window is not None:
        return _whole_map(q, k, v, visible_keys(q, None, window), scale)
    # A row without frames would have nothing to attend to (NaN); it looks at its first frame.
    visible = None if lengths is None else frame_mask(lengths.clamp(min=1), q.shape[1])[:, None, None, :]
    return _whole_map(q, k, v, visible, scale)


def tiles_pay(n_frames: int, window: int) -> bool:
    """Whether tiles take less time than the whole map, on a CPU. What is traced takes them for every length."""
    return torch.compiler.is_compiling() or 2 * n_frames > 5 * window


def _whole_map(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, scale: float | None) -> Tensor:
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=visible, scale=scale
    )
    return y.transpose(1, 2)


def _in_tiles(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float | None) -> Tensor:
    """Cuts time into tiles of `window` frames; a tile attends to itself and the tile before it."""
    batch, n_frames, heads, size = q.shape
    window = min(window, n_frames)
    tail = -n_frames % window
    q, k, v = (F.pad(tensor, (0, 0, 0, 0, 0, tail)) for tensor in (q, k, v))
    n_tiles = q.shape[1] // window

    queries = q.reshape(batch * n_tiles, window, heads, size)
    keys, values = (with_previous_tile(tensor.reshape(batch, n_tiles, window, heads, size)) for tensor in (k, v))
    visible = visible_in_tiles(window, n_tiles, q.device).repeat(batch, 1, 1, 1)
    y = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=visible, scale=scale
    )
    return y.transpose(1, 2).reshape(batch, n_tiles * window, heads, size)[:, :n_frames]


def with_previous_tile(tiles: Tensor) -> Tensor:
    """(B, N, W, H, D) to (B*N, 2W, H, D): every tile preceded by the one before it, zeros before the first."""
    previous = F.pad(tiles[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([previous, tiles], dim=2).flatten(0, 1)


def visible_in_tiles(window: int, n_tiles: int, device: torch.device) -> Tensor:
    """(N, 1, W, 2W) bool: the last `window` keys of each query, none from before the start."""
    query = torch.arange(window, device=device)[:, None]
    key = torch.arange(-window, window, device=device)[None, :]
    in_window = (key <= query) & (key > query - window)
    not_before_start = (torch.arange(n_tiles, device=device)[:, None, None] > 0) | (key >= 0)
    return (in_window & not_before_start)[:, None]


def forward(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, window: int | None, scale: float
) -> tuple[Tensor, Tensor]:
    """See `triton_backend.forward`."""
    scores = _scores_to_base_2(q, k, lengths, window, scale)
    log_sum_exp = torch.logsumexp(scores * math.log(2.0), -1) / math.log(2.0)
    # Padded queries see nothing: their sum is zero, and nothing must not be divided by it.
    log_sum_exp = log_sum_exp.masked_fill(log_sum_exp == -math.inf, math.inf)
    weights = torch.exp2(scores - log_sum_exp[..., None])
    o = torch.einsum("bhqk,bkhd->bqhd", weights, zero_padded(v, lengths).to(weights.dtype))
    return o.to(q.dtype).contiguous(), log_sum_exp.float()


def backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    log_sum_exp: Tensor,
    lengths: Tensor | None,
    window: int | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `triton_backend.backward`."""
    weights = torch.exp2(_scores_to_base_2(q, k, lengths, window, scale) - log_sum_exp[..., None])
    dtype = q.dtype
    do, q, k, v, o = (zero_padded(x, lengths).to(weights.dtype) for x in (do, q, k, v, o))
    dweights = torch.einsum("bqhd,bkhd->bhqk", do, v)
    delta = (do * o).sum(-1).transpose(1, 2)
    dscores = weights * (dweights - delta[..., None]) * scale
    dq = torch.einsum("bhqk,bkhd->bqhd", dscores, k)
    dk = torch.einsum("bhqk,bqhd->bkhd", dscores, q)
    dv = torch.einsum("bhqk,bqhd->bkhd", weights, do)
    return dq.to(dtype).contiguous(), dk.to(dtype).contiguous(), dv.to(dtype).contiguous()


def _scores_to_base_2(q: Tensor, k: Tensor, lengths: Tensor | None, window: int | None, scale: float) -> Tensor:
    """(B, H, T, T), at least float32: what exp2 makes the weights of, but for their sum; -inf where nothing is seen."""
    wide = torch.promote_types(q.dtype, torch.float32)
    q, k = (zero_padded(x, lengths).to(wide) for x in (q, k))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (scale * math.log2(math.e))
    return scores.masked_fill(~visible_keys(q, lengths, window), -math.inf)

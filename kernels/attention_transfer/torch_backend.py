"""The attention-transfer losses in PyTorch; a window costs O(T * window), not O(T^2).

`attention_transfer_loss` is what runs where there is no Triton, with PyTorch's own gradients. `forward` and `backward`
compute what the kernels compute, with the same arguments, for `torch.ops.satn_fast.attention_transfer_loss` on any
device: they build both maps, and the statistics that the kernels keep for the gradient stay empty.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.kernels.attention_transfer import reference
from satn_fast.kernels.attention_transfer.settings import Settings
from satn_fast.kernels.lengths import frame_mask, zero_padded
from satn_fast.kernels.self_attention.reference import attention_map, visible_keys
from satn_fast.kernels.self_attention.torch_backend import tiles_pay, visible_in_tiles, with_previous_tile

# The score of a hidden key. Its exponential is zero, and unlike with infinity, so is a difference of two logarithms.
_HIDDEN = -1e30


def attention_transfer_loss(
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    *,
    lengths: Tensor | None,
    window: int | None,
    loss: str,
    scale: float | None,
) -> Tensor:
    """See `satn_fast.functional.attention_transfer_loss`."""
    tile = window if window is not None and tiles_pay(q.shape[1], window) else None

    def scores(q: Tensor, k: Tensor) -> Tensor:
        q, k = _scaled(q, k, lengths, scale)
        return _whole_scores(q, k, lengths, window) if tile is None else _tiled_scores(q, k, tile)

    student = scores(q, k)
    with torch.no_grad():
        source = scores(q_source, k_source)
    real = _real_rows(q, lengths, tile)
    if loss == "at":
        distance = _mean_over_maps(student.softmax(-1), source.softmax(-1), real)
    else:
        of_row = _squared_distance if loss == "mse" else _divergence
        distance = _mean_over_rows(of_row(student, source), real)
    return distance.to(q.dtype)


def _scaled(q: Tensor, k: Tensor, lengths: Tensor | None, scale: float | None) -> tuple[Tensor, Tensor]:
    """At least float32, zeros in the padding, queries times the scale."""
    wide = torch.promote_types(q.dtype, torch.float32)
    q, k = (zero_padded(x, lengths).to(wide) for x in (q, k))
    return q * (q.shape[-1] ** -0.5 if scale is None else scale), k


def _whole_scores(q: Tensor, k: Tensor, lengths: Tensor | None, window: int | None) -> Tensor:
    """(B, 1, H, T, T): one tile of everything."""
    scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1)
    if lengths is not None or window is not None:
        scores = scores.masked_fill(~visible_keys(q, lengths, window), _HIDDEN)
    return scores[:, None]


def _tiled_scores(q: Tensor, k: Tensor, window: int) -> Tensor:
    """(B, N, H, window, 2 * window): N tiles. A window never looks at padding, which stands behind the real frames."""
    q, k = _tiles(q, window), _tiles(k, window)
    keys = with_previous_tile(k).reshape(*k.shape[:2], -1, *k.shape[3:])
    scores = q.transpose(2, 3) @ keys.permute(0, 1, 3, 4, 2)
    return scores.masked_fill(~visible_in_tiles(q.shape[2], q.shape[1], q.device), _HIDDEN)


def _real_rows(q: Tensor, lengths: Tensor | None, tile: int | None) -> Tensor | None:
    """(B, N, 1, n) bool: which queries count; `None` if all do."""
    if lengths is None and tile is None:
        return None
    real = torch.ones_like(q[:, :, 0, 0], dtype=torch.bool) if lengths is None else frame_mask(lengths, q.shape[1])
    return real[:, None, None] if tile is None else _tiles(real, tile)[:, :, None]


def _tiles(x: Tensor, window: int) -> Tensor:
    """(B, T, ...) to (B, N, window, ...), zeros behind the end."""
    size = min(window, x.shape[1])
    padded = F.pad(x, (*(0, 0) * (x.dim() - 2), 0, -x.shape[1] % size))
    return padded.reshape(x.shape[0], -1, size, *x.shape[2:])


def _squared_distance(student: Tensor, source: Tensor) -> Tensor:
    """Squared distance of each row of the maps, from scores."""
    return (student.softmax(-1) - source.softmax(-1)).square().sum(-1)


def _divergence(student: Tensor, source: Tensor) -> Tensor:
    """KL(source, student) of each row of the maps, from scores."""
    student, source = student.log_softmax(-1), source.log_softmax(-1)
    return (source.exp() * (source - student)).sum(-1)


def _mean_over_rows(per_row: Tensor, real: Tensor | None) -> Tensor:
    """(B, N, H, n) to a scalar."""
    if real is None:
        return per_row.mean()
    return (per_row * real).sum() / (real.sum() * per_row.shape[2]).clamp(min=1)


def _mean_over_maps(student: Tensor, source: Tensor, real: Tensor | None) -> Tensor:
    """Mean over maps of the squared distance between the maps divided by their L2 norms."""
    if real is not None:
        student, source = student * real[..., None], source * real[..., None]
    difference = _unit_norm(student) - _unit_norm(source)
    per_map = difference.square().sum((1, 3, 4))
    if real is None:
        return per_map.mean()
    return per_map.sum() / (real.any(-1).any(1).sum() * per_map.shape[1]).clamp(min=1)


def _unit_norm(maps: Tensor) -> Tensor:
    # The norm of a map with rows is at least 1, see the reference; only one without stays zero.
    return maps * maps.square().sum((1, 3, 4), keepdim=True).clamp(min=0.5).rsqrt()


def forward(
    q: Tensor, k: Tensor, q_source: Tensor, k_source: Tensor, lengths: Tensor | None, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """See `triton_backend.forward`."""
    batch, n_frames, n_heads, _ = q.shape
    rows = q.new_zeros(settings.n_statistics, batch * n_heads, n_frames, dtype=torch.float32)
    maps = q.new_zeros(2, batch * n_heads, dtype=torch.float32)
    if not rows.numel():
        return q.new_zeros((), dtype=torch.float32), rows, maps
    student, source = _maps(q, k, q_source, k_source, lengths, settings)
    return reference.distance(student, source, lengths, settings.loss).float(), rows, maps


def backward(
    upstream: Tensor,
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    lengths: Tensor | None,
    rows: Tensor,
    maps: Tensor,
    settings: Settings,
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    """See `triton_backend.backward`; the formulas are in README.md."""
    dscores = q.new_zeros(q.shape[0], q.shape[2], q.shape[1], q.shape[1])
    if dscores.numel():
        dscores = _score_gradient(*_maps(q, k, q_source, k_source, lengths, settings), lengths, settings.loss)
    dscores = (dscores * (settings.scale * upstream)).to(q.dtype)
    dq = torch.einsum("bhqk,bkhd->bqhd", dscores, zero_padded(k, lengths)) if wanted[0] else q.new_empty(0)
    dk = torch.einsum("bhqk,bqhd->bkhd", dscores, zero_padded(q, lengths)) if wanted[1] else k.new_empty(0)
    return dq.contiguous(), dk.contiguous()


def _maps(
    q: Tensor, k: Tensor, q_source: Tensor, k_source: Tensor, lengths: Tensor | None, settings: Settings
) -> tuple[Tensor, Tensor]:
    with torch.autocast(q.device.type, enabled=False):
        student = attention_map(q, k, lengths=lengths, window=settings.window, scale=settings.scale)
        source = attention_map(q_source, k_source, lengths=lengths, window=settings.window, scale=settings.scale_source)
    return student, source


def _score_gradient(student: Tensor, source: Tensor, lengths: Tensor | None, loss: str) -> Tensor:
    """(B, H, T, T) gradient of the loss with respect to the student's scores."""
    batch, n_heads, n_frames, _ = student.shape
    n_real = student.new_full((batch,), n_frames) if lengths is None else lengths.to(student.dtype)
    if loss == "kl":
        return (student - source) / (n_real.sum() * n_heads).clamp(min=1)
    if loss == "mse":
        gradient = 2 * (student - source) / (n_real.sum() * n_heads).clamp(min=1)
    else:
        norm, norm_source = (
            maps.square().sum((-2, -1), keepdim=True).clamp(min=0.5).sqrt() for maps in (student, source)
        )
        student_unit, source_unit = student / norm, source / norm_source
        cosine = (student_unit * source_unit).sum((-2, -1), keepdim=True)
        gradient = 2 * (cosine * student_unit - source_unit) / norm / ((n_real > 0).sum() * n_heads).clamp(min=1)
    return student * (gradient - (student * gradient).sum(-1, keepdim=True))

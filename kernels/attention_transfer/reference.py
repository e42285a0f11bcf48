"""The attention-transfer losses in plain PyTorch: the specification. It builds both T x T maps."""

import torch
from torch import Tensor

from satn_fast.kernels.lengths import frame_mask
from satn_fast.kernels.self_attention.reference import attention_map


def attention_transfer_loss(
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    *,
    lengths: Tensor | None = None,
    window: int | None = None,
    loss: str = "kl",
    scale: float | None = None,
) -> Tensor:
    """See `satn_fast.functional.attention_transfer_loss`."""
    student = attention_map(q, k, lengths=lengths, window=window, scale=scale)
    with torch.no_grad():
        source = attention_map(q_source, k_source, lengths=lengths, window=window, scale=scale)
    return distance(student, source, lengths, loss)


def distance(student: Tensor, source: Tensor, lengths: Tensor | None, loss: str) -> Tensor:
    """The distance between attention maps (B, H, T, T), a scalar."""
    if loss == "at":
        return _normalised_map_distance(student, source, lengths)
    of_row = _squared_distance if loss == "mse" else _divergence
    return _mean_over_rows(of_row(student, source), lengths)


def _squared_distance(student: Tensor, source: Tensor) -> Tensor:
    """(B, H, T): squared distance of each row."""
    return (student - source).square().sum(-1)


def _divergence(student: Tensor, source: Tensor) -> Tensor:
    """(B, H, T): KL(source, student) of each row. Where the source is zero the term is zero."""
    smallest = torch.finfo(student.dtype).tiny
    log_ratio = source.clamp(min=smallest).log() - student.clamp(min=smallest).log()
    return (source * log_ratio).sum(-1)


def _mean_over_rows(per_row: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return per_row.mean()
    real = frame_mask(lengths, per_row.shape[-1])[:, None]
    n_rows = (real.sum() * per_row.shape[1]).clamp(min=1)
    return (per_row * real).sum() / n_rows


def _normalised_map_distance(student: Tensor, source: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean over maps of the squared distance between the maps divided by their L2 norms."""
    per_map = (_unit_norm(student) - _unit_norm(source)).square().sum((-2, -1))
    if lengths is None:
        return per_map.mean()
    real = (lengths > 0)[:, None]
    n_maps = (real.sum() * per_map.shape[1]).clamp(min=1)
    return (per_map * real).sum() / n_maps


def _unit_norm(maps: Tensor) -> Tensor:
    # The norm of a non-empty map is at least 1 (every row sums to 1 over T keys: at least 1/sqrt(T) per row,
    # T rows); only an empty map, all zero, is below, and stays zero.
    return maps / maps.square().sum((-2, -1), keepdim=True).clamp(min=0.5).sqrt()

"""The attention-transfer losses in PyTorch, with the arguments of the kernels: builds both maps.

For `torch.ops.satn_fast.attention_transfer_loss` where the kernels cannot run. The statistics that they keep for the
gradient are not needed here and stay empty.
"""

import torch
from torch import Tensor

from satn_fast.kernels.attention_transfer import reference
from satn_fast.kernels.attention_transfer.settings import Settings
from satn_fast.kernels.lengths import zero_padded
from satn_fast.kernels.self_attention.reference import attention_map


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

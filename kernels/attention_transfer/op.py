"""Checks the arguments of the attention-transfer losses and runs them."""

import torch
from torch import Tensor

from satn_fast.kernels.attention_transfer import registration, torch_backend
from satn_fast.kernels.attention_transfer.tiles import LARGEST_HEAD
from satn_fast.kernels.backend import autocast_tensors, runs_on_triton
from satn_fast.kernels.self_attention.op import check_queries_and_keys

LOSSES = ("mse", "kl", "at")


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
    """Distance between a student's attention maps and a source model's, over the real frames.

    Args:
        q: (B, T, H, D) student queries.
        k: (B, T, H, D) student keys.
        q_source: (B, T, H, D') source queries; no gradient goes there.
        k_source: (B, T, H, D') source keys; no gradient goes there.
        lengths: (B,) integers, the real frames of each row; `None` means all.
        window: The attention window of both models, in frames, or `None`.
        loss: `"mse"`, `"kl"` (source as target) or `"at"` (maps divided by their L2 norm, then squared
            distance; Zagoruyko & Komodakis 2017).
        scale: Factor of the scores of both; `None` means `D ** -0.5` of each.

    Returns:
        A scalar, zero when the maps agree, and for a batch without real frames. The dtype of `q`; float32 under
        autocast.

    Raises:
        ValueError: Shapes do not fit, or the loss is unknown.

    Example:
        >>> import torch
        >>> q, k = torch.randn(2, 1, 5, 4, 8)
        >>> attention_transfer_loss(q, k, q, k, loss="mse").item()
        0.0
    """
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; choose one of {', '.join(LOSSES)}")
    check_queries_and_keys(q, k, lengths, window)
    check_queries_and_keys(q_source, k_source, lengths, window)
    if q.shape[:3] != q_source.shape[:3]:
        raise ValueError(
            f"q has (batch, frames, heads) {tuple(q.shape[:3])}, q_source {tuple(q_source.shape[:3])}; "
            "student and source must look at the same utterances with the same number of heads"
        )
    size = max(q.shape[3], q_source.shape[3])
    unless = f"heads have size {size}, and the kernels compute up to {LARGEST_HEAD}" if size > LARGEST_HEAD else None
    if runs_on_triton(q, unless):
        return _on_triton(q, k, q_source, k_source, lengths, window, loss, scale)
    if q.shape[0] == 0 or q.shape[1] == 0:
        return q.new_zeros(())
    return torch_backend.attention_transfer_loss(
        q, k, q_source, k_source, lengths=lengths, window=window, loss=loss, scale=scale
    )


def _on_triton(
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    lengths: Tensor | None,
    window: int | None,
    loss: str,
    scale: float | None,
) -> Tensor:
    dtype = torch.float32 if torch.is_autocast_enabled(q.device.type) else q.dtype
    q, k, q_source, k_source = autocast_tensors(q, k, q_source, k_source)
    for name, tensor in (("k", k), ("q_source", q_source), ("k_source", k_source)):
        if tensor.dtype != q.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, but q is {q.dtype}; convert one of them or use autocast")
    scales = (q.shape[3] ** -0.5, q_source.shape[3] ** -0.5) if scale is None else (float(scale), float(scale))
    result: Tensor = registration.attention_transfer_loss(
        q, k, q_source.detach(), k_source.detach(), lengths, loss, window, *scales
    )[0]
    return result.to(dtype)

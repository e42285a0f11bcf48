"""`torch.ops.satn_fast.attention_transfer_loss` and its backward pass, as PyTorch's compiler and exporter know them.

The forward pass keeps four to six numbers of every row of the maps and two of every map; the backward pass computes the
maps again, tile by tile. The ops compute on any device: with the kernels where they can run, with PyTorch elsewhere.
"""

from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.attention_transfer import torch_backend, triton_backend
from satn_fast.kernels.attention_transfer.settings import Settings
from satn_fast.kernels.registration import implementation_for, register_gradients


@torch.library.custom_op("satn_fast::attention_transfer_loss", mutates_args=())
def attention_transfer_loss(
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    lengths: Tensor | None,
    loss: str,
    window: int | None,
    scale: float,
    scale_source: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, a float32 scalar, and what its gradient needs: numbers of rows (n, B*H, T) and of maps (2, B*H).

    Args:
        q: (B, T, H, D) student queries.
        k: (B, T, H, D) student keys.
        q_source: (B, T, H, D') source queries.
        k_source: (B, T, H, D') source keys.
        lengths: (B,) integers or `None`.
        loss: `"mse"`, `"kl"` or `"at"`.
        window: Frames that a query sees, or `None`.
        scale: Factor of the student's scores.
        scale_source: Factor of the source's scores.
    """
    settings = Settings(loss, window, scale, scale_source)
    value, rows, maps = implementation_for(q, triton_backend, torch_backend).forward(
        q, k, q_source, k_source, lengths, settings
    )
    return value, rows, maps


@attention_transfer_loss.register_fake
def _(
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    lengths: Tensor | None,
    loss: str,
    window: int | None,
    scale: float,
    scale_source: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, n_frames, n_heads, _ = q.shape
    n_statistics = Settings(loss, window, scale, scale_source).n_statistics
    return (
        q.new_empty((), dtype=torch.float32),
        q.new_empty(n_statistics, batch * n_heads, n_frames, dtype=torch.float32),
        q.new_empty(2, batch * n_heads, dtype=torch.float32),
    )


@torch.library.custom_op("satn_fast::attention_transfer_loss_backward", mutates_args=())
def attention_transfer_loss_backward(
    upstream: Tensor,
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    lengths: Tensor | None,
    rows: Tensor,
    maps: Tensor,
    loss: str,
    window: int | None,
    scale: float,
    scale_source: float,
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    """Gradients of the student's queries and keys; empty where `wanted` says no.

    Args:
        upstream: () float32 gradient of the loss.
        q: (B, T, H, D) student queries.
        k: (B, T, H, D) student keys.
        q_source: (B, T, H, D') source queries.
        k_source: (B, T, H, D') source keys.
        lengths: (B,) integers or `None`.
        rows: (n, B*H, T) what the forward pass kept of rows.
        maps: (2, B*H) what it kept of maps.
        loss: `"mse"`, `"kl"` or `"at"`.
        window: Frames that a query sees, or `None`.
        scale: Factor of the student's scores.
        scale_source: Factor of the source's scores.
        wanted: Which of the two gradients to compute.
    """
    settings = Settings(loss, window, scale, scale_source)
    dq, dk = implementation_for(q, triton_backend, torch_backend).backward(
        upstream, q, k, q_source, k_source, lengths, rows, maps, settings, wanted
    )
    return dq, dk


@attention_transfer_loss_backward.register_fake
def _(
    upstream: Tensor,
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    lengths: Tensor | None,
    rows: Tensor,
    maps: Tensor,
    loss: str,
    window: int | None,
    scale: float,
    scale_source: float,
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape if wanted[0] else (0,)), k.new_empty(k.shape if wanted[1] else (0,))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, loss, window, scale, scale_source = inputs
    _, rows, maps = output
    ctx.mark_non_differentiable(rows, maps)
    ctx.settings = loss, window, scale, scale_source
    ctx.save_for_backward(*tensors, rows, maps)


def _backward(ctx: Any, upstream: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if any(ctx.needs_input_grad[2:4]):
        raise RuntimeError(
            "satn_fast::attention_transfer_loss gives the source no gradient; detach q_source and k_source"
        )
    wanted = [bool(needed) for needed in ctx.needs_input_grad[:2]]
    gradients = torch.ops.satn_fast.attention_transfer_loss_backward(
        upstream, *ctx.saved_tensors, *ctx.settings, wanted
    )
    return *(gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)), *([None] * 7)


register_gradients(
    "attention_transfer_loss",
    attention_transfer_loss,
    attention_transfer_loss_backward,
    backward=_backward,
    setup_context=_setup_context,
)

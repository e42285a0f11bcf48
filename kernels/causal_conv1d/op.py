"""Checks the arguments of the dilated causal convolution and chooses what computes it."""

import torch
from torch import Tensor

from satn_fast.kernels.backend import autocast_tensors, runs_on_triton
from satn_fast.kernels.causal_conv1d import registration, torch_backend
from satn_fast.kernels.lengths import check_lengths

ACTIVATIONS = (None, "relu")


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int = 1,
    residual: Tensor | None = None,
    activation: str | None = None,
    dropout_p: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Dilated causal convolution over time, with what usually follows it.

    `y[t] = bias + sum_j weight[:, :, K-1-j] x[t - j*dilation]`, zeros before the start; then the activation,
    dropout, and, where `residual` is given, `relu(y + residual)` (the residual block of Bai et al. 2018).

    Args:
        x: (B, T, Cin) floating point.
        weight: (Cout, Cin, K), the layout of `torch.nn.Conv1d`.
        bias: (Cout,) or `None`.
        dilation: Frames between taps, from 1.
        residual: (B, T, Cout), added after dropout, followed by a ReLU; or `None`.
        activation: `"relu"` or `None`, applied before dropout.
        dropout_p: Probability of dropping a channel of an utterance, all of its frames, in [0, 1) (spatial dropout:
            Tompson et al. 2015; Bai et al. 2018, section 3.3). What is kept is divided by `1 - dropout_p`. Applied
            whenever it is above 0.
        lengths: (B,) integers, the real frames of each row; `None` means all. Padded frames change no output
            and no gradient, and are exactly zero in the result.

    Returns:
        (B, T, Cout), the dtype of `x`, or autocast's where that is on.

    Raises:
        ValueError: A shape does not fit, or a value is out of range.
        RuntimeError: Triton is chosen with `satn_fast.set_backend` and cannot run here.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[1.0], [2.0], [3.0]]])
        >>> causal_conv1d(x, torch.ones(1, 1, 2), dilation=2).flatten().tolist()
        [1.0, 2.0, 4.0]
    """
    _check(x, weight, bias, dilation, residual, activation, dropout_p)
    check_lengths(lengths, x)
    if runs_on_triton(x):
        return _on_triton(x, weight, bias, residual, lengths, dilation, activation == "relu", dropout_p)
    if x.shape[0] == 0 or x.shape[1] == 0:
        return x.new_zeros(x.shape[0], x.shape[1], weight.shape[0])
    return torch_backend.causal_conv1d(
        x,
        weight,
        bias,
        dilation=dilation,
        residual=residual,
        activation=activation,
        dropout_p=dropout_p,
        lengths=lengths,
    )


def _on_triton(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    dilation: int,
    relu: bool,
    dropout_p: float,
) -> Tensor:
    x, weight, bias, residual = autocast_tensors(x, weight, bias, residual)
    for name, tensor in (("weight", weight), ("bias", bias), ("residual", residual)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, but x is {x.dtype}; convert one of them or use autocast")
    needs_gradient = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (x, weight, bias, residual)
    )
    keep_active = needs_gradient and relu and residual is not None
    # Drawn on the device: no wait for it, and a captured CUDA graph draws anew with every replay.
    seed = torch.randint(2**63 - 1, (1,), device=x.device) if dropout_p > 0.0 else None
    y: Tensor = registration.causal_conv1d(
        x, weight, bias, residual, lengths, seed, dilation, relu, dropout_p, keep_active
    )[0]
    return y


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    residual: Tensor | None,
    activation: str | None,
    dropout_p: float,
) -> None:
    if x.dim() != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}; give (batch, frames, channels)")
    if weight.dim() != 3 or weight.shape[1] != x.shape[2]:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; give (out_channels, {x.shape[2]}, kernel_size) "
            f"for x of shape {tuple(x.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}; give ({weight.shape[0]},)")
    output_shape = (x.shape[0], x.shape[1], weight.shape[0])
    if residual is not None and residual.shape != output_shape:
        raise ValueError(f"residual has shape {tuple(residual.shape)}; give the output's, {output_shape}")
    if dilation < 1:
        raise ValueError(f"dilation is {dilation}; choose a whole number from 1")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; choose 'relu' or None")
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p is {dropout_p}; choose a probability in [0, 1)")

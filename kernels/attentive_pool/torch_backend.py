"""Attentive pooling in PyTorch without a concatenated copy of the layers, gradients by hand.

Layers are visited one after the other: what is computed of one stays in the cache until it is used.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.attentive_pool import reference
from satn_fast.kernels.attentive_pool.reference import DEVIATION_FLOOR
from satn_fast.kernels.lengths import frame_mask, zero_padded

# Numbers of all layers together, below which calls cost more than what they compute, and the reference makes fewest:
# 650 frames of six layers of 64. Measured on one core of an AMD EPYC.
WORTH_VISITING = 250_000


def attentive_pool(
    layers: Sequence[Tensor], weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, deviation: bool
) -> tuple[Tensor, Tensor]:
    """See `satn_fast.functional.attentive_pool`: what computes where the kernels do not.

    By hand on CPUs, where that pays. The mean of a single layer is PyTorch's own: nothing would be gained. What PyTorch
    looks into (compilers, exporters, transforms, autocast) gets the reference.
    """
    if (len(layers) == 1 and not deviation) or not _by_hand(layers):
        h = layers[0] if len(layers) == 1 else layers
        return reference.attentive_pool(h, weight, bias, context, lengths=lengths, deviation=deviation)
    apply: Callable[..., tuple[Tensor, Tensor]] = _AttentivePool.apply
    return apply(weight, bias, context, lengths, deviation, *layers)


def _by_hand(layers: Sequence[Tensor]) -> bool:
    return (
        not torch.compiler.is_compiling()
        and layers[0].device.type == "cpu"
        and layers[0].dtype in (torch.float32, torch.float64)
        and sum(layer.numel() for layer in layers) >= WORTH_VISITING
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        # Forward-mode derivatives.
        and torch.autograd.forward_ad._current_level < 0
    )


class _AttentivePool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor,
        context: Tensor,
        lengths: Tensor | None,
        deviation: bool,
        *layers: Tensor,
    ) -> tuple[Tensor, Tensor]:
        pooled, weights, activation = _pooled(layers, weight, bias, context, lengths, deviation)
        ctx.deviation = deviation
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight, bias, context, lengths, pooled, weights, activation, *layers)
        return pooled, weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, bias, context, lengths, pooled, weights, activation, *layers = ctx.saved_tensors
        dpooled, dweights = gradients
        if torch.is_grad_enabled():
            # A gradient that shall have gradients of its own.
            found = _differentiable_gradients(ctx, dpooled, dweights, layers, weight, bias, context, lengths)
            return *found[:3], None, None, *found[3:]
        if dpooled is None:
            dpooled = torch.zeros_like(pooled)
        with torch.autocast("cpu", enabled=False):
            dlayers, *dparameters = _gradients(
                dpooled, dweights, layers, weight, context, lengths, pooled, weights, activation
            )
        return *dparameters, None, None, *dlayers


def _differentiable_gradients(
    ctx: Any,
    dpooled: Tensor | None,
    dweights: Tensor | None,
    layers: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
) -> list[Tensor | None]:
    """Gradients of weight, bias, context and the layers, as PyTorch derives them from the reference."""
    results = reference.attentive_pool(layers, weight, bias, context, lengths=lengths, deviation=ctx.deviation)
    pairs = [pair for pair in zip(results, (dpooled, dweights), strict=True) if pair[1] is not None]
    inputs = [weight, bias, context, *layers]
    needed = [*ctx.needs_input_grad[:3], *ctx.needs_input_grad[5:]]
    found = iter(
        torch.autograd.grad(
            [result for result, _ in pairs],
            [tensor for tensor, is_needed in zip(inputs, needed, strict=True) if is_needed],
            [gradient for _, gradient in pairs],
            create_graph=True,
        )
    )
    return [next(found) if is_needed else None for is_needed in needed]


def forward(
    layers: Sequence[Tensor], weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, deviation: bool
) -> tuple[Tensor, Tensor]:
    """See `triton_backend.forward`; for `torch.ops.satn_fast.attentive_pool` where the kernels cannot run."""
    first = layers[0]
    if not first.shape[0] or not first.shape[1]:
        pooled = first.new_zeros(first.shape[0], (1 + deviation) * weight.shape[1], dtype=torch.float32)
        return pooled, first.new_zeros(first.shape[:2], dtype=torch.float32)
    with torch.autocast(first.device.type, enabled=False):
        pooled, weights = reference.attentive_pool(layers, weight, bias, context, lengths=lengths, deviation=deviation)
    return pooled.float(), weights.float()


def backward(
    dpooled: Tensor,
    dweights: Tensor | None,
    layers: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """See `triton_backend.backward`."""
    dtype = layers[0].dtype
    if dweights is not None:
        dweights = dweights.to(dtype)
    with torch.autocast(layers[0].device.type, enabled=False):
        activation = _activation(_real(layers, lengths), weight, bias)
        return _gradients(
            dpooled.to(dtype),
            dweights,
            layers,
            weight,
            context,
            lengths,
            pooled.to(dtype),
            weights.to(dtype),
            activation,
        )


def _real(layers: Sequence[Tensor], lengths: Tensor | None) -> list[Tensor]:
    """The layers with zeros in place of padding, contiguous."""
    return [zero_padded(layer, lengths).contiguous() for layer in layers]


def _activation(layers: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """(B * T, A): tanh of the projection."""
    parts = weight.split_with_sizes([layer.shape[2] for layer in layers], 1)
    projected = torch.addmm(bias, layers[0].flatten(0, 1), parts[0].T)
    for layer, part in zip(layers[1:], parts[1:], strict=True):
        projected.addmm_(layer.flatten(0, 1), part.T)
    return projected.tanh_()


def _pooled(
    layers: Sequence[Tensor], weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, deviation: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The pooled (B, C) or (B, 2C), the weights (B, T), and the activation that scored the frames."""
    layers = _real(layers, lengths)
    batch, n_frames, _ = layers[0].shape
    activation = _activation(layers, weight, bias)
    weights = _softmax((activation @ context).view(batch, n_frames), lengths)
    row = weights[:, None]
    means = [torch.bmm(row, layer) for layer in layers]
    variances = []
    if deviation:
        squares = _memory_for_one(layers)
        for layer, mean in zip(layers, means, strict=True):
            here = squares[: layer.numel()].view(layer.shape)
            variances.append(torch.bmm(row, torch.sub(layer, mean, out=here).square_()))
    pooled = torch.cat(means + variances, 2).squeeze(1)
    if deviation:
        spread = pooled[:, weight.shape[1] :].add_(DEVIATION_FLOOR).sqrt_()
        if lengths is not None:
            spread.masked_fill_((lengths == 0)[:, None], 0.0)
    return pooled, weights, activation


def _memory_for_one(layers: Sequence[Tensor]) -> Tensor:
    """What one layer after the other may use: new memory for each would cost as much as what is computed in it."""
    return layers[0].new_empty(max(layer.numel() for layer in layers))


def _softmax(scores: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return scores.softmax(-1)
    padded = ~frame_mask(lengths, scores.shape[1])
    return scores.masked_fill_(padded, -torch.inf).softmax(-1).masked_fill_(padded, 0.0)


def _gradients(
    dpooled: Tensor,
    dweights: Tensor | None,
    layers: Sequence[Tensor],
    weight: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
    activation: Tensor,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Gradients of the layers, weight, bias and context.

    With m the mean, s the deviation, c = h - m, g and q the gradients of m and s, and r = q / s:

    dh = w (g + r c) + dprojected @ weight
    dscore = w (sum over channels of (g c + r / 2 (c^2 - variance)) + dweights - its weighted mean)
    """
    layers = _real(layers, lengths)
    sizes = [layer.shape[2] for layer in layers]
    (batch, n_frames), channels = weights.shape, weight.shape[1]
    means, dmeans = (
        pooled[:, None, :channels].split_with_sizes(sizes, 2),
        dpooled[:, None, :channels].split_with_sizes(sizes, 2),
    )
    deviation = pooled.shape[1] > channels
    ratio = _ratio(dpooled[:, channels:], pooled[:, channels:])
    ratios = ratio[:, None].split_with_sizes(sizes, 2) if deviation else [None] * len(sizes)

    # Slope of the pooled values by the weights. Differences first: where a frame has nearly all the weight, or where
    # channels have a large offset, h and the mean cancel.
    slope = weights.new_zeros(batch, 1, n_frames)
    squares, centred = _memory_for_one(layers) if deviation else None, []
    for layer, mean, dmean, part in zip(layers, means, dmeans, ratios, strict=True):
        difference = layer - mean
        slope.baddbmm_(dmean, difference.mT)
        if squares is not None and part is not None:
            here = squares[: layer.numel()].view(layer.shape)
            slope.baddbmm_(part, torch.mul(difference, difference, out=here).mT, alpha=0.5)
        centred.append(difference)
    slope = slope.squeeze(1)
    if dweights is not None:
        slope += zero_padded(dweights, lengths)
    slope -= (weights * slope).sum(1, keepdim=True)
    dscores = (weights * slope).reshape(-1, 1)
    dprojected = activation.square()
    torch.addcmul(dscores, dscores, dprojected, value=-1, out=dprojected).mul_(context)

    dweight = weight.new_empty(weight.shape)
    share, columns = weights[..., None], (weight.split_with_sizes(sizes, 1), dweight.split_with_sizes(sizes, 1))
    for layer, difference, dmean, part, column, dcolumn in zip(layers, centred, dmeans, ratios, *columns, strict=True):
        # The difference becomes the gradient, in its own memory.
        if part is None:
            torch.mul(share, dmean, out=difference)
        else:
            torch.addcmul(dmean, difference, part, out=difference).mul_(share)
        difference.view(-1, layer.shape[2]).addmm_(dprojected, column)
        torch.mm(dprojected.T, layer.flatten(0, 1), out=dcolumn)
    return centred, dweight, dprojected.sum(0), torch.mv(activation.T, dscores.squeeze(1))


def _ratio(dspread: Tensor, spread: Tensor) -> Tensor:
    """Gradient of the deviation over the deviation, and zero for rows without frames."""
    return torch.where(spread == 0.0, 0.0, dspread / spread)

"""The operations as one writes them in plain PyTorch, from the paper, sharing no line with ours.

On a processor some of our operations are computed by the package's own reference: were they compared with that, a
mistake in it would go unseen.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor, *, dilation: int) -> Tensor:
    """A residual block's second half: (B, T, C) through Conv1d, ReLU, the residual, ReLU."""
    history = (weight.shape[2] - 1) * dilation
    y = F.conv1d(F.pad(x.mT, (history, 0)), weight, bias, dilation=dilation)
    return F.relu(F.relu(y).mT + residual)


def self_attention(q: Tensor, k: Tensor, v: Tensor, *, visible: Tensor | None) -> Tensor:
    """(B, T, H, D) three times; `visible` (T, T) or (B, 1, 1, T), True where a key is seen."""
    return (attention_map(q, k, visible) @ v.transpose(1, 2)).transpose(1, 2)


def attention_map(q: Tensor, k: Tensor, visible: Tensor | None = None) -> Tensor:
    """(B, H, T, T)."""
    scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / q.shape[-1] ** 0.5
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    return scores.softmax(-1)


def attention_transfer_loss(q: Tensor, k: Tensor, q_source: Tensor, k_source: Tensor, *, loss: str) -> Tensor:
    """Distance of two attention maps, both of which are built."""
    student, source = attention_map(q, k), attention_map(q_source, k_source).detach()
    if loss == "mse":
        return (student - source).square().sum(-1).mean()
    if loss == "kl":
        return F.kl_div(student.log(), source, reduction="none").sum(-1).mean()
    student, source = (F.normalize(maps.flatten(2), dim=-1) for maps in (student, source))
    return (student - source).square().sum(-1).mean()


def attentive_pool(h: Tensor, weight: Tensor, bias: Tensor, context: Tensor) -> Tensor:
    """(B, T, C) to (B, C)."""
    weights = torch.softmax(torch.tanh(h @ weight.mT + bias) @ context, dim=1)
    return torch.einsum("bt,btc->bc", weights, h)

"""The peers of the whole model: the plain reference, as its user would make it faster.

Each maker takes the reference and gives a module with the same weights, forward and mode.
"""

import copy
import shutil
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from benchmarks.peers import peer_module, skip_missing
from satn_fast import reference


def eager(plain: reference.SATN) -> nn.Module:
    return plain


def compiled(plain: reference.SATN) -> nn.Module:
    return compiled_function(copy.deepcopy(plain))


def channels_last(plain: reference.SATN) -> nn.Module:
    """Its convolutions as Conv2d on channels-last images."""
    model = copy.deepcopy(plain)
    model.encoder.tcn = ChannelsLastTCN(plain.encoder.tcn, plain.training)
    return model


def pytorch_tcn(plain: reference.SATN) -> nn.Module:
    """Its TCN as pytorch-tcn's."""
    model = copy.deepcopy(plain)
    model.encoder.tcn = PytorchTCN(plain).train(plain.training)
    return model


PEERS: dict[str, Callable[[reference.SATN], nn.Module]] = {
    "eager PyTorch": eager,
    "eager PyTorch, channels last": channels_last,
    "torch.compile": compiled,
    "pytorch-tcn": pytorch_tcn,
}


def compiled_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """What torch.compile makes of it for one shape; skips where there is no compiler."""
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        skip_missing("torch.compile (no C++ compiler)")
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


class ChannelsLastTCN(nn.Module):
    """Residual blocks of Conv2d over (B, C, 1, T) images; in evaluation weight norm is folded."""

    def __init__(self, plain: reference.TemporalConvNet, training: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(block, training) for block in plain.blocks)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, T, F) to the (B, T, C) of every block.

        Causality keeps padding from real frames; what the last block gives is cleared at the end.
        """
        image, outputs = x.mT.unsqueeze(2), []
        for block in self.blocks:
            image = block(image)
            outputs.append(image.squeeze(2).mT)
        return *outputs[:-1], _cleared(outputs[-1], lengths)


class _Block(nn.Module):
    def __init__(self, plain: reference.ResidualBlock, training: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = (_image_convolution(conv, training) for conv in (plain.conv1, plain.conv2))
        self.project = None
        if plain.project is not None:
            self.project = nn.Conv2d(plain.project.in_features, plain.project.out_features, 1)
            self.project.weight.data.copy_(plain.project.weight.data[..., None, None])
            self.project.bias.data.copy_(plain.project.bias.data)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.project is None else self.project(x)
        for conv in (self.conv1, self.conv2):
            history = (conv.kernel_size[1] - 1) * conv.dilation[1]
            x = F.relu(conv(F.pad(x, (history, 0))))
        return F.relu(x + residual)


def _image_convolution(plain: reference.CausalConv1d, training: bool) -> nn.Conv2d:
    c_out, c_in, taps = plain.weight_v.shape
    conv = parametrizations.weight_norm(nn.Conv2d(c_in, c_out, (1, taps), dilation=(1, plain.dilation)))
    conv.parametrizations.weight.original0.data.copy_(plain.weight_g.data.unsqueeze(2))
    conv.parametrizations.weight.original1.data.copy_(plain.weight_v.data.unsqueeze(2))
    conv.bias.data.copy_(plain.bias.data)
    if not training:
        parametrize.remove_parametrizations(conv, "weight")
    return conv


class PytorchTCN(nn.Module):
    """pytorch-tcn's TCN with the weights of the plain one."""

    def __init__(self, plain: reference.SATN) -> None:
        super().__init__()
        config, blocks = plain.config, plain.encoder.tcn.blocks
        tcn = peer_module("pytorch_tcn", "pytorch-tcn").TCN(
            config.tcn_inputs,
            (config.channels,) * config.n_blocks,
            kernel_size=config.kernel_size,
            dropout=config.dropout,
            input_shape="NLC",
        )
        for theirs, ours in zip(tcn.network, blocks, strict=True):
            for name in ("conv1", "conv2"):
                conv, plain_conv = getattr(theirs, name), getattr(ours, name)
                conv.parametrizations.weight.original0.data.copy_(plain_conv.weight_g.data)
                conv.parametrizations.weight.original1.data.copy_(plain_conv.weight_v.data)
                conv.bias.data.copy_(plain_conv.bias.data)
            if ours.project is not None:
                theirs.downsample.weight.data.copy_(ours.project.weight.data[..., None])
                theirs.downsample.bias.data.copy_(ours.project.bias.data)
        self.tcn = tcn

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, T, F) to the (B, T, C) of every block; padding is cleared as in `ChannelsLastTCN`."""
        x, outputs = x.mT, []
        for block in self.tcn.network:
            x, _ = block(x, embeddings=None, inference=False, in_buffers=None)
            outputs.append(x.mT)
        return *outputs[:-1], _cleared(outputs[-1], lengths)


def _cleared(y: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, C) with zeros in the padding."""
    if lengths is None:
        return y
    return y * (torch.arange(y.shape[1]) < lengths[:, None])[..., None]

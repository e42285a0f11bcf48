"""Other libraries' TCNs for the tests, written from the definition of Bai et al. 2018 (section 3, figure 1)."""

import torch
from torch import nn


class Crop(nn.Module):
    """Removes the last frames, which the convolution's symmetric padding put there."""

    def __init__(self, chomp_size):
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


NORMS = {
    "old": torch.nn.utils.weight_norm,
    "new": torch.nn.utils.parametrizations.weight_norm,
    "none": lambda conv: conv,
}


class Block(nn.Module):
    """Convolution, ReLU, dropout, twice, around a residual connection."""

    def __init__(self, n_in, n_out, kernel_size, dilation, dropout=0.0, norm="new", padding=None, **options):
        super().__init__()
        options |= {"dilation": dilation, "padding": (kernel_size - 1) * dilation if padding is None else padding}
        widths, stages = (n_in, n_out, n_out), []
        for number in (1, 2):
            conv = NORMS[norm](nn.Conv1d(*widths[number - 1 : number + 1], kernel_size, **options))
            stage = {"conv": conv, "chomp": Crop(options["padding"]), "relu": nn.ReLU(), "dropout": nn.Dropout(dropout)}
            for name, module in stage.items():
                setattr(self, f"{name}{number}", module)
                stages.append(module)
        self.net = nn.Sequential(*stages)
        self.downsample = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else None
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.net(x)
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class TemporalConvNet(nn.Module):
    """(B, n_inputs, T) to (B, widths[-1], T)."""

    def __init__(self, n_inputs, widths, kernel_size=2, dropout=0.0, norm="new", block=Block):
        super().__init__()
        pairs = zip((n_inputs, *widths), widths, strict=False)
        blocks = (block(*pair, kernel_size, 2**i, dropout, norm) for i, pair in enumerate(pairs))
        self.network = nn.Sequential(*blocks)

    def forward(self, x):
        return self.network(x)

"""Dilated causal convolution with its epilogue: bias, activation, dropout, residual, length mask."""

from satn_fast.kernels.causal_conv1d.op import causal_conv1d
from satn_fast.kernels.causal_conv1d.weight_normalization import weight_norm

__all__ = ["causal_conv1d", "weight_norm"]

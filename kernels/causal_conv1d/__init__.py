"""Dilated causal convolution with its epilogue: bias, activation, dropout, residual, length mask."""

from satn_fast.kernels.causal_conv1d.op import causal_conv1d

__all__ = ["causal_conv1d"]

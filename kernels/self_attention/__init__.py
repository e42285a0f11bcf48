"""Multi-head scaled dot-product self-attention over the real frames, optionally in a causal window."""

from satn_fast.kernels.self_attention.op import self_attention

__all__ = ["self_attention"]

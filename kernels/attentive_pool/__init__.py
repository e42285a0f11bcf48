"""Attentive pooling: a learned weighted mean over the real frames."""

from satn_fast.kernels.attentive_pool.op import attentive_pool

__all__ = ["attentive_pool"]

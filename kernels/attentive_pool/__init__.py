"""Attentive pooling: a learned weighted mean, and the deviation from it, over the real frames of several layers."""

from satn_fast.kernels.attentive_pool.op import attentive_pool
from satn_fast.kernels.attentive_pool.reference import DEVIATION_FLOOR

__all__ = ["DEVIATION_FLOOR", "attentive_pool"]

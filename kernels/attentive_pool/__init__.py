"""Attentive pooling: a learned weighted mean over the real frames."""

from satn_fast.kernels.attentive_pool.op import attentive_pool
from satn_fast.kernels.attentive_pool.reference import DEVIATION_FLOOR

__all__ = ["DEVIATION_FLOOR", "attentive_pool"]

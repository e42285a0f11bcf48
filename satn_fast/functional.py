"""The operations of SATN as functions, in the manner of `torch.nn.functional`.

Layout is channels-last, `(B, T, C)`, everywhere. `lengths` says how many frames of each row are real; padded
frames are inert.
"""

from satn_fast.kernels.attention_transfer import attention_transfer_loss
from satn_fast.kernels.attentive_pool import attentive_pool
from satn_fast.kernels.causal_conv1d import causal_conv1d
from satn_fast.kernels.self_attention import self_attention

__all__ = ["attention_transfer_loss", "attentive_pool", "causal_conv1d", "self_attention"]

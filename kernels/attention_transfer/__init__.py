"""Losses that pull a student's attention maps towards a source model's."""

from satn_fast.kernels.attention_transfer.op import attention_transfer_loss

__all__ = ["attention_transfer_loss"]

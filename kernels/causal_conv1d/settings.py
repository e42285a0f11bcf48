"""The numbers of a causal convolution, as its implementations pass them on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """See `satn_fast.functional.causal_conv1d` for `dilation` and `dropout_p`.

    Args:
        dilation: Frames between taps.
        relu: Whether the activation is a ReLU, or there is none.
        dropout_p: Probability of dropping a channel.
    """

    dilation: int = 1
    relu: bool = False
    dropout_p: float = 0.0

    @property
    def keep_scale(self) -> float:
        """What dropout multiplies the channels with that it keeps."""
        return 1.0 / (1.0 - self.dropout_p)

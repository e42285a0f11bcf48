"""The settings of an attention-transfer loss, as its implementations pass them on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """See `satn_fast.functional.attention_transfer_loss`.

    Args:
        loss: `"mse"`, `"kl"` or `"at"`.
        window: Frames that a query sees, or `None`: all.
        scale: Factor of the student's scores.
        scale_source: Factor of the source's scores.
    """

    loss: str
    window: int | None
    scale: float
    scale_source: float

    @property
    def n_statistics(self) -> int:
        """Numbers that are kept of every row, for the gradient."""
        return {"kl": 4, "mse": 5, "at": 6}[self.loss]

    @property
    def n_sums(self) -> int:
        """Sums over all rows that make the loss."""
        return 3 if self.loss == "at" else 1

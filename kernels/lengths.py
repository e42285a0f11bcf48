"""Padding: which frames of a padded batch are real, and keeping the others inert."""

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, n_frames: int) -> Tensor:
    """Tells the real frames of a padded batch.

    Args:
        lengths: (B,) integers, the number of real frames of each row.
        n_frames: `T`, the padded number of frames.

    Returns:
        (B, T) bool, true where the frame is real.

    Example:
        >>> frame_mask(torch.tensor([1, 3]), 3).tolist()
        [[True, False, False], [True, True, True]]
    """
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None]


def zero_padded(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Replaces padded frames by zeros; whatever stood there, NaN included, gets no gradient.

    Args:
        x: (B, T, ...) values.
        lengths: (B,) integers or `None` (all frames are real).

    Returns:
        Same shape and dtype as `x`.
    """
    if lengths is None:
        return x
    mask = frame_mask(lengths, x.shape[1])
    # `where` and not a product: NaN * 0 is NaN.
    return torch.where(mask.reshape(*mask.shape, *([1] * (x.dim() - 2))), x, 0.0)


def check_lengths(lengths: Tensor | None, x: Tensor, name: str = "x") -> None:
    """Refuses lengths that do not fit a (B, T, ...) tensor.

    Raises:
        ValueError: Wrong type, dtype, shape or device, or a value outside 0..T. Values are looked at on a CPU
            only, outside of a trace: reading them from an accelerator would make every call wait for it.
    """
    if lengths is None:
        return
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths must be an integer tensor of shape (B,), got {_describe(lengths)}")
    if lengths.shape != x.shape[:1]:
        raise ValueError(
            f"lengths has shape {tuple(lengths.shape)}, but {name} has batch size {x.shape[0]}; give one length per row"
        )
    if lengths.device != x.device:
        raise ValueError(f"lengths is on {lengths.device}, but {name} is on {x.device}; move one of them")
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > x.shape[1]:
            raise ValueError(
                f"lengths reaches from {low} to {high}, but {name} has {x.shape[1]} frames; "
                f"every length must be within 0..{x.shape[1]}"
            )


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__

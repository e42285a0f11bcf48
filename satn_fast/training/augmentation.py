"""SpecAugment: hides bands and stretches of time, so that the model cannot lean on any one of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from satn_fast.config import FEATURE_ORDERS


@dataclass(frozen=True)
class SpecAugment:
    """Masks of SpecAugment (Park et al. 2019, section 2), without its time warping.

    A mask sets what it hides to the utterance's mean of each feature. A hidden band is hidden in its deltas too.

    Attributes:
        band_masks: Masks over Mel bands per utterance.
        band_share: Widest mask, as a share of the bands.
        time_masks: Masks over time per utterance.
        time_share: Longest mask, as a share of the utterance's frames.
    """

    band_masks: int = 2
    band_share: float = 0.2
    time_masks: int = 2
    time_share: float = 0.15

    def __call__(self, features: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Masks a batch.

        Args:
            features: (B, T, F) with zeros in padded frames.
            lengths: (B,) real frames.
            generator: Source of randomness.

        Returns:
            A new (B, T, F) tensor.
        """
        batch, n_frames, n_features = features.shape
        n_bands = n_features // FEATURE_ORDERS
        bands = torch.full((batch,), n_bands)
        hidden_bands = _spans(bands, n_bands, self.band_masks, self.band_share, generator)
        hidden_frames = _spans(lengths, n_frames, self.time_masks, self.time_share, generator)
        hidden = hidden_bands.repeat(1, FEATURE_ORDERS)[:, None, :] | hidden_frames[:, :, None]
        real = torch.arange(n_frames)[None, :, None] < lengths[:, None, None]
        mean = features.sum(1, keepdim=True) / lengths.clamp(min=1)[:, None, None]
        return torch.where(hidden & real, mean, features)


def _spans(sizes: Tensor, width: int, count: int, share: float, generator: torch.Generator) -> Tensor:
    """(B, width) bool, true inside `count` random spans of up to `share` of each row's size."""
    positions = torch.arange(width)
    covered = torch.zeros(len(sizes), width, dtype=torch.bool)
    for _ in range(count):
        length = torch.rand(len(sizes), generator=generator) * share * sizes
        start = torch.rand(len(sizes), generator=generator) * (sizes - length)
        covered |= (positions >= start[:, None]) & (positions < (start + length)[:, None])
    return covered

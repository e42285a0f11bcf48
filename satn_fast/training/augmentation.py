"""SpecAugment: hides bands and stretches of time, so that the model cannot lean on any one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from satn_fast.config import FEATURE_ORDERS

# Gives (B,) uniform numbers in [0, 1): the number `index` of each utterance.
Draw: TypeAlias = Callable[[int], Tensor]

# Two to the 64th over the golden ratio, as a signed integer.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


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

        def draw(index: int) -> Tensor:
            return torch.rand(len(lengths), generator=generator, device=generator.device).to(features.device)

        return self._masked(features, lengths, draw)

    def keyed(self, features: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
        """Masks a batch by a key for each utterance, whatever the batch it is in, its place, and the device.

        Args:
            features: (B, T, F) with zeros in padded frames.
            lengths: (B,) real frames.
            keys: (B,) int64, from `utterance_keys`.

        Returns:
            A new (B, T, F) tensor.

        Example:
            >>> x, lengths = torch.randn(2, 50, 12), torch.tensor([50, 50])
            >>> keys = utterance_keys(torch.tensor([7, 3]), epoch=1, seed=0)
            >>> both = SpecAugment().keyed(x, lengths, keys)
            >>> torch.equal(both[1:], SpecAugment().keyed(x[1:], lengths[1:], keys[1:]))
            True
        """
        keys = keys.to(features.device)
        return self._masked(features, lengths, lambda index: _uniform(keys, index))

    def _masked(self, features: Tensor, lengths: Tensor, draw: Draw) -> Tensor:
        batch, n_frames, n_features = features.shape
        n_bands = n_features // FEATURE_ORDERS
        bands = torch.full((batch,), n_bands, device=features.device)
        hidden_bands = _spans(bands, n_bands, self.band_masks, self.band_share, draw, 0)
        hidden_frames = _spans(lengths, n_frames, self.time_masks, self.time_share, draw, 2 * self.band_masks)
        hidden = hidden_bands.repeat(1, FEATURE_ORDERS)[:, None, :] | hidden_frames[:, :, None]
        real = torch.arange(n_frames, device=features.device)[None, :, None] < lengths[:, None, None]
        mean = features.sum(1, keepdim=True) / lengths.clamp(min=1)[:, None, None]
        return torch.where(hidden & real, mean, features)


def utterance_keys(indices: Tensor, epoch: int, seed: int) -> Tensor:
    """Keys of utterances in an epoch, for `SpecAugment.keyed`.

    Args:
        indices: (B,) int64, which utterances.
        epoch: Other epochs have other keys.
        seed: Other seeds have other keys.

    Returns:
        (B,) int64.
    """
    return _mixed(_mixed(_mixed(torch.full_like(indices, _signed(seed))) + epoch) + indices)


def _uniform(keys: Tensor, index: int) -> Tensor:
    """(B,) float32 in [0, 1): the number `index` of each key's sequence. The same on every device."""
    return _shifted(_mixed(keys + _signed((index + 1) * _GOLDEN)), 40).float() * 2.0**-24


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele et al. 2014), after its increment; int64 that wraps around."""
    x = x + _GOLDEN
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _signed(value: int) -> int:
    """Wraps around as an int64 does."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """A shift to the right that brings in zeros."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _spans(sizes: Tensor, width: int, count: int, share: float, draw: Draw, first: int) -> Tensor:
    """(B, width) bool, true inside `count` random spans of up to `share` of each row's size."""
    positions = torch.arange(width, device=sizes.device)
    covered = torch.zeros(len(sizes), width, dtype=torch.bool, device=sizes.device)
    for mask in range(count):
        length = draw(first + 2 * mask) * share * sizes
        start = draw(first + 2 * mask + 1) * (sizes - length)
        covered |= (positions >= start[:, None]) & (positions < (start + length)[:, None])
    return covered

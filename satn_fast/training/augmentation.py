"""Changes of features while training: other vocal tracts, and bands and stretches of time that are hidden.

What an utterance becomes depends on its key (`utterance_keys`) alone: not on its batch, its place there, or the device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from satn_fast.config import FEATURE_ORDERS

# Gives (B,) uniform numbers in [0, 1): the number `index` of each utterance.
Draw: TypeAlias = Callable[[int], Tensor]

# Slaney's scale is linear up to 1000 Hz, 15 Mel, and logarithmic from there, 27 Mel for each factor of 6.4.
_SLANEY_HZ = 1000.0
_SLANEY_LOG = math.log(6.4) / 27 * 15

# Which number of an utterance's sequence the warp takes; SpecAugment takes the first ones.
_DRAWS_OF_WARP = 1 << 20

# Two to the 64th over the golden ratio, as a signed integer.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


class Augmentation(Protocol):
    """Changes a batch of features; see `SpecAugment.keyed`."""

    def keyed(self, features: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
        """(B, T, F) features with (B,) lengths and keys to new (B, T, F) ones."""


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


@dataclass(frozen=True)
class MelWarp:
    """Stretches the frequency axis of every utterance, as if its vocal tract had another length.

    Vocal tract length perturbation (Jaitly & Hinton 2013), done on the Mel bands: a new band is read, by linear
    interpolation, where its frequency times the drawn factor lies. Deltas are warped alike, because both are linear.

    Attributes:
        largest: The factor's logarithm is drawn uniformly between minus and plus this.
        low_hz: Where the front end's bands begin, in Hz.
        high_hz: Where they end, in Hz.
        mel_scale: `"htk"` or `"slaney"`, as in `LogMel.describe()`.

    Raises:
        ValueError: `largest` is not in [0, 1).

    Example:
        >>> x, lengths = torch.randn(2, 50, 12), torch.tensor([50, 50])
        >>> keys = utterance_keys(torch.tensor([7, 3]), epoch=1, seed=0)
        >>> MelWarp(0.15).keyed(x, lengths, keys).shape
        torch.Size([2, 50, 12])
    """

    largest: float = 0.15
    low_hz: float = 20.0
    high_hz: float = 8000.0
    mel_scale: str = "htk"

    def __post_init__(self) -> None:
        if not 0 <= self.largest < 1:
            raise ValueError(f"largest is {self.largest}; give a number in [0, 1)")

    def keyed(self, features: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
        """Warps a batch by a key for each utterance.

        Args:
            features: (B, T, F).
            lengths: (B,) real frames; not needed.
            keys: (B,) int64, from `utterance_keys`.

        Returns:
            A new (B, T, F) tensor.
        """
        drawn = _uniform(keys.to(features.device), _DRAWS_OF_WARP)
        factors = torch.exp((2.0 * drawn - 1.0) * self.largest)
        batch, n_frames, n_features = features.shape
        n_bands = n_features // FEATURE_ORDERS
        orders = features.reshape(batch, n_frames * FEATURE_ORDERS, n_bands)
        weights = self.matrices(factors, n_bands).to(features.dtype)
        return (orders @ weights.transpose(1, 2)).reshape(features.shape)

    def matrices(self, factors: Tensor, n_bands: int) -> Tensor:
        """(B, n_bands, n_bands) interpolation weights; each row sums to 1."""
        low, high = self._mel(torch.tensor([self.low_hz, self.high_hz], device=factors.device))
        steps = torch.arange(1, n_bands + 1, device=factors.device)
        centres = self._hz(low + (high - low) * steps / (n_bands + 1))
        mel = self._mel(factors[:, None] * centres)
        position = ((mel - low) / (high - low) * (n_bands + 1) - 1).clamp(0, n_bands - 1)
        distance = (position[:, :, None] - torch.arange(n_bands, device=factors.device)).abs()
        return torch.clamp(1 - distance, min=0)

    def _mel(self, hz: Tensor) -> Tensor:
        if self.mel_scale == "htk":
            return torch.log1p(hz / 700.0)
        above = _SLANEY_HZ * (1 + torch.log(hz.clamp(min=1.0) / _SLANEY_HZ) / _SLANEY_LOG)
        return torch.where(hz < _SLANEY_HZ, hz, above)

    def _hz(self, mel: Tensor) -> Tensor:
        if self.mel_scale == "htk":
            return 700.0 * (torch.exp(mel) - 1.0)
        above = _SLANEY_HZ * torch.exp((mel / _SLANEY_HZ - 1) * _SLANEY_LOG)
        return torch.where(mel < _SLANEY_HZ, mel, above)


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

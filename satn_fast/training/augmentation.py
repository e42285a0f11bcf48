"""Changes of features while training: other vocal tracts, other microphones, and bands and times that are hidden.

What an utterance becomes depends on its key (`utterance_keys`) alone: not on its batch, its place there, or the device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.config import FEATURE_ORDERS
from satn_fast.kernels.lengths import zero_padded

# Gives (B, count) uniform numbers in [0, 1): those from `first` on of each utterance.
Draw: TypeAlias = Callable[[int, int], Tensor]

# Slaney's scale is linear up to 1000 Hz, 15 Mel, and logarithmic from there, 27 Mel for each factor of 6.4.
_SLANEY_HZ = 1000.0
_SLANEY_LOG = math.log(6.4) / 27 * 15

# Which numbers of an utterance's sequence each takes; SpecAugment takes the first ones.
_DRAWS_OF_WARP = 1 << 20
_DRAWS_OF_EQUALIZER = 2 << 20
DRAWS_OF_CROP = 3 << 20
DRAWS_OF_VERSION = 4 << 20
_DRAWS_OF_STYLE = 5 << 20

# Of a band, in units of the natural logarithm.
_SMALLEST_DEVIATION = 0.1

# Values of a random equalizer, with straight lines between them.
_KNOTS = 5

# Two to the 64th over the golden ratio, as a signed integer.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


class Augmentation(Protocol):
    """Changes a batch of features; see `SpecAugment.keyed`."""

    def keyed(self, features: Tensor, lengths: Tensor | None, keys: Tensor, targets: Tensor | None = None) -> Tensor:
        """(B, T, F) features with (B,) lengths (`None`: all are real), keys and targets to new (B, T, F) ones."""


@dataclass(frozen=True)
class SpecAugment:
    """Masks of SpecAugment (Park et al. 2019, section 2), without its time warping.

    A mask sets what it hides to the utterance's mean of each feature. A hidden band is hidden in its deltas too.

    Attributes:
        band_masks: Masks over Mel bands per utterance.
        band_share: Widest mask, as a share of the bands.
        time_masks: Masks over time per utterance.
        time_share: Longest mask, as a share of the utterance's frames.

    Raises:
        ValueError: A share is outside [0, 1].
    """

    band_masks: int = 2
    band_share: float = 0.1
    time_masks: int = 2
    time_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("band_share", "time_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a share in [0, 1]")

    def __call__(self, features: Tensor, lengths: Tensor | None, generator: torch.Generator) -> Tensor:
        """Masks a batch.

        Args:
            features: (B, T, F) with zeros in padded frames.
            lengths: (B,) real frames; `None` means all.
            generator: Source of randomness.

        Returns:
            A new (B, T, F) tensor.
        """

        def draw(first: int, count: int) -> Tensor:
            return torch.rand(len(features), count, generator=generator, device=generator.device).to(features.device)

        return self._masked(features, lengths, draw)

    def keyed(self, features: Tensor, lengths: Tensor | None, keys: Tensor, targets: Tensor | None = None) -> Tensor:
        """Masks a batch by a key for each utterance, whatever the batch it is in, its place, and the device.

        Args:
            features: (B, T, F) with zeros in padded frames.
            lengths: (B,) real frames; `None` means all.
            keys: (B,) int64, from `utterance_keys`.
            targets: Not needed.

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
        return self._masked(features, lengths, lambda first, count: uniform(keys, first, count))

    def _masked(self, features: Tensor, lengths: Tensor | None, draw: Draw) -> Tensor:
        n_frames, n_bands = features.shape[1], features.shape[2] // FEATURE_ORDERS
        drawn = draw(0, 2 * (self.band_masks + self.time_masks))
        of_bands, of_time = drawn[:, : 2 * self.band_masks], drawn[:, 2 * self.band_masks :]
        hidden_bands = _spans(n_bands, n_bands, self.band_share, of_bands).repeat(1, FEATURE_ORDERS)
        if lengths is None:
            hidden_frames = _spans(n_frames, n_frames, self.time_share, of_time)
            mean = features.mean(1, keepdim=True)
            return torch.where(hidden_bands[:, None, :] | hidden_frames[:, :, None], mean, features)
        hidden_frames = _spans(lengths[:, None], n_frames, self.time_share, of_time)
        hidden = hidden_bands[:, None, :] | hidden_frames[:, :, None]
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

    largest: float = 0.1
    low_hz: float = 20.0
    high_hz: float = 8000.0
    mel_scale: str = "htk"

    def __post_init__(self) -> None:
        if not 0 <= self.largest < 1:
            raise ValueError(f"largest is {self.largest}; give a number in [0, 1)")

    def keyed(self, features: Tensor, lengths: Tensor | None, keys: Tensor, targets: Tensor | None = None) -> Tensor:
        """Warps a batch by a key for each utterance.

        Args:
            features: (B, T, F).
            lengths: (B,) real frames; not needed.
            keys: (B,) int64, from `utterance_keys`.
            targets: Not needed.

        Returns:
            A new (B, T, F) tensor.
        """
        drawn = uniform(keys.to(features.device), _DRAWS_OF_WARP, 1)[:, 0]
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
        distance: Tensor = position[:, :, None] - torch.arange(n_bands, device=factors.device)
        return distance.abs_().neg_().add_(1.0).clamp_(min=0.0)

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


@dataclass(frozen=True)
class Equalizer:
    """Colours every utterance, as another microphone, or another room, would: a random smooth curve over the bands.

    A curve through random values at five bands, equally far apart, is added to the static features. Deltas stay: what
    is the same in every frame has none.

    Attributes:
        deviation: Of the values at the five bands, which are normal, in units of the natural logarithm; 0.3 are 1.3 dB
            of energy.

    Raises:
        ValueError: `deviation` is negative or not finite.

    Example:
        >>> x, keys = torch.zeros(1, 50, 12), utterance_keys(torch.tensor([7]), epoch=1, seed=0)
        >>> coloured = Equalizer(0.3).keyed(x, None, keys)
        >>> bool(coloured[0, 0, :4].any()), bool(coloured[..., 4:].any())
        (True, False)
    """

    deviation: float = 0.3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.deviation) and self.deviation >= 0):
            raise ValueError(f"deviation is {self.deviation}; give a number from 0")

    def keyed(self, features: Tensor, lengths: Tensor | None, keys: Tensor, targets: Tensor | None = None) -> Tensor:
        """Colours a batch by a key for each utterance.

        Args:
            features: (B, T, F) with zeros in padded frames.
            lengths: (B,) real frames; `None` means all.
            keys: (B,) int64, from `utterance_keys`.
            targets: Not needed.

        Returns:
            A new (B, T, F) tensor.
        """
        curves = self.curves(keys.to(features.device), features.shape[2] // FEATURE_ORDERS).to(features.dtype)
        added = F.pad(curves, (0, features.shape[2] - curves.shape[1]))[:, None, :]
        return features + (added if lengths is None else zero_padded(added.expand_as(features), lengths))

    def curves(self, keys: Tensor, n_bands: int) -> Tensor:
        """(B, n_bands) what is added to each band."""
        drawn = uniform(keys, _DRAWS_OF_EQUALIZER, 2 * _KNOTS)
        # Box and Muller's transform; 1 - u, because the logarithm of 0 is infinite.
        radius = torch.sqrt(-2.0 * torch.log1p(-drawn[:, :_KNOTS]))
        knots = self.deviation * radius * torch.cos(2.0 * math.pi * drawn[:, _KNOTS:])
        return F.interpolate(knots[:, None], size=n_bands, mode="linear", align_corners=True)[:, 0]


@dataclass(frozen=True)
class StyleMixing:
    """Gives an utterance something of the voice and the room of another one: MixStyle on the Mel bands.

    Every band is brought to a mean and a deviation over time between its own and those of a training utterance that is
    drawn (Zhou et al. 2021, "Domain generalization with MixStyle", equations 3 to 5, there inside of a network; per
    band as in Kim et al. 2022). It is one of the same label, where there are labels: mean and deviation tell of the
    emotion, too. How far is drawn from Beta(1/2, 1/2): mostly near one of the two. Deltas are scaled like their band.

    Attributes:
        share: Of the utterances, whose style is mixed.
        styles: (N, 2, n_bands) mean and deviation of what is trained on, by label; `None` before `fit`.
        places: (n_labels, 2) where the styles of each label begin, and how many they are; `None` without labels.

    Raises:
        ValueError: `share` is outside [0, 1]; styles are mixed before `fit`, or without the targets it had.

    Example:
        >>> keys = utterance_keys(torch.tensor([7]), epoch=1, seed=0)
        >>> mixing = StyleMixing(1.0).fit([torch.randn(40, 12) * 5 + 3])
        >>> mixing.keyed(torch.randn(1, 50, 12), None, keys).shape
        torch.Size([1, 50, 12])
    """

    share: float = 0.5
    styles: Tensor | None = None
    places: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}; give a share in [0, 1]")

    def fit(
        self,
        utterances: Sequence[Tensor],
        targets: Sequence[Tensor] | None = None,
        n_frames: int | None = None,
    ) -> Self:
        """The same with the styles of training utterances.

        Args:
            utterances: (T, F) features of each, at least one.
            targets: The label of each; `None` mixes styles of all.
            n_frames: Frames of the crops that are trained on, whose styles are those of stretches as long: a whole
                utterance has silence around it, and deviates more. `None` takes whole utterances.
        """
        n_bands = utterances[0].shape[1] // FEATURE_ORDERS
        each = [_styles_of_stretches(features[:, :n_bands].float(), n_frames) for features in utterances]
        styles = torch.cat(each)
        if targets is None:
            return replace(self, styles=styles, places=None)
        counts_of_each = torch.tensor([len(one) for one in each], device=styles.device)
        labels = torch.stack(list(targets)).to(styles.device).repeat_interleave(counts_of_each)
        counts = labels.bincount()
        places = torch.stack([counts.cumsum(0) - counts, counts], 1)
        return replace(self, styles=styles[labels.argsort(stable=True)], places=places)

    def keyed(self, features: Tensor, lengths: Tensor | None, keys: Tensor, targets: Tensor | None = None) -> Tensor:
        """Mixes the styles of a batch by a key for each utterance.

        Args:
            features: (B, T, F) with zeros in padded frames.
            lengths: (B,) real frames; `None` means all.
            keys: (B,) int64, from `utterance_keys`.
            targets: (B,) the label of each, if `fit` had labels.

        Returns:
            A new (B, T, F) tensor.
        """
        if self.styles is None:
            raise ValueError("there are no styles to mix; call fit with the training utterances first")
        chosen, partner, place = uniform(keys.to(features.device), _DRAWS_OF_STYLE, 3).unbind(1)
        kept = torch.where(chosen < self.share, torch.sin(0.5 * math.pi * place).square(), 1.0)[:, None, None]
        other = self.styles[self._partners(partner, targets).to(self.styles.device)].to(features)
        other_mean, other_deviation = other[:, :1], other[:, 1:]
        mean, deviation = _style(features[..., : other.shape[2]], lengths)
        scale = kept + (1.0 - kept) * other_deviation / deviation
        # scale * (x - mean) + what the mean becomes, for the bands; deltas have no mean to speak of.
        offset = kept * mean + (1.0 - kept) * other_mean - scale * mean
        offset = F.pad(offset, (0, features.shape[2] - offset.shape[2]))
        mixed = features * scale.repeat(1, 1, FEATURE_ORDERS) + offset
        return mixed if lengths is None else zero_padded(mixed, lengths)

    def _partners(self, drawn: Tensor, targets: Tensor | None) -> Tensor:
        """(B,) which style each utterance meets, by numbers in [0, 1)."""
        assert self.styles is not None
        if self.places is None:
            return (drawn * len(self.styles)).long()
        if targets is None:
            raise ValueError("styles are mixed among utterances of one label; give the targets")
        first, count = self.places.to(drawn.device)[targets.to(drawn.device)].unbind(1)
        return first + (drawn * count).long()


def _styles_of_stretches(bands: Tensor, n_frames: int | None) -> Tensor:
    """(n_stretches, 2, n_bands) styles of (T, n_bands), in stretches that overlap by about a half."""
    if n_frames is None or len(bands) <= n_frames:
        stretches = bands[None]
    else:
        last = len(bands) - n_frames
        starts = torch.linspace(0, last, 1 + math.ceil(2 * last / n_frames)).long()
        stretches = bands[starts[:, None] + torch.arange(n_frames)]
    return torch.cat(_style(stretches, None), 1)


def _style(bands: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and deviation over time of (B, T, n_bands), zeros in padded frames; (B, 1, n_bands) each."""
    if lengths is None:
        mean = bands.mean(1, keepdim=True)
        variance = (bands - mean).square().mean(1, keepdim=True)
    else:
        n_frames = lengths.clamp(min=1)[:, None, None]
        mean = bands.sum(1, keepdim=True) / n_frames
        variance = zero_padded((bands - mean).square(), lengths).sum(1, keepdim=True) / n_frames
    # A band that does not move, in digital silence for one, has no style: it must not blow up another's.
    return mean, variance.sqrt().clamp(min=_SMALLEST_DEVIATION)


def fitted(
    augmentation: Sequence[Augmentation],
    utterances: Sequence[Tensor],
    labels: Sequence[Tensor] | None = None,
    n_frames: int | None = None,
) -> list[Augmentation]:
    """Augmentation with what it learns from training utterances, see `StyleMixing.fit`; most learns nothing."""
    return [each.fit(utterances, labels, n_frames) if isinstance(each, StyleMixing) else each for each in augmentation]


def utterance_keys(indices: Tensor, epoch: int | Tensor, seed: int) -> Tensor:
    """Keys of utterances in an epoch, for `SpecAugment.keyed` and its like.

    Args:
        indices: (B,) int64, which utterances.
        epoch: Other epochs have other keys: the number of the pass over the training utterances, or (B,) of them.
        seed: Other seeds have other keys.

    Returns:
        (B,) int64.
    """
    return _mixed(_mixed(_mixed(torch.full_like(indices, _signed(seed))) + epoch) + indices)


def uniform(keys: Tensor, first: int, count: int) -> Tensor:
    """(B, count) float32 in [0, 1): the numbers from `first` on of each key's sequence. The same on every device."""
    steps = [_signed((index + 1) * _GOLDEN) for index in range(first, first + count)]
    numbers = _mixed(keys[:, None] + torch.tensor(steps, dtype=torch.int64, device=keys.device))
    return _shifted(numbers, 40).float() * 2.0**-24


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


def _spans(sizes: Tensor | int, width: int, share: float, drawn: Tensor) -> Tensor:
    """(B, width) bool, true inside random spans of up to `share` of each row's size (B, 1).

    `drawn` (B, 2 * spans) holds length and place of each span.
    """
    lengths = drawn[:, 0::2] * share * sizes
    starts = drawn[:, 1::2] * (sizes - lengths)
    positions = torch.arange(width, device=drawn.device)[:, None]
    return ((positions >= starts[:, None]) & (positions < (starts + lengths)[:, None])).any(-1)

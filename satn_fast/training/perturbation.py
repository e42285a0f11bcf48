"""Speed, gain and recording condition of waveforms, changed at random before features are computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from satn_fast.training.conditions import DrawnCondition, check_kinds, draw_condition

# Speeds as whole numbers, for a generator's seed.
_SPEED_STEPS = 1_000_000


@dataclass(frozen=True)
class Perturbation:
    """Draws a speed, a gain and a recording condition for every utterance in every epoch.

    What is drawn depends on seed, epoch and utterance alone, not on the batch, the order or the number of workers.

    Attributes:
        speeds: Factors of tempo and pitch, one of which is drawn (Ko et al. 2015, "Audio augmentation for speech
            recognition", take 0.9, 1 and 1.1). 1.1 makes an utterance a tenth faster and higher.
        gain_decibels: The gain is drawn uniformly between minus and plus this many dB; 0 leaves it.
        seed: Of the drawing.
        conditions: Kinds of recording conditions, of `satn_fast.training.conditions.KINDS`, one of which is drawn; none
            leaves the recording as it is.
        condition_share: Share of the utterances that get one in an epoch.

    Raises:
        ValueError: There is no speed, one is outside [0.25, 4], the gain is negative or not finite, a kind of condition
            is another word, or their share is outside [0, 1].

    Example:
        >>> perturbation = Perturbation(speeds=(0.9, 1.0, 1.1), gain_decibels=6.0, seed=1)
        >>> perturbation.draw(epoch=2, utterance=7) == perturbation.draw(epoch=2, utterance=7)
        True
        >>> faster = Perturbation.apply(np.zeros(16000, np.float32), 16000, speed=1.25)
        >>> faster.shape
        (12800,)
        >>> noisy = Perturbation(conditions=("noise",), condition_share=1.0).draw_condition(epoch=2, utterance=7)
        >>> noisy(faster, 16000).shape
        (12800,)
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    gain_decibels: float = 0.0
    seed: int = 0
    conditions: tuple[str, ...] = ()
    condition_share: float = 0.5

    def __post_init__(self) -> None:
        if not self.speeds or not all(0.25 <= speed <= 4.0 for speed in self.speeds):
            raise ValueError(f"speeds are {self.speeds}; give at least one, each between 0.25 and 4")
        if not (math.isfinite(self.gain_decibels) and self.gain_decibels >= 0):
            raise ValueError(f"gain_decibels is {self.gain_decibels}, but must be finite and not negative")
        check_kinds(self.conditions)
        if not 0 <= self.condition_share <= 1:
            raise ValueError(f"condition_share is {self.condition_share}; give a share from 0 to 1")

    def draw(self, epoch: int, utterance: int) -> tuple[float, float]:
        """The speed, and the gain in dB, of one utterance in one epoch."""
        generator = np.random.default_rng((self.seed, epoch, utterance))
        speed = self.speeds[int(generator.integers(len(self.speeds)))]
        return speed, float(generator.uniform(-self.gain_decibels, self.gain_decibels))

    def draw_condition(self, epoch: int, utterance: int) -> DrawnCondition | None:
        """The recording condition of one utterance in one epoch; `None` leaves it as it is.

        Another speed has another condition, so that the versions of an utterance at several speeds differ in it too.
        """
        if not self.conditions:
            return None
        speed, _ = self.draw(epoch, utterance)
        seed = (self.seed, epoch, utterance, round(_SPEED_STEPS * speed))
        generator = np.random.default_rng(seed)
        if generator.random() >= self.condition_share:
            return None
        return DrawnCondition(draw_condition(generator, self.conditions), seed)

    @staticmethod
    def apply(
        waveform: NDArray[np.float32],
        sample_rate: int,
        speed: float = 1.0,
        gain: float = 0.0,
        condition: DrawnCondition | None = None,
    ) -> NDArray[np.float32]:
        """Changes speed and gain of a waveform, and then how it is recorded.

        Args:
            waveform: (n_samples,) float32.
            sample_rate: Its rate in Hz.
            speed: Factor of tempo and pitch, by resampling (soxr, quality "HQ").
            gain: In dB. Samples may pass full scale, and are not clipped.
            condition: From `draw_condition`.

        Returns:
            (about n_samples / speed,) float32.

        Raises:
            ImportError: `soxr` is not installed, or what the condition needs.
        """
        if speed != 1.0:
            try:
                import soxr
            except ImportError as error:
                raise ImportError('another speed needs soxr: pip install "satn-fast[train]"') from error
            waveform = soxr.resample(waveform, speed * sample_rate, sample_rate, quality="HQ")
        if gain:
            waveform = waveform * np.float32(10.0 ** (gain / 20.0))
        if condition is not None:
            waveform = condition(waveform, sample_rate)
        return np.ascontiguousarray(waveform, np.float32)

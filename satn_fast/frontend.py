"""Log-Mel features with deltas: the front end, whole utterances and streams.

Needs numpy and the compiled module ``satn_fast._frontend``, not torch, so that it runs where a model file does.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast import _frontend

__all__ = ["LogMel", "LogMelStream", "supported_isas"]

Out = TypeVar("Out")  # a numpy array or a CPU tensor


class LogMel:
    """Log-Mel energies, their deltas and delta-deltas, as a published tool computes them.

    Every preset takes 25 ms windows every 10 ms and equals its tool:

    - ``kaldi``: Kaldi ``compute-fbank-feats`` with ``--dither=0`` (kaldi-native-fbank): DC removal and pre-emphasis
      within each frame, Povey window, power spectrum, 20 Hz to Nyquist, natural logarithm.
    - ``kaldi-hamming``: the same with a Hamming window (FunASR).
    - ``htk``: openSMILE: ``cVectorPreemphasis``, ``cWindower`` (Hamming), ``cMelspec`` (HTK-compatible, power, 0 to
      8000 Hz, or to Nyquist where that is lower), ``cVectorOperation`` (log). Where 25 ms are no whole number of
      samples (11025, 22050, 44100 Hz), openSMILE's filters are off by a thousandth, and at some rates it drops the
      last band's last bin; these two are not imitated.
    - ``psf``: ``python_speech_features.logfbank``: pre-emphasis over the signal, rectangular window, the last frame
      filled with zeros.
    - ``torchaudio``: ``MelSpectrogram(n_fft=512, win_length=400, hop_length=160)``, then ``ln(max(x, 1e-10))``.
    - ``librosa``: ``melspectrogram(n_fft=512, win_length=400, hop_length=160)``, then ``power_to_db(top_db=80)``.

    Deltas are the regression of HTK over ``delta_window`` frames on each side with the edge frames repeated, which
    is what torchaudio and python_speech_features compute; delta-deltas are the deltas of the deltas.

    Float samples are expected within +-1 and int16 samples within +-32768. ``kaldi``, ``kaldi-hamming`` and ``htk``
    work on the int16 scale (``float_scale=32768``), ``torchaudio`` and ``librosa`` on +-1 (``int16_scale=1/32768``);
    these give the same features for both. ``psf`` takes every sample as it is, like its tool, so that float and
    int16 audio give features that differ by a constant.

    Args:
        sample_rate: Samples per second, in Hz.
        n_mels: Number of Mel bands.
        preset: One of the names above.
        **overrides: Any parameter of the preset:

            - ``window_seconds``, ``hop_seconds``: window length and frame period, in seconds;
              ``sample_rounding`` ("down", "nearest"): how they become samples.
            - ``window``: "povey", "hamming", "hamming_periodic", "hann", "hann_periodic" or "rectangular".
            - ``fft_size``: a power of two; None takes the smallest that holds the window.
            - ``framing``: "snip_edges" (whole windows only), "pad_end" (zeros fill the last window), "center_zero"
              or "center_reflect" (frame t is centred on sample t * hop, with zeros or a mirror image outside).
            - ``remove_dc``: subtract each frame's mean.
            - ``preemphasis``: coefficient, 0 for none; ``preemphasis_mode``: within each "frame" or over the "signal".
            - ``low_hz``, ``high_hz``: edges of the filterbank, in Hz; ``high_hz=None`` is Nyquist.
            - ``mel_scale``: "htk" or "slaney"; ``filters``: triangles straight in "mel", in "hz", or on whole "bins";
              ``filter_norm``: "none" or "slaney"; ``power_norm``: "none" or "fft_size" (divide the power by it).
            - ``log``: "ln", "log10", "db" (10 log10) or "none"; ``floor``: the least energy;
              ``floor_mode``: "clamp" everything below it, or replace an exact "zero" only.
            - ``top_db``: with "db", clip this many dB below the utterance's maximum; None for no clipping.
            - ``float_scale``, ``int16_scale``: factors applied to the samples.
            - ``deltas``: append deltas and delta-deltas; ``delta_window``: frames on each side.
            - ``precision``: "float32", or "float64" to compute in and return double precision.

    Raises:
        TypeError: If an override has no such name; the message lists the names there are.
        ValueError: If a value is out of range or contradicts another, or ``SATN_FAST_ISA`` names an instruction set
            that is not to be had; the message names it and the remedy.

    Warns:
        UserWarning: If bands are too narrow to hold an FFT bin; their features are constant.

    Example:
        >>> import numpy as np
        >>> from satn_fast.frontend import LogMel
        >>> front_end = LogMel(sample_rate=16000, n_mels=40, preset="kaldi")
        >>> tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
        >>> front_end(tone).shape
        (98, 120)
        >>> LogMel(n_mels=64, window="hann", deltas=False)(tone).shape
        (98, 64)
        >>> LogMel(**front_end.describe()) == front_end
        True
    """

    def __init__(self, sample_rate: int = 16000, n_mels: int = 40, preset: str = "kaldi", **overrides: Any) -> None:
        unknown = sorted(set(overrides) - set(_frontend.OPTION_NAMES))
        if unknown:
            known = ", ".join(name for name in _frontend.OPTION_NAMES if name != "preset")
            raise TypeError(f"LogMel has no parameter {', '.join(unknown)}; it has preset, {known}")
        self._plan = _frontend.Plan({**overrides, "sample_rate": sample_rate, "n_mels": n_mels, "preset": preset})
        self._description = self._plan.options()
        empty = self._plan.empty_band_count
        if empty > 0:
            warnings.warn(
                f"{empty} of {n_mels} Mel bands are too narrow to hold an FFT bin, and their features are constant: "
                f"take fewer bands (n_mels), a larger fft_size (now {self._description['fft_size']}) or a higher "
                "low_hz",
                UserWarning,
                stacklevel=2,
            )

    @overload
    def __call__(
        self, waveform: ArrayLike, sample_rate: int | None = None, *, out: None = None
    ) -> NDArray[np.floating[Any]]: ...
    @overload
    def __call__(self, waveform: ArrayLike, sample_rate: int | None = None, *, out: Out) -> Out: ...
    def __call__(self, waveform: ArrayLike, sample_rate: int | None = None, *, out: Any = None) -> Any:
        """Features of a whole utterance.

        Audio is read where it lies, and copied only where it is not contiguous, aligned and of the machine's byte
        order. ``torch.from_numpy`` takes the features without a copy.

        Args:
            waveform: ``(n_samples,)`` mono audio, float32, float64 or int16: a numpy array, read-only or not, anything
                that numpy converts to one, or a tensor on the CPU (whatever offers ``__dlpack__``).
            sample_rate: The rate of ``waveform`` in Hz, to have it checked; it is not converted.
            out: Where to write the features, instead of to a new array: a C-contiguous numpy array or CPU torch tensor
                of shape ``(at least frame_count(n_samples), n_features)`` and the precision's dtype, apart from
                ``waveform`` in memory. The rows beyond the frames stay as they are.

        Returns:
            ``(frame_count(n_samples), n_features)``, the Mel energies, then their deltas, then their delta-deltas,
            side by side; float32, or float64 if that is the precision; with ``out``, its first rows, ``out[:frames]``.
            With "snip_edges" framing (``kaldi``, ``kaldi-hamming``, ``htk``), an utterance shorter than one window has
            no frames.

        Raises:
            ValueError: If ``waveform`` is empty, not mono, of another type, not on the CPU or not finite, if it is too
                short to be mirrored ("center_reflect"), if ``sample_rate`` is not the front end's, or if ``out`` does
                not fit; then ``out`` is as it was.

        Example:
            >>> LogMel(preset="psf")(np.zeros(8000, dtype=np.int16), sample_rate=16000).shape
            (49, 120)
            >>> buffer = np.empty((500, 120), np.float32)
            >>> features = LogMel()(np.ones(16000), out=buffer)
            >>> features.shape, features.base is buffer
            ((98, 120), True)
        """
        self._check_rate(sample_rate)
        return self._plan.compute(waveform, out)

    @overload
    def batch(
        self, waveforms: Iterable[ArrayLike], n_threads: int | None = None, *, out: None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]: ...
    @overload
    def batch(
        self, waveforms: Iterable[ArrayLike], n_threads: int | None = None, *, out: Out
    ) -> tuple[Out, NDArray[np.int64]]: ...
    def batch(self, waveforms: Iterable[ArrayLike], n_threads: int | None = None, *, out: Any = None) -> Any:
        """Features of several utterances, padded with zeros to the longest.

        Each row equals what a call with that waveform alone returns, whatever the number of threads.

        Args:
            waveforms: Utterances, each as for a call; lengths and types may differ.
            n_threads: Threads to use, which hold no interpreter lock; None takes one per CPU available.
            out: Where to write the features, as for a call, of shape ``(n_utterances, at least max_frames,
                n_features)``: the input of a model of fixed size, for one. Every row beyond an utterance's frames
                becomes zero, also those that are not returned.

        Returns:
            ``(n_utterances, max_frames, n_features)`` features and ``(n_utterances,)`` int64 frame counts. No
            utterances give ``(0, 0, n_features)``. With ``out``, the features are its part ``out[:, :max_frames]``.

        Raises:
            ValueError: As a call does, naming the utterance, ``waveforms[3]``; or if ``n_threads`` is below 1. Where
                samples are not finite, ``out`` may hold features of other utterances.

        Example:
            >>> features, lengths = LogMel().batch([np.ones(16000), np.ones(8000)])
            >>> features.shape, lengths.tolist()
            ((2, 98, 120), [98, 48])
            >>> buffer = np.empty((2, 200, 120), np.float32)
            >>> features, _ = LogMel().batch([np.ones(16000), np.ones(8000)], out=buffer)
            >>> features.shape, bool(buffer[1, 48:].any())
            ((2, 98, 120), False)
        """
        if n_threads is None:
            n_threads = _available_cpus()
        if n_threads < 1:
            raise ValueError(f"n_threads is {n_threads}, but must be at least 1, or None for one per CPU")
        return self._plan.batch(list(waveforms), n_threads, out)

    def stream(self) -> LogMelStream:
        """A stream that takes audio in pieces and gives exactly the features of the whole.

        Raises:
            ValueError: If ``top_db`` is set: it needs the whole utterance's maximum. ``top_db=None`` streams.

        Example:
            >>> stream = LogMel().stream()
            >>> audio = np.sin(np.arange(4000, dtype=np.float32))
            >>> pieces = [stream.push(audio[:1234]), stream.push(audio[1234:]), stream.finish()]
            >>> bool(np.array_equal(np.concatenate(pieces), LogMel()(audio)))
            True
        """
        return LogMelStream(self)

    def describe(self) -> dict[str, bool | int | float | str | None]:
        """Every parameter in effect, ready for JSON; ``LogMel(**description)`` builds an equal front end.

        Example:
            >>> LogMel().describe()["window"], LogMel().describe()["high_hz"]
            ('povey', 8000.0)
        """
        return dict(self._description)

    def frame_count(self, n_samples: int) -> int:
        """Frames of an utterance of ``n_samples``; 0 where it is too short for any.

        Raises:
            ValueError: If ``n_samples`` is negative.

        Example:
            >>> LogMel().frame_count(399), LogMel().frame_count(400), LogMel(preset="psf").frame_count(401)
            (0, 1, 2)
        """
        if n_samples < 0:
            raise ValueError(f"n_samples is {n_samples}, but must be at least 0")
        return self._plan.frame_count(n_samples)

    @property
    def sample_rate(self) -> int:
        """Samples per second, in Hz."""
        return int(self._description["sample_rate"] or 0)

    @property
    def n_mels(self) -> int:
        """Number of Mel bands."""
        return int(self._description["n_mels"] or 0)

    @property
    def n_features(self) -> int:
        """Values per frame: ``3 * n_mels``, or ``n_mels`` without deltas."""
        return self._plan.feature_count

    @property
    def isa(self) -> str:
        """Instruction set in use, "sse2", "avx2", "avx512", "neon" or "scalar".

        The best that this processor has; the environment variable ``SATN_FAST_ISA``, read when a front end is made,
        forces another. Features are the same to float rounding.
        """
        return self._plan.isa

    @property
    def frame_length(self) -> int:
        """Window length in samples."""
        return self._plan.window_length

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self._plan.hop_length

    @property
    def seconds_per_frame(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_length / self.sample_rate

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LogMel):
            return NotImplemented
        return self._description == other._description

    def __hash__(self) -> int:
        return hash(tuple(self._description.items()))

    def __repr__(self) -> str:
        preset = str(self._description["preset"])
        default = _frontend.Plan({"sample_rate": self.sample_rate, "n_mels": self.n_mels, "preset": preset}).options()
        changed = [f", {name}={value!r}" for name, value in self._description.items() if value != default[name]]
        return f"LogMel(sample_rate={self.sample_rate}, n_mels={self.n_mels}, preset={preset!r}{''.join(changed)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.describe(),)

    def _check_rate(self, sample_rate: int | None) -> None:
        if sample_rate is not None and sample_rate != self.sample_rate:
            raise ValueError(
                f"sample_rate is {sample_rate} Hz, but this front end expects {self.sample_rate} Hz: resample the "
                f"waveform (soxr, for one), or build LogMel(sample_rate={sample_rate})"
            )


class LogMelStream(_frontend.Stream):
    """Features of audio that arrives in pieces; all rows together equal the features of the whole, bit for bit.

    ``push`` takes the next samples and returns the frames that they complete, ``finish`` ends the utterance and returns
    the rest, ``reset`` begins another.

    Rows come ``2 * delta_window`` frames after their audio, because deltas look ahead; without deltas, at once. Memory
    stays the same however long the stream. A call that raises leaves the stream as it was. A stream is for one thread
    at a time, and different streams for any number of threads: each computes without the interpreter lock where a
    piece is long enough for that to pay (half a second).

    Args:
        front_end: The front end whose features are wanted.

    Raises:
        ValueError: If the front end's ``top_db`` is set: it needs the whole utterance. ``top_db=None`` streams.

    Example:
        >>> stream = LogMelStream(LogMel())
        >>> chunk = np.zeros(1600, dtype=np.int16)
        >>> [stream.push(chunk).shape, stream.push(chunk).shape, stream.finish().shape]
        [(4, 120), (10, 120), (4, 120)]
        >>> stream.reset()
        >>> stream.push(chunk).shape
        (4, 120)
    """

    def __init__(self, front_end: LogMel) -> None:
        super().__init__(front_end._plan)
        self._front_end = front_end

    @property
    def front_end(self) -> LogMel:
        """The front end whose features these are."""
        return self._front_end

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a LogMelStream cannot be pickled or copied: pickle its front_end, and make a stream of that")


def supported_isas() -> list[str]:
    """Instruction sets that this build and processor have, slowest first; the values of ``SATN_FAST_ISA``.

    Example:
        >>> LogMel().isa in supported_isas()
        True
    """
    return _frontend.supported_isas()


def _rebuild(description: dict[str, Any]) -> LogMel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said when the original was built
        return LogMel(**description)


def _available_cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1

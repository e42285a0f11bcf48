"""Reading and writing of audio files, with errors that say what is wrong with a file.

Decoding is libsndfile's (`soundfile`), resampling is `soxr`'s; both are imported when they are needed.
"""

from __future__ import annotations

import os
import struct
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from satn_fast.files import atomic_write

__all__ = ["Audio", "AudioError", "open_audio", "read_audio", "write_wav"]

Float32Array: TypeAlias = NDArray[np.float32]

# Decoders of lossy formats overshoot full scale a little. Far beyond it, the samples are on another scale.
_LARGEST_OVERSHOOT = 2.0


class AudioError(ValueError):
    """An audio file or waveform that cannot be used; the message names it and the remedy."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono recording.

    Attributes:
        waveform: Samples in [-1, 1], shape `(samples,)`, float32.
        sample_rate: Rate of `waveform` in Hz.
        original_rate: Rate of the file in Hz, before any resampling.
        channels: Of the file; `waveform` is their mean.
    """

    waveform: Float32Array
    sample_rate: int
    original_rate: int
    channels: int = 1

    @property
    def resampled(self) -> bool:
        """Whether the file had another rate than `sample_rate`."""
        return self.sample_rate != self.original_rate

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / self.sample_rate


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = None, *, mix: bool = False) -> Audio:
    """Read an audio file as a mono waveform.

    Args:
        path: A file in any format that libsndfile reads (WAV, FLAC, OGG, MP3, AIFF and others).
        sample_rate: Wanted rate in Hz; a file at another rate is resampled (soxr, quality "HQ"), and the result
            says so. `None` keeps the file's rate.
        mix: Whether to average the channels of a file that has several. Without it, such a file is refused.

    Returns:
        The waveform, float32 in [-1, 1], with its rate and the rate of the file.

    Raises:
        AudioError: If the file is missing, is no audio, is empty, holds fewer samples than its header declares,
            has non-finite samples, samples far outside [-1, 1], or several channels while `mix` is false.
        ImportError: If `soundfile` or `soxr` is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tone.wav"
        >>> write_wav(path, np.sin(np.arange(8000) / 5).astype(np.float32) / 2, 8000)
        >>> audio = read_audio(path, sample_rate=16000)
        >>> audio.waveform.shape, audio.sample_rate, audio.resampled
        ((16000,), 16000, True)
    """
    if sample_rate is not None and sample_rate <= 0:
        raise ValueError(f"sample_rate must be a positive number of Hz, got {sample_rate}")
    name = os.fspath(path)
    samples, rate = _decode(Path(path), name)
    if samples.shape[0] == 0:
        raise AudioError(f"{name}: holds no samples; remove it from the list or record it again")
    if samples.shape[1] > 1 and not mix:
        raise AudioError(f"{name}: has {samples.shape[1]} channels, mono is expected; pass mix=True to average them")
    waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    check_samples(waveform, name)
    if sample_rate is not None and sample_rate != rate:
        waveform = _resample(waveform, rate, sample_rate)
        if len(waveform) == 0:
            raise AudioError(f"{name}: is too short to be resampled from {rate} Hz to {sample_rate} Hz")
    waveform = np.ascontiguousarray(np.clip(waveform, -1.0, 1.0), dtype=np.float32)
    return Audio(waveform, rate if sample_rate is None else sample_rate, rate, samples.shape[1])


def write_wav(path: str | os.PathLike[str], waveform: NDArray[np.generic], rate: int) -> None:
    """Write a mono waveform as a 16-bit WAV file, whole or not at all.

    A float sample `x` is stored as `round(32768 * x)`, the inverse of what `read_audio` does; full scale, +1,
    becomes 32767.

    Args:
        path: The file to create or replace.
        waveform: Shape `(samples,)`; float in [-1, 1], or int16.
        rate: Sample rate in Hz.

    Raises:
        AudioError: If the waveform is empty, not one-dimensional, not finite, outside [-1, 1], or of another
            type.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "silence.wav"
        >>> write_wav(path, np.zeros(160, dtype=np.float32), 16000)
        >>> path.stat().st_size
        364
    """
    name = os.fspath(path)
    if rate <= 0:
        raise ValueError(f"rate must be a positive number of Hz, got {rate}")
    pcm = _as_int16(np.asarray(waveform), name)
    with atomic_write(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2", copy=False).tobytes())


def _as_int16(waveform: NDArray[np.generic], name: str) -> NDArray[np.int16]:
    if waveform.ndim != 1 or len(waveform) == 0:
        raise AudioError(f"{name}: a waveform of shape (samples,) is expected, got shape {waveform.shape}")
    if waveform.dtype == np.int16:
        return waveform.astype(np.int16, copy=False)
    if not np.issubdtype(waveform.dtype, np.floating):
        raise AudioError(f"{name}: a float or int16 waveform is expected, got {waveform.dtype}")
    samples = waveform.astype(np.float64)
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: the waveform has samples that are not finite")
    peak = float(np.abs(samples).max())
    if peak > 1.0:
        raise AudioError(f"{name}: samples reach {peak:.4g}, outside [-1, 1]; scale the waveform first")
    return np.minimum(np.round(samples * 32768.0), 32767.0).astype(np.int16)


@contextmanager
def open_audio(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open an audio file, an `AudioError` saying what is wrong with it; also while the block reads from it.

    Args:
        path: The file.

    Yields:
        A `soundfile.SoundFile`.

    Raises:
        AudioError: If the file is missing, empty, no audio, or its header lies.
        ImportError: If `soundfile` is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "silence.wav"
        >>> write_wav(path, np.zeros(160, dtype=np.float32), 16000)
        >>> with open_audio(path) as file:
        ...     file.frames, file.samplerate
        (160, 16000)
    """
    path, name = Path(path), os.fspath(path)
    if not path.exists():
        raise AudioError(f"{name}: no such file")
    if path.is_dir():
        raise AudioError(f"{name}: is a folder, an audio file is expected")
    if path.stat().st_size == 0:
        raise AudioError(f"{name}: is empty (0 bytes); copy or record it again")
    _check_wav_header(path, name)
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            yield file
    except (soundfile.LibsndfileError, TypeError, OverflowError, MemoryError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(". ") or type(error).__name__
        raise AudioError(f"{name}: is not a readable audio file ({reason}); convert it to WAV or FLAC") from error


def _decode(path: Path, name: str) -> tuple[Float32Array, int]:
    """Samples `(frames, channels)` and rate of a file, or an `AudioError`."""
    with open_audio(path) as file:
        declared, rate = int(file.frames), int(file.samplerate)
        samples: Float32Array = file.read(dtype="float32", always_2d=True)
    check_length(len(samples), declared, name)
    return samples, rate


def check_length(read: int, declared: int, name: str) -> None:
    """Refuse a file of which another number of frames could be read than its header declares."""
    if read != declared:
        raise AudioError(
            f"{name}: is truncated, the header declares {declared} frames and {read} could be read; "
            "copy or record it again"
        )


def check_samples(waveform: Float32Array, name: str) -> None:
    """Refuse samples that are not finite or far outside [-1, 1]."""
    finite = np.isfinite(waveform)
    if not finite.all():
        raise AudioError(
            f"{name}: sample {int(np.argmin(finite))} is not finite ({int((~finite).sum())} in total); "
            "export it again from its source"
        )
    peak = float(np.abs(waveform).max())
    if peak > _LARGEST_OVERSHOOT:
        raise AudioError(
            f"{name}: samples reach {peak:.6g}, far outside [-1, 1]; the file was probably written on the scale of "
            "integers, divide by 32768"
        )


def _resample(waveform: Float32Array, rate: int, wanted: int) -> Float32Array:
    try:
        import soxr
    except ImportError as error:
        raise ImportError('resampling needs soxr: pip install "satn-fast[train]"') from error
    resampled: Float32Array = soxr.resample(waveform, rate, wanted, quality="HQ")
    return resampled


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError('reading audio needs soundfile: pip install "satn-fast[train]"') from error
    module: ModuleType = soundfile
    return module


# --- WAV headers -------------------------------------------------------------------------------------------
# libsndfile reads what it finds of a truncated WAV file and says nothing, so the header is checked here.


def _check_wav_header(path: Path, name: str) -> None:
    """Refuse a RIFF/RIFX/RF64 WAV file whose data chunk is not what its header declares."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
            return
        order = ">" if head[:4] == b"RIFX" else "<"
        large: int | None = None
        while len(chunk := file.read(8)) == 8:
            kind, declared = chunk[:4], int(struct.unpack(order + "I", chunk[4:])[0])
            start = file.tell()
            if kind == b"ds64":
                large = _ds64_data_size(file)
            if kind == b"data":
                if declared == 0xFFFFFFFF and large is not None:
                    declared = large
                _check_data_chunk(file, start, declared, size, order, name)
                return
            file.seek(start + declared + declared % 2)
    raise AudioError(f"{name}: is truncated, the WAV header ends before any samples; copy or record it again")


def _ds64_data_size(file: BinaryIO) -> int | None:
    body = file.read(16)
    return int(struct.unpack("<QQ", body)[1]) if len(body) == 16 else None


def _check_data_chunk(file: BinaryIO, start: int, declared: int, size: int, order: str, name: str) -> None:
    """Compare the declared number of data bytes with the file, before and after the chunk."""
    present = size - start
    if declared > present:
        raise AudioError(
            f"{name}: is truncated, its WAV header declares {declared} bytes of samples and the file holds {present}; "
            "copy it again, or rewrite the header (sox or ffmpeg) if it came from a pipe"
        )
    surplus = _bytes_outside_chunks(file, start + declared, size, order)
    if surplus:
        raise AudioError(
            f"{name}: its WAV header declares {declared} bytes of samples but {surplus} more bytes follow that "
            "belong to no chunk; rewrite the header (sox or ffmpeg)"
        )


def _bytes_outside_chunks(file: BinaryIO, position: int, size: int, order: str) -> int:
    """How many bytes from `position` on are neither chunks, nor ID3 tags, nor padding with zeros."""
    position += position % 2
    while position < size:
        file.seek(position)
        head = file.read(8)
        if head[:3] in (b"TAG", b"ID3"):
            return 0
        length = int(struct.unpack(order + "I", head[4:])[0]) if len(head) == 8 else size
        if not (head[:4].isascii() and head[:4].decode().isprintable()) or position + 8 + length > size:
            file.seek(position)
            rest = file.read()
            return len(rest) if rest.strip(b"\0") else 0
        position += 8 + length + length % 2
    return 0

"""From audio files to features: several threads, damaged files named, nothing computed twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from satn_fast.audio import Audio, AudioError, read_audio
from satn_fast.data import Utterance
from satn_fast.frontend import LogMel
from satn_fast.training.cache import FeatureCache
from satn_fast.training.conditions import VERSION as CONDITIONS_VERSION
from satn_fast.training.conditions import DrawnCondition
from satn_fast.training.perturbation import Perturbation

Progress: TypeAlias = Callable[[int, int], None]
Notify: TypeAlias = Callable[[str], None]
Frames: TypeAlias = NDArray[np.floating[Any]]

# Utterances read before features of all of them are computed, and the longest that are padded to a common length.
_CHUNK = 64
_LONG_SECONDS = 30.0

# Skipped files that the summary names; every one is named when it is met.
_NAMED_IN_SUMMARY = 5


@overload
def extract_features(
    utterances: Sequence[Utterance],
    front_end: LogMel,
    progress: Progress | None = None,
    notify: Notify | None = None,
    *,
    cache: FeatureCache | None = None,
    on_error: Literal["raise"] = "raise",
    perturbation: Perturbation | None = None,
    epoch: int = 0,
    numbers: Sequence[int] | None = None,
    n_threads: int | None = None,
) -> list[Tensor]: ...
@overload
def extract_features(
    utterances: Sequence[Utterance],
    front_end: LogMel,
    progress: Progress | None = None,
    notify: Notify | None = None,
    *,
    cache: FeatureCache | None = None,
    on_error: Literal["skip"],
    perturbation: Perturbation | None = None,
    epoch: int = 0,
    numbers: Sequence[int] | None = None,
    n_threads: int | None = None,
) -> list[Tensor | None]: ...
def extract_features(
    utterances: Sequence[Utterance],
    front_end: LogMel,
    progress: Progress | None = None,
    notify: Notify | None = None,
    *,
    cache: FeatureCache | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    perturbation: Perturbation | None = None,
    epoch: int = 0,
    numbers: Sequence[int] | None = None,
    n_threads: int | None = None,
) -> list[Tensor] | list[Tensor | None]:
    """Computes the features of every utterance, or finds them in a cache.

    The features are the same with and without a (float32) cache, and for any number of threads.

    Args:
        utterances: What to read; `start` and `end` (seconds) choose a part of the file.
        front_end: The log-Mel front end; files at another rate are resampled to its rate.
        progress: Called with (done, total) after each utterance.
        notify: Told in one sentence each how many utterances were resampled, of how many the channels were averaged
            (those of the cache are not counted), and which were skipped. Without it, skipped utterances are warnings.
        cache: Where to look first, and to keep what had to be computed; of the same front end.
        on_error: What to do about an audio file that cannot be used: "raise", or "skip" it, with `None` in its place.
        perturbation: Changes speed, gain and recording condition of the waveforms, differently in every epoch.
            Features of another gain are not cached; those of a condition are, under all that decides it.
        epoch: Of the perturbation.
        numbers: By which the perturbation knows the utterances; their places in `utterances` if `None`.
        n_threads: Threads that read and compute; `None` takes one per CPU available.

    Returns:
        (T, F) float32 tensors, in the order of `utterances`.

    Raises:
        AudioError: A file cannot be read, or is too short for a single frame; the message names it. With "skip": no
            file could be read.
        CacheError: The cache cannot be written; what was computed before is in it.
        ValueError: The cache is of another front end, or `on_error` is another word.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from satn_fast.audio import write_wav
        >>> folder, front_end = Path(tempfile.mkdtemp()), LogMel()
        >>> write_wav(folder / "good.wav", np.sin(np.arange(8000) / 5).astype(np.float32) / 2, 16000)
        >>> _ = (folder / "bad.wav").write_bytes(b"no audio")
        >>> corpus = [Utterance(folder / name, "sad", "anna") for name in ("good.wav", "bad.wav")]
        >>> cache = FeatureCache(folder / "cache", front_end)
        >>> good, bad = extract_features(corpus, front_end, notify=lambda said: None, cache=cache, on_error="skip")
        >>> good.shape, bad
        (torch.Size([48, 120]), None)
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}; choose 'raise' or 'skip'")
    if cache is not None and cache.front_end != front_end:
        raise ValueError(f"cache is of {cache.front_end!r}, but front_end is {front_end!r}; give both the same")
    tell = notify or (lambda said: warnings.warn(said, UserWarning, 3))
    numbers = range(len(utterances)) if numbers is None else numbers
    features: list[Tensor | None] = []
    failures: list[AudioError] = []
    n_resampled = n_mixed = 0
    with ThreadPoolExecutor(n_threads) as pool:
        for start in range(0, len(utterances), _CHUNK):
            places = range(start, min(start + _CHUNK, len(utterances)))
            chunk = [_job(utterances[i], perturbation, epoch, numbers[i]) for i in places]
            for job in _computed(chunk, front_end, cache, pool, n_threads):
                if job.error is not None:
                    if on_error == "raise":
                        raise job.error
                    failures.append(job.error)
                    tell(f"skipped: {job.error}")
                features.append(None if job.frames is None else torch.from_numpy(job.frames))
                n_resampled += job.resampled
                n_mixed += job.mixed
                if progress is not None:
                    progress(len(features), len(utterances))
    if n_resampled and notify is not None:
        notify(f"{n_resampled} of {len(utterances)} utterances resampled to {front_end.sample_rate} Hz")
    if n_mixed and notify is not None:
        notify(f"{n_mixed} of {len(utterances)} utterances have several channels; took their mean")
    if failures:
        _summarise(failures, utterances, features, tell)
    return features


@dataclass(frozen=True)
class _Job:
    """One utterance on its way: its waveform, then its features or what is wrong with it."""

    utterance: Utterance
    speed: float
    gain: float
    condition: DrawnCondition | None = None
    key: str | None = None
    waveform: NDArray[np.float32] | None = None
    frames: Frames | None = None
    error: AudioError | None = None
    resampled: bool = False
    mixed: bool = False


def _job(utterance: Utterance, perturbation: Perturbation | None, epoch: int, number: int) -> _Job:
    """What is to be done to an utterance."""
    if perturbation is None:
        return _Job(utterance, 1.0, 0.0)
    return _Job(utterance, *perturbation.draw(epoch, number), perturbation.draw_condition(epoch, number))


def _computed(
    jobs: Sequence[_Job],
    front_end: LogMel,
    cache: FeatureCache | None,
    pool: ThreadPoolExecutor,
    n_threads: int | None,
) -> Iterator[_Job]:
    """The jobs in their order, each with features or an error; the cache has the features of all before the first."""
    jobs = [_looked_up(job, cache) for job in jobs]
    jobs = list(pool.map(lambda job: _read(job, front_end), jobs))
    long = _LONG_SECONDS * front_end.sample_rate
    waiting = [i for i, job in enumerate(jobs) if job.waveform is not None]
    short = [i for i in waiting if len(_samples(jobs[i])) <= long]
    frames: dict[int, Frames] = {}
    try:
        padded, lengths = front_end.batch([_samples(jobs[i]) for i in short], n_threads)
        frames = {i: row[:n].copy() for i, row, n in zip(short, padded, lengths, strict=True)}
    except ValueError:
        pass  # one of them cannot be used; each by itself says which
    for i in waiting:
        jobs[i] = _with_frames(jobs[i], frames.get(i), front_end)
        frames.pop(i, None)
        key, found = jobs[i].key, jobs[i].frames
        if cache is not None and key is not None and found is not None:
            cache.put(key, found)
    yield from jobs


def _samples(job: _Job) -> NDArray[np.float32]:
    assert job.waveform is not None, "only jobs that were read are computed"
    return job.waveform


def _looked_up(job: _Job, cache: FeatureCache | None) -> _Job:
    """The job with its features, if the cache has them."""
    if cache is None or job.gain:
        return job
    utterance = job.utterance
    variant = "" if job.speed == 1.0 else f"speed={job.speed!r}"
    if job.condition is not None:
        variant += f" condition {CONDITIONS_VERSION}: {job.condition!r}"
    try:
        if not utterance.file.is_file():
            return job
        key = cache.key(utterance.file, utterance.start, utterance.end, variant=variant)
    except PermissionError:
        return job  # reading says what is wrong with it
    found = cache.get(key)
    if found is None:
        return replace(job, key=key)
    return replace(job, frames=np.array(found, np.float32))


def _read(job: _Job, front_end: LogMel) -> _Job:
    """The job with its waveform, unless it has features already."""
    if job.frames is not None:
        return job
    try:
        audio = read_audio(job.utterance.file, front_end.sample_rate, mix=True)
        waveform = part_of(job.utterance, audio)
    except AudioError as error:
        return replace(job, error=error)
    if job.speed != 1.0 or job.gain or job.condition is not None:
        waveform = Perturbation.apply(waveform, audio.sample_rate, job.speed, job.gain, job.condition)
    return replace(job, waveform=waveform, resampled=audio.resampled, mixed=audio.channels > 1)


def _with_frames(job: _Job, frames: Frames | None, front_end: LogMel) -> _Job:
    """The job with features of its own, or the error; its waveform is let go."""
    file = job.utterance.file
    try:
        found = front_end(_samples(job)) if frames is None else frames
    except ValueError as error:
        return replace(job, waveform=None, error=AudioError(f"{file}: {error}"))
    if not len(found):
        short = AudioError(f"{file}: is too short, give at least {front_end.frame_length} samples")
        return replace(job, waveform=None, error=short)
    return replace(job, waveform=None, frames=found.astype(np.float32, copy=False))


def part_of(utterance: Utterance, audio: Audio) -> NDArray[np.float32]:
    """The samples between the utterance's start and end.

    Raises:
        AudioError: The part starts after the end of the audio.
    """
    sample_rate = audio.sample_rate
    start = round((utterance.start or 0.0) * sample_rate)
    end = None if utterance.end is None else round(utterance.end * sample_rate)
    if start >= len(audio.waveform):
        raise AudioError(f"{utterance.file}: lasts {audio.duration:g} s, but the part starts at {utterance.start:g} s")
    if (start, end) == (0, None):
        return audio.waveform
    return audio.waveform[start:end].copy()  # not to keep the whole recording for a part of it


def _summarise(
    failures: Sequence[AudioError],
    utterances: Sequence[Utterance],
    features: Sequence[Tensor | None],
    tell: Notify,
) -> None:
    files = [u.file.name for u, frames in zip(utterances, features, strict=True) if frames is None]
    names = ", ".join(files[:_NAMED_IN_SUMMARY]) + (", ..." if len(files) > _NAMED_IN_SUMMARY else "")
    summary = f"{len(files)} of {len(utterances)} utterances skipped: {names}"
    if len(files) == len(utterances):
        raise AudioError(f"{summary}; the first: {failures[0]}")
    tell(summary)

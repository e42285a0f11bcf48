"""The process that renders the synthetic corpus; started by `satn_fast.data.synthesis`, not by people.

It is a process of its own because espeak-ng's output depends on everything the process said before. Standard output
carries the number of finished clips, one a line; if nobody reads it any more, the process ends.
"""

from __future__ import annotations

import csv
import json
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from satn_fast.data._espeak import Event, Speech, Synthesizer
from satn_fast.data._recipe import EMOTIONS, SENTENCES, VOICES, Emotion, Voice
from satn_fast.data.manifest import Utterance, write_manifest
from satn_fast.data.phonemes import split_symbol

__all__ = ["render"]

FloatArray: TypeAlias = NDArray[np.float64]

# Spread of the prosody within one emotion. Tuned by the baseline in `satn_fast.data.synthesis`: without it, four
# corners in the plane of pitch and rate would be told apart without error.
_STRENGTH = (0.7, 1.2)  # of an utterance's emotion; uniform
_EXPRESSIVENESS = (0.85, 1.15)  # of a speaker's emotions; uniform
_RATE_SPREAD = 0.06  # standard deviation of the logarithm
_PITCH_SPREAD = 3.5  # standard deviation, espeak-ng's unit
_RANGE_SPREAD = 0.2  # standard deviation of the logarithm
_GAIN_SPREAD_DB = 1.5  # standard deviation
_NEUTRAL_VOLUME = 60.0  # far enough below 100 that loud speech does not saturate

_MARGIN = (0.06, 0.20)  # seconds before and after the speech; uniform
_SILENCE = 10 ** (-45 / 20)  # relative to the peak
_GAIN = 0.9  # of espeak-ng's full scale, before the spread
_CEILING = 0.9  # the largest sample of any clip
_NOISE_DB = (-38.0, -26.0)  # level of the background noise relative to the speech; uniform


@dataclass(frozen=True)
class Interval:
    """A word or a phoneme of a clip, in seconds from its beginning."""

    start: float
    end: float
    kind: Literal["word", "phoneme"]
    symbol: str


def render(
    folder: Path, *, seed: int, n_voices: int, sentences_per_emotion: int, sample_rate: int
) -> dict[str, object]:
    """Render the corpus into an empty folder, in a process that has not spoken yet.

    Args:
        folder: Where to write `wav/`, `manifest.csv` and `alignment.csv`.
        seed: Fixes everything that is random.
        n_voices: How many of the voices speak.
        sentences_per_emotion: How many sentences each voice says with each emotion.
        sample_rate: Of the files, in Hz.

    Returns:
        Statistics for `corpus.json`: clips, seconds, and the voice of each speaker.
    """
    state = np.random.SeedSequence(seed).generate_state(1)[0]
    synthesizer = Synthesizer(int(state) & 0x7FFFFFFF)
    utterances: list[Utterance] = []
    alignments: list[list[Interval]] = []
    seconds = 0.0
    for voice_index, voice in enumerate(VOICES[:n_voices]):
        speaker_generator = np.random.default_rng([seed, voice_index])
        expressiveness = speaker_generator.uniform(*_EXPRESSIVENESS)
        # The same sentences for every emotion, so that the words say nothing about the label.
        sentences = speaker_generator.permutation(len(SENTENCES))[:sentences_per_emotion]
        for emotion_index, emotion in enumerate(EMOTIONS):
            for number, sentence in enumerate(sentences):
                generator = np.random.default_rng([seed, voice_index, emotion_index, number])
                text = SENTENCES[sentence]
                prosody = _draw_prosody(voice, emotion, expressiveness, generator)
                speech = synthesizer.speak(text, voice=voice.name, **prosody)
                waveform, intervals = _record(speech, sample_rate, generator)
                path = folder / "wav" / voice.speaker / f"{voice.speaker}_{emotion.label}_{number + 1:02d}.wav"
                _write(path, waveform, sample_rate)
                symbols = " ".join(interval.symbol for interval in intervals if interval.kind == "phoneme")
                extra = {"phonemes": symbols}
                utterances.append(Utterance(path, emotion.label, voice.speaker, text=text, extra=extra))
                alignments.append(intervals)
                seconds += len(waveform) / sample_rate
                sys.stdout.write(f"{len(utterances)}\n")
                sys.stdout.flush()
    write_manifest(folder / "manifest.csv", utterances)
    _write_alignment(folder / "alignment.csv", folder, utterances, alignments)
    return {
        "clips": len(utterances),
        "seconds": round(seconds, 3),
        "speakers": {voice.speaker: voice.name for voice in VOICES[:n_voices]},
    }


def _draw_prosody(
    voice: Voice, emotion: Emotion, expressiveness: float, generator: np.random.Generator
) -> dict[str, int]:
    """Parameters for espeak-ng: the voice's own, moved by the emotion, with jitter."""
    strength = expressiveness * generator.uniform(*_STRENGTH)
    rate = voice.rate * emotion.rate**strength * np.exp(generator.normal(0.0, _RATE_SPREAD))
    pitch = voice.pitch + emotion.pitch * strength + generator.normal(0.0, _PITCH_SPREAD)
    pitch_range = voice.pitch_range * emotion.pitch_range**strength * np.exp(generator.normal(0.0, _RANGE_SPREAD))
    volume = _NEUTRAL_VOLUME * emotion.volume**strength
    return {
        "rate": round(float(np.clip(rate, 100, 260))),
        "pitch": round(float(np.clip(pitch, 0, 99))),
        "pitch_range": round(float(np.clip(pitch_range, 0, 99))),
        "volume": round(float(np.clip(volume, 10, 100))),
    }


def _record(speech: Speech, sample_rate: int, generator: np.random.Generator) -> tuple[FloatArray, list[Interval]]:
    """Make a recording of synthetic speech: cut, resample, set the level, add noise; the alignment moves along."""
    import soxr

    clean: FloatArray = soxr.resample(speech.waveform / 32768.0, speech.sample_rate, sample_rate, quality="HQ")
    audible = np.flatnonzero(np.abs(clean) > _SILENCE * np.abs(clean).max())
    first, last = int(audible[0]), int(audible[-1]) + 1
    before, after = (round(margin * sample_rate) for margin in generator.uniform(*_MARGIN, size=2))
    waveform = np.zeros(before + last - first + after)
    waveform[before : before + last - first] = clean[first:last]
    waveform *= _GAIN * 10 ** (generator.normal(0.0, _GAIN_SPREAD_DB) / 20)
    level = float(np.sqrt(np.mean(np.square(waveform)))) * 10 ** (generator.uniform(*_NOISE_DB) / 20)
    waveform += level * _noise(len(waveform), generator)
    waveform *= min(1.0, _CEILING / float(np.abs(waveform).max()))
    intervals = _intervals(speech.events, (before - first) / sample_rate, len(waveform) / sample_rate)
    return waveform, intervals


def _noise(n: int, generator: np.random.Generator) -> FloatArray:
    """Room noise of unit power: white noise that loses its high frequencies in a short smoothing kernel."""
    kernel = 0.8 ** np.arange(32.0)
    noise = np.convolve(generator.standard_normal(n + len(kernel) - 1), kernel, mode="valid")
    return np.asarray(noise / np.sqrt(np.square(kernel).sum()))


def _intervals(events: list[Event], shift: float, duration: float) -> list[Interval]:
    """The words and phonemes between espeak-ng's events, `shift` seconds later, inside `[0, duration]`."""
    sounds = _sounds(events, duration - shift)
    raw: list[Interval] = []
    for start, end, symbols in sounds:
        edges = np.linspace(start, end, len(symbols) + 1)
        bounds = zip(edges[:-1], edges[1:], symbols, strict=True)
        raw += [Interval(float(left), float(right), "phoneme", symbol) for left, right, symbol in bounds]
    raw += _words(events, sounds, duration - shift)
    moved = [
        Interval(min(max(x.start + shift, 0.0), duration), min(max(x.end + shift, 0.0), duration), x.kind, x.symbol)
        for x in raw
    ]
    return sorted(moved, key=lambda interval: (interval.start, interval.kind != "word"))


def _sounds(events: list[Event], limit: float) -> list[tuple[float, float, list[str]]]:
    """Start, end and symbols of every stretch of sound; it lasts until the next event or a pause.

    An l after a vowel is spoken as a part of it: espeak-ng says that it starts and ends where the vowel ends. It
    joins the stretch of the vowel.
    """
    phonemes = [event for event in events if event.kind == "phoneme"]
    sounds: list[tuple[float, float, list[str]]] = []
    for event, end in zip(phonemes, [*(event.start for event in phonemes[1:]), limit], strict=True):
        symbols = list(split_symbol(event.symbol))
        if symbols and end <= event.start and sounds:
            sounds[-1][2].extend(symbols)
        elif symbols:
            sounds.append((event.start, end, symbols))
    return sounds


def _words(events: list[Event], sounds: list[tuple[float, float, list[str]]], limit: float) -> list[Interval]:
    """A word lasts until the next word, or until its last sound ends if that is earlier."""
    words = [event for event in events if event.kind == "word"]
    intervals = []
    for event, next_start in zip(words, [*(event.start for event in words[1:]), limit], strict=True):
        last = max((end for start, end, _ in sounds if event.start <= start < next_start), default=next_start)
        intervals.append(Interval(event.start, min(last, next_start), "word", event.symbol))
    return intervals


def _write(path: Path, waveform: FloatArray, sample_rate: int) -> None:
    # The whole folder appears at once, so a file needs no care of its own.
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(waveform * 32767.0).astype("<i2").tobytes())


def _write_alignment(path: Path, folder: Path, utterances: list[Utterance], alignments: list[list[Interval]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "start", "end", "kind", "symbol"])
        for utterance, intervals in zip(utterances, alignments, strict=True):
            name = utterance.file.relative_to(folder).as_posix()
            writer.writerows([name, f"{x.start:.4f}", f"{x.end:.4f}", x.kind, x.symbol] for x in intervals)


def main() -> None:
    """Render what the JSON object in the first argument asks for, and write the statistics beside it."""
    request = json.loads(sys.argv[1])
    folder = Path(request.pop("folder"))
    statistics = render(folder, **request)
    (folder / "statistics.json").write_text(json.dumps(statistics), encoding="utf-8")


if __name__ == "__main__":
    main()

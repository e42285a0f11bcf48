"""A small binding of the speech synthesiser espeak-ng through ctypes.

espeak-ng keeps global state that leaks from one utterance into the next, random numbers included. Whoever needs the
same bytes twice uses one `Synthesizer` in a fresh process and speaks everything in a fixed order.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Event", "Speech", "Synthesizer"]

# Numbers from espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS = 1
_INITIALIZE_PHONEME_IPA = 2
_INITIALIZE_DONT_EXIT = 1 << 15
_CHARS_UTF8 = 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "pitch_range": 4}
_EVENT_KINDS: dict[int, Literal["word", "phoneme"]] = {1: "word", 7: "phoneme"}
_EVENT_LIST_END = 0
_LONGEST_PATH = 140  # espeak-ng keeps its data folder in a buffer of 160 bytes


@dataclass(frozen=True)
class Event:
    """Something that begins within an utterance.

    Attributes:
        kind: `"word"` or `"phoneme"`.
        start: When it begins, in seconds.
        symbol: The word, or the phoneme in IPA as espeak-ng writes it; empty for a pause. Where espeak-ng joins
            function words ("of the"), the symbol has them all.
    """

    kind: Literal["word", "phoneme"]
    start: float
    symbol: str


@dataclass(frozen=True, eq=False)
class Speech:
    """What espeak-ng said: samples `(n,)` int16, their rate in Hz, and events in order of time."""

    waveform: NDArray[np.int16]
    sample_rate: int
    events: list[Event]


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesizer:
    """The one espeak-ng of a process.

    Args:
        seed: For espeak-ng's random numbers (flutter and roughness of a voice).

    Raises:
        ImportError: If `espeakng-loader` is not installed.
        RuntimeError: If espeak-ng cannot load its data.
    """

    def __init__(self, seed: int) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise ImportError('speech synthesis needs espeak-ng: pip install "satn-fast[demo]"') from error
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = str(Path(espeakng_loader.get_data_path()).parent)
        options = _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA | _INITIALIZE_DONT_EXIT
        rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, folder.encode(), options)
        if rate <= 0:
            hint = "; its path is too long for espeak-ng" if len(folder.encode()) > _LONGEST_PATH else ""
            raise RuntimeError(
                f"espeak-ng cannot load its data from {folder}{hint}; reinstall espeakng-loader elsewhere"
            )
        self.sample_rate = int(rate)
        self._blocks: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int, int, bytes]] = []
        self._callback = _Callback(self._receive)  # a reference, else the garbage collector takes it away
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def speak(
        self, text: str, *, voice: str, rate: int = 175, volume: int = 100, pitch: int = 50, pitch_range: int = 50
    ) -> Speech:
        """Synthesise one sentence.

        Args:
            text: ASCII text, so that espeak-ng's character positions are ours.
            voice: A voice of espeak-ng, such as `"en-us+f3"`.
            rate: Words per minute, 80 to 450.
            volume: 0 to 200; 100 is espeak-ng's default.
            pitch: 0 to 99, relative to the voice.
            pitch_range: 0 (monotone) to 99.

        Returns:
            The speech.

        Raises:
            RuntimeError: If espeak-ng has no such voice or fails.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice!r}")
        for name, value in {"rate": rate, "volume": volume, "pitch": pitch, "pitch_range": pitch_range}.items():
            self._library.espeak_SetParameter(_PARAMETERS[name], value, 0)
        self._blocks.clear()
        self._events.clear()
        encoded = text.encode("ascii") + b"\0"
        if self._library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _CHARS_UTF8, None, None) != 0 or not self._blocks:
            raise RuntimeError(f"espeak-ng could not speak {text!r} with voice {voice!r}")
        return Speech(np.concatenate(self._blocks), self.sample_rate, self._read_events(text))

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        """Take a block of samples and its events; called by espeak-ng, 0 asks it to go on."""
        if samples and count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type != _EVENT_LIST_END:
            event = events[index]
            if event.type in _EVENT_KINDS:
                self._events.append((event.type, event.audio_position, event.text_position, event.id.string))
            index += 1
        return 0

    def _read_events(self, text: str) -> list[Event]:
        # Text positions count from 1. A word lasts to the next word's event: espeak-ng's own length leaves out the
        # function words that it joins to a word.
        word_starts = [position - 1 for kind, _, position, _ in self._events if _EVENT_KINDS[kind] == "word"]
        words = iter(
            text[start:end].strip(" .,?!") for start, end in zip(word_starts, [*word_starts[1:], None], strict=True)
        )
        events = []
        for kind, milliseconds, _, symbol in self._events:
            name = _EVENT_KINDS[kind]
            label = next(words) if name == "word" else symbol.decode("utf-8")
            events.append(Event(name, milliseconds / 1000.0, label))
        return sorted(events, key=attrgetter("start"))

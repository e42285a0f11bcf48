"""openSMILE in a process of its own: it crashes in one that has loaded TensorFlow."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CONFIG = r"""
[componentInstances:cComponentManager]
instance[dataMemory].type=cDataMemory
\{\cm[source{?}:include external source]}
[componentInstances:cComponentManager]
instance[frame].type=cFramer
instance[emphasis].type=cVectorPreemphasis
instance[window].type=cWindower
instance[fft].type=cTransformFFT
instance[magnitude].type=cFFTmagphase
instance[mel].type=cMelspec
instance[log].type=cVectorOperation
instance[delta].type=cDeltaRegression
instance[accel].type=cDeltaRegression
[frame:cFramer]
reader.dmLevel=wave
writer.dmLevel=frame
\{\cm[bufferModeRbConf{?}:buffer mode]}
copyInputName=1
noPostEOIprocessing=1
frameSize=0.025
frameStep=0.010
frameMode=fixed
frameCenterSpecial=left
[emphasis:cVectorPreemphasis]
reader.dmLevel=frame
writer.dmLevel=emphasis
k=0.97
de=0
[window:cWindower]
reader.dmLevel=emphasis
writer.dmLevel=window
winFunc=ham
[fft:cTransformFFT]
reader.dmLevel=window
writer.dmLevel=fft
[magnitude:cFFTmagphase]
reader.dmLevel=fft
writer.dmLevel=magnitude
[mel:cMelspec]
reader.dmLevel=magnitude
writer.dmLevel=mel
htkcompatible=1
nBands={n_mels}
usePower=1
lofreq=0
[log:cVectorOperation]
reader.dmLevel=mel
writer.dmLevel=log
operation=log
[delta:cDeltaRegression]
reader.dmLevel=log
writer.dmLevel=delta
deltawin=2
[accel:cDeltaRegression]
reader.dmLevel=delta
writer.dmLevel=accel
deltawin=2
\{\cm[sink{?}:include external sink]}
"""


class OpenSmile:
    """openSMILE's log-Mel spectrum, with its own deltas if they are asked for. Skips where it is not installed.

    `folder` is where audio and features pass from process to process.
    """

    def __init__(self, folder: Path, n_mels: int, deltas: bool = False) -> None:
        if importlib.util.find_spec("opensmile") is None:
            pytest.skip("opensmile is not installed")
        self._audio = folder / "audio.npy"
        config = folder / "logmel.conf"
        config.write_text(CONFIG.replace("{n_mels}", str(n_mels)))
        worker = Path(__file__).with_name("opensmile_worker.py")
        command = [sys.executable, str(worker), str(config), "log;delta;accel" if deltas else "log"]
        self._worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "OpenSmile":
        return self

    def __exit__(self, *_) -> None:
        self._worker.stdin.close()
        self._worker.wait()
        self._worker.stdout.close()

    def features(self, audio: np.ndarray, rate: int = 16000) -> np.ndarray:
        """Features of int16 audio."""
        return self.timed_features(audio, 1, rate)[0]

    def timed_features(self, audio: np.ndarray, calls: int, rate: int = 16000) -> tuple[np.ndarray, float]:
        """Features of int16 audio, and the seconds that the process took for each of so many calls."""
        np.save(self._audio, audio)
        self._worker.stdin.write(f"{rate} {calls} {self._audio}\n")
        self._worker.stdin.flush()
        seconds, path = self._worker.stdout.readline().rstrip("\n").split(" ", maxsplit=1)
        return np.load(path), float(seconds)

"""`satn-fast features`: log-Mel features of audio files."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from satn_fast.audio import AudioError
from satn_fast.cli.audio import features_of
from satn_fast.cli.terminal import bar, messages, progress_bars
from satn_fast.files import atomic_write
from satn_fast.frontend import LogMel


def features(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files (WAV, FLAC, OGG, MP3, ...).")],
    destination: Annotated[
        Path, typer.Option("--output", "-o", help="A folder for one .npy per file, or a name ending in .npz.")
    ] = Path("features"),
    preset: Annotated[str, typer.Option(help="kaldi, kaldi-hamming, htk, psf, torchaudio or librosa.")] = "kaldi",
    sample_rate: Annotated[int, typer.Option(help="In Hz; files at other rates are resampled.")] = 16000,
    n_mels: Annotated[int, typer.Option(help="Mel bands; each frame has three times as many values.")] = 40,
    mix: Annotated[bool, typer.Option("--mix", help="Average the channels of stereo files.")] = False,
) -> None:
    """Compute log-Mel features with deltas and delta-deltas: `(frames, 3 * n_mels)` float32 for each file.

    **Examples**

        satn-fast features speech/*.wav --output features/

        satn-fast features a.wav b.flac --output corpus.npz --preset librosa --n-mels 80
    """
    names = [file.stem for file in files]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise AudioError(f"several files are called {repeated[0]}; give them different names, or run once for each")
    front_end = LogMel(sample_rate=sample_rate, n_mels=n_mels, preset=preset)
    archive = {}
    with progress_bars() as bars:
        advance = bar(bars, "features", len(files))
        for done, (name, file) in enumerate(zip(names, files, strict=True), start=1):
            frames = features_of(file, front_end, mix=mix)
            if destination.suffix == ".npz":
                archive[name] = frames
            else:
                with atomic_write(destination / f"{name}.npy") as temporary:
                    np.save(temporary, frames, allow_pickle=False)
            advance(done, len(files), note=f"{len(frames)} frames")
    if archive:
        with atomic_write(destination) as temporary:
            np.savez(temporary, allow_pickle=False, **archive)
    messages.print(f"wrote {destination}", highlight=False)

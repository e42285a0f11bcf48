"""A labelled corpus of synthetic emotional speech, for demonstrations and tests without a download.

Speech comes from espeak-ng. An emotion is a prosody (rate, pitch, range, volume) relative to the speaker's own,
with a different strength and jitter in each utterance; level and background noise vary as in recordings. It shows
that a pipeline works; it says nothing about emotions of people.

The task is meant to be learnable and not trivial. With the default arguments, mean and standard deviation over time of
40 log-Mel energies with deltas and delta-deltas (kaldi-native-fbank, librosa), standardised, and an SVM (scikit-learn,
RBF kernel, C=1) recognise 0.69 of each emotion on average (unweighted recall) when every speaker is left out in turn;
0.70 with C=3, and 0.87 if the mean of each speaker is removed first.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from satn_fast.data._recipe import EMOTIONS, SENTENCES, VOICES
from satn_fast.data.manifest import Utterance, read_manifest
from satn_fast.files import atomic_write

__all__ = ["CorpusError", "render_corpus"]

_DESCRIPTION = "corpus.json"
_PACKAGES = ("espeakng-loader", "numpy", "soxr")


class CorpusError(RuntimeError):
    """A folder that holds something else than the wanted corpus, or a corpus that could not be rendered."""


def render_corpus(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    n_voices: int = 16,
    sentences_per_emotion: int = 12,
    sample_rate: int = 16000,
    progress: Callable[[int, int], None] | None = None,
) -> list[Utterance]:
    """Render a corpus of emotional speech, or reuse the same one if the folder already holds it.

    Every voice says the same sentences as `angry`, `happy`, `neutral` and `sad`, so that words tell nothing about
    the label. The same arguments and library versions give the same bytes.

    The folder receives `wav/<speaker>/<speaker>_<emotion>_<nn>.wav` (mono, 16 bit), `manifest.csv` with columns
    `file,label,speaker,text,phonemes` (symbols of `PHONEMES` between blanks), `alignment.csv` with columns
    `file,start,end,kind,symbol` (seconds; kind is `word` or `phoneme`), and `corpus.json`, which says how it was
    made. It appears whole: a render that is stopped leaves nothing under this name.

    Args:
        folder: Where the corpus goes; must not exist, be empty, or hold the same corpus.
        seed: Fixes everything that is random; zero or more.
        n_voices: Number of speakers, half of them female.
        sentences_per_emotion: How many sentences every voice says with every emotion.
        sample_rate: Of the files, in Hz.
        progress: Called as `progress(done, total)` after every clip; not called when a corpus is reused.

    Returns:
        The utterances of the manifest.

    Raises:
        ValueError: If an argument is out of range.
        ImportError: If espeak-ng or soxr is not installed.
        CorpusError: If the folder holds something else or damaged files, or rendering fails.

    Example:
        >>> folder = Path(tempfile.mkdtemp()) / "corpus"
        >>> utterances = render_corpus(folder, n_voices=2, sentences_per_emotion=1)
        >>> [utterance.file.name for utterance in utterances][:3]
        ['f01_angry_01.wav', 'f01_happy_01.wav', 'f01_neutral_01.wav']
        >>> sorted(entry.name for entry in folder.iterdir())
        ['alignment.csv', 'corpus.json', 'manifest.csv', 'wav']
    """
    _check_range("seed", seed, 0, 2**63 - 1)
    _check_range("n_voices", n_voices, 1, len(VOICES))
    _check_range("sentences_per_emotion", sentences_per_emotion, 1, len(SENTENCES))
    _check_range("sample_rate", sample_rate, 8000, 48000)
    target = Path(os.path.realpath(folder))
    request = {
        "seed": seed,
        "n_voices": n_voices,
        "sentences_per_emotion": sentences_per_emotion,
        "sample_rate": sample_rate,
    }
    if _is_occupied(target):
        return _reuse(target, request)
    description = _describe(request)
    total = n_voices * len(EMOTIONS) * sentences_per_emotion
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    temporary.mkdir()
    try:
        statistics = _run(temporary, request, total, progress)
        with atomic_write(temporary / _DESCRIPTION) as file:
            file.write_text(
                json.dumps({**description, **statistics, "sha256": _content_digest(temporary)}, indent=2) + "\n",
                encoding="utf-8",
            )
        return _publish(temporary, target, request)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, got {value}")


def _is_occupied(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{folder}: is a file, the corpus needs a folder; choose another name")
    return folder.is_dir() and any(folder.iterdir())


def _publish(temporary: Path, target: Path, request: dict[str, int]) -> list[Utterance]:
    """Give the finished folder its name. If another process was faster with the same corpus, take that one."""
    try:
        if target.is_dir():
            target.rmdir()  # fails unless empty; os.replace onto an empty folder is not portable
        os.replace(temporary, target)
    except OSError as error:
        if not _is_occupied(target):
            raise CorpusError(f"{target}: the finished corpus cannot be moved here ({error.strerror})") from error
        return _reuse(target, request)
    return read_manifest(target / "manifest.csv", check_files=True)


def _describe(request: dict[str, int]) -> dict[str, Any]:
    """How a corpus is made: arguments, a digest of the recipe, and versions of what takes part."""
    recipe = json.dumps([[asdict(item) for item in (*VOICES, *EMOTIONS)], SENTENCES, _source_digest()])
    return {
        "generator": "satn_fast.data.synthesis",
        **request,
        "recipe": hashlib.sha256(recipe.encode()).hexdigest(),
        "versions": {package: _version(package) for package in _PACKAGES},
    }


def _source_digest() -> str:
    """Digest of the renderer, so that a corpus made with other code is not taken for the same."""
    names = ("_render.py", "_espeak.py", "phonemes.py")
    sources = [Path(__file__).with_name(name).read_bytes().replace(b"\r\n", b"\n") for name in names]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f'the synthetic corpus needs {package}: pip install "satn-fast[demo]"') from error


def _content_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of the manifest, the alignment and every WAV file below `folder`."""
    digest = hashlib.sha256()
    files = [folder / "manifest.csv", folder / "alignment.csv", *sorted((folder / "wav").rglob("*.wav"))]
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _reuse(folder: Path, request: dict[str, int]) -> list[Utterance]:
    """The corpus in `folder`, if it is exactly the wanted one and undamaged."""
    remedy = "choose another folder or remove this one"
    try:
        found = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{folder}: is not empty and holds no complete corpus; {remedy}") from error
    wanted = _describe(request)
    if not isinstance(found, dict):
        found = {}
    different = [f"{key} is {found.get(key)!r}, not {wanted[key]!r}" for key in wanted if found.get(key) != wanted[key]]
    if different:
        raise CorpusError(f"{folder}: holds another corpus ({'; '.join(different)}); {remedy}")
    try:
        intact = _content_digest(folder) == found.get("sha256")
    except OSError:
        intact = False
    if not intact:
        raise CorpusError(f"{folder}: the corpus is damaged, its files are not those that were rendered; {remedy}")
    return read_manifest(folder / "manifest.csv", check_files=True)


def _run(
    folder: Path, request: dict[str, int], total: int, progress: Callable[[int, int], None] | None
) -> dict[str, Any]:
    """Render into `folder` in a fresh process and return its statistics."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ImportError('the synthetic corpus needs espeakng_loader: pip install "satn-fast[demo]"')
    arguments = json.dumps({"folder": str(folder), **request})
    command = [sys.executable, "-P", "-m", "satn_fast.data._render", arguments]
    # The process must find the modules that this one found, however they were found.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if progress is not None:
                    progress(int(line), total)
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit status {process.returncode}"
            raise CorpusError(f"the speech corpus could not be rendered: {reason}")
    statistics = folder / "statistics.json"
    result: dict[str, Any] = json.loads(statistics.read_text(encoding="utf-8"))
    statistics.unlink()
    return result

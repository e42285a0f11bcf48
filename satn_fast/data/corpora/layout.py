"""What the readers of all corpora share: finding files, matching their names, and saying what does not fit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from satn_fast.data.manifest import Utterance

__all__ = ["AUDIO_SUFFIXES", "UNLABELLED", "LayoutError", "Problems", "audio_files", "existing_folder", "read_by_name"]

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64")

# The label of speech without one: of a corpus for the source task, of a row whose label is missing.
UNLABELLED = "unlabelled"


class LayoutError(ValueError):
    """A folder or file that is not laid out as its corpus is; the message names it and the remedy."""


class Problems:
    """Files and lines that cannot be used: the first one stops the reading, or all are left out and remembered.

    Args:
        on_error: "stop" or "skip".

    Raises:
        ValueError: If `on_error` is something else.

    Example:
        >>> problems = Problems("skip")
        >>> problems.report("a.wav: is empty")
        >>> problems.found
        ['a.wav: is empty']
    """

    def __init__(self, on_error: str = "stop") -> None:
        if on_error not in ("stop", "skip"):
            raise ValueError(f"on_error must be stop or skip, got {on_error!r}")
        self.skip = on_error == "skip"
        self.found: list[str] = []

    def report(self, message: str) -> None:
        """Remember what is left out, or raise `LayoutError`."""
        if not self.skip:
            raise LayoutError(f"{message} (or leave such files out: --on-error skip)")
        self.found.append(message)


def existing_folder(root: str | os.PathLike[str], corpus: str) -> Path:
    """The folder of a corpus as a path, or a `LayoutError`."""
    path = Path(root)
    if not path.is_dir():
        reason = "is a file" if path.is_file() else "no such folder"
        raise LayoutError(f"{path}: {reason}; give the folder that {corpus} was unpacked to")
    return path


def audio_files(root: Path, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """The audio files below a folder, sorted; hidden ones (also the `._` files of macOS archives) are not there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.wav", "a.WAV", "._a.WAV", "notes.txt"):
        ...     (folder / name).touch()
        >>> [file.name for file in audio_files(folder)]
        ['a.WAV', 'b.wav']
    """
    return sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
        and file.is_file()
    )


def read_by_name(
    root: Path,
    problems: Problems,
    *,
    scheme: re.Pattern[str],
    example: str,
    utterance: Callable[[Path, re.Match[str]], Utterance],
) -> list[Utterance]:
    """Read a corpus whose `.wav` files say in their names what they are.

    Args:
        root: Its folder; the files may lie at any depth.
        problems: Told of each file that has another name, or the name of a file in another folder.
        scheme: What a name without its suffix matches as a whole.
        example: Such a name, for messages.
        utterance: Makes an utterance of a file and the match.

    Raises:
        LayoutError: If there is no such file.
    """
    utterances: list[Utterance] = []
    seen: dict[str, Path] = {}
    for file in audio_files(root, (".wav",)):
        match = scheme.fullmatch(file.stem)
        if match is None:
            problems.report(f"{file}: is not named like {example}; move it elsewhere, or use `prepare pattern`")
        elif file.name in seen:
            problems.report(f"{file}: has the name of {seen[file.name]}; remove one of the copies")
        else:
            seen[file.name] = file
            utterances.append(utterance(file, match))
    if not utterances:
        raise LayoutError(f"{root}: holds no file named like {example}; give the folder with the corpus's audio")
    return utterances

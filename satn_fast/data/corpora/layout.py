"""What the readers of all corpora share: finding files, matching their names, and saying what does not fit."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from satn_fast.data.manifest import Utterance

__all__ = [
    "AUDIO_SUFFIXES",
    "UNLABELLED",
    "LayoutError",
    "Problems",
    "audio_files",
    "existing_folder",
    "files_by_name",
    "one_packing",
    "read_by_name",
]

# Lossless ones first: of a recording in several packings, the first of these is taken.
AUDIO_SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".au", ".caf", ".w64", ".ogg", ".oga", ".opus", ".mp3")

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

    def note(self, message: str) -> None:
        """Remember what is left out without a loss, so that nothing has to stop for it."""
        self.found.append(message)


def existing_folder(root: str | os.PathLike[str], corpus: str) -> Path:
    """The folder of a corpus as a path, or a `LayoutError`."""
    path = Path(root)
    if not path.is_dir():
        reason = "is a file" if path.is_file() else "no such folder"
        raise LayoutError(f"{path}: {reason}; give the folder that {corpus} was unpacked to")
    return path


def audio_files(root: Path) -> list[Path]:
    """The audio files below a folder, sorted, whatever they are packed in.

    Hidden ones (also the `._` files of macOS archives) are not there.

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
        if file.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
        and file.is_file()
    )


def one_packing(
    files: Iterable[Path], problems: Problems, name: Callable[[Path], Hashable] = lambda file: file.with_suffix("")
) -> list[Path]:
    """Each recording once, where some are there in several packings (FLAC and MP3, say), the lossless ones first.

    Args:
        files: Audio files.
        problems: Told how many are passed over; nothing stops for them.
        name: What is equal for one recording; by default folder and name.

    Example:
        >>> problems = Problems()
        >>> one_packing([Path("a.MP3"), Path("a.wav"), Path("b.mp3")], problems)
        [PosixPath('a.wav'), PosixPath('b.mp3')]
        >>> problems.found
        ['a.MP3: the same recording as a.wav, which is taken']
    """
    recordings: dict[Hashable, list[Path]] = defaultdict(list)
    for file in files:
        recordings[name(file)].append(file)
    kept: list[Path] = []
    passed: list[tuple[Path, Path]] = []
    for packings in recordings.values():
        best = min(packings, key=_preference)
        kept += [file for file in packings if _preference(file) == _preference(best)]
        passed += [(file, best) for file in packings if _preference(file) != _preference(best)]
    if passed:
        more = f" (and {len(passed) - 1} more files likewise)" if len(passed) > 1 else ""
        problems.note(f"{passed[0][0]}: the same recording as {passed[0][1]}, which is taken{more}")
    return sorted(kept)


def _preference(file: Path) -> int:
    return AUDIO_SUFFIXES.index(file.suffix.lower())


def files_by_name(folder: Path, problems: Problems) -> dict[str, Path]:
    """The recordings below a folder by their names without suffixes, each in one packing."""
    return {file.stem: file for file in one_packing(audio_files(folder), problems)}


def read_by_name(
    root: Path,
    problems: Problems,
    *,
    scheme: re.Pattern[str],
    example: str,
    utterance: Callable[[Path, re.Match[str]], Utterance],
) -> list[Utterance]:
    """Read a corpus whose audio files say in their names what they are, whatever they are packed in.

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
    for file in one_packing(audio_files(root), problems, name=lambda file: file.stem):
        match = scheme.fullmatch(file.stem)
        if match is None:
            problems.report(f"{file}: is not named like {example}; move it elsewhere, or use `prepare pattern`")
        elif file.stem in seen:
            problems.report(f"{file}: has the name of {seen[file.stem]}; remove one of the copies")
        else:
            seen[file.stem] = file
            utterances.append(utterance(file, match))
    if not utterances:
        raise LayoutError(f"{root}: holds no file named like {example}; give the folder with the corpus's audio")
    return utterances

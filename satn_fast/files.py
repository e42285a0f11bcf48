"""Files that appear whole or not at all.

What is written goes to a temporary sibling first, is flushed to the disk, and only then takes the final
name. A crash, a full disk or an exception leaves the old content as it was. Who may read a file is what the umask says,
whatever its writer chose: some (safetensors) write for the owner alone, and a published model could not be read.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["atomic_folder", "atomic_write"]


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error.

    The temporary path lies in the same folder and keeps the suffix of `path`, because many writers choose
    their format by it. Missing parent folders are created. A symbolic link keeps pointing where it did: its
    target is replaced.

    Args:
        path: The file to create or replace.
        durable: Whether to wait until the content is on the disk. Without, a loss of power may leave an empty or torn
            file under the final name; only for what its reader checks and can make again.

    Yields:
        The path to write to. It does not exist yet.

    Raises:
        IsADirectoryError: If `path` is a folder.
        FileNotFoundError: If the block wrote nothing to the temporary path.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_write(folder / "labels.txt") as temporary:
        ...     _ = temporary.write_text("angry happy")
        >>> (folder / "labels.txt").read_text()
        'angry happy'
        >>> len(list(folder.iterdir()))
        1
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)}: is a folder, a file is to be written; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(target)
    try:
        yield temporary
        if not temporary.is_file():
            raise FileNotFoundError(f"{os.fspath(path)}: nothing was written to the temporary file {temporary}")
        _set_mode(temporary, _usual_mode(target))
        if durable:
            _flush(temporary)
        os.replace(temporary, target)
    except BaseException as error:
        _name(error, path)
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        _flush_folder(target.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, last: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder whose files move into `path`, one by one, when the block ends without an error.

    Every single file appears whole. Other files that `path` already holds stay. Readers that must see the
    complete set look for the file named by `last`: it is removed before the first file moves and arrives
    after all the others.

    Args:
        path: The folder to fill; created if missing.
        last: Name of the file, relative to the folder, that marks the set as complete.

    Yields:
        An empty temporary folder beside `path`. Sub-folders may be created in it.

    Raises:
        NotADirectoryError: If `path` is a file, or a file is to replace a folder or the other way round.
        FileNotFoundError: If the block did not write the file named by `last`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_folder(folder, last="config.json") as temporary:
        ...     _ = (temporary / "weights.bin").write_bytes(b"1234")
        ...     _ = (temporary / "config.json").write_text("{}")
        >>> sorted(file.name for file in folder.iterdir())
        ['config.json', 'weights.bin']
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{os.fspath(path)}: is a file, a folder is to be written; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(target, suffix="")
    temporary.mkdir()
    try:
        yield temporary
        _move_files(temporary, target, last)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_files(source: Path, target: Path, last: str | None) -> None:
    """Move every file below `source` to the same place below `target`, the file `last` at the end."""
    names = sorted(file.relative_to(source) for file in source.rglob("*") if not file.is_dir())
    if last is not None:
        if Path(last) not in names:
            raise FileNotFoundError(f"{target}: the file that completes the set, {last}, was not written")
        names.remove(Path(last))
        names.append(Path(last))
    for name in names:
        if (target / name).is_dir() or any((target / parent).is_file() for parent in name.parents):
            raise NotADirectoryError(f"{target / name}: a file and a folder compete for this name; move the old one")
    mode = _usual_mode(source / "file")
    for name in names:
        _set_mode(source / name, mode)
        _flush(source / name)
    target.mkdir(exist_ok=True)
    if last is not None:
        (target / last).unlink(missing_ok=True)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source / name, target / name)
    for folder in {target, *((target / name).parent for name in names)}:
        _flush_folder(folder)


def _sibling(target: Path, suffix: str | None = None) -> Path:
    """A fresh hidden name beside `target`, short enough for any file system."""
    return target.with_name(f".{uuid.uuid4().hex[:12]}.tmp{target.suffix if suffix is None else suffix}")


def _name(error: BaseException, path: str | os.PathLike[str]) -> None:
    """Says what was being written, where the system did not: a full disk is found out by a write, which has no name."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = os.fspath(path)


def _usual_mode(target: Path) -> int:
    """The permissions of a new file beside `target`. The umask itself cannot be read without setting it, for all."""
    probe = _sibling(target)
    try:
        probe.touch(exist_ok=False)
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)


def _set_mode(file: Path, mode: int) -> None:
    """Gives `file` these permissions; where it has them, nothing is asked of the file system."""
    if stat.S_IMODE(file.stat().st_mode) != mode:
        file.chmod(mode)


def _flush(file: Path) -> None:
    """Wait until the content of `file` is on the disk."""
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())


def _flush_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk, where the system can open folders at all."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Features on disk, computed once per recording and front end.

An entry is a plain `.npy` file, named by what its content depends on, and followed by a checksum. It is written under a
temporary name and renamed, so that several processes may fill one cache, and a killed one leaves nothing half done.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import struct
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from satn_fast.files import atomic_write
from satn_fast.frontend import LogMel

__all__ = ["CacheError", "CacheWarning", "FeatureCache"]

Features: TypeAlias = NDArray[np.floating[Any]]
Signature: TypeAlias = tuple[int, int, int]

# To be raised whenever decoding, resampling or the front end give other numbers for the same settings.
VERSION = 1

# Behind the array: a mark, and the CRC-32 of the entry's key, header and data.
_TRAILER = struct.Struct("<4sI")
_MARK = b"SATN"

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# A file that changed so recently may change again without its time of change telling.
_SETTLED_NANOSECONDS = 2_000_000_000
_ABANDONED_SECONDS = 3600.0

# Eviction makes room for more than one entry, because it has to look at all of them.
_KEPT_SHARE = 0.9
_UNSEEN_SHARE = 1 / 16


class CacheError(OSError):
    """The cache cannot be written; what it holds stays usable."""


class CacheWarning(UserWarning):
    """An entry was damaged, and is computed again."""


class FeatureCache:
    """Features on disk, by the content of the audio file, its part, and the settings of the front end.

    The files are hashed once: `index.jsonl` remembers size and times of change, and a file that has the same is taken
    to be the same. Any number of processes may read and write one folder at once. An entry that is damaged (truncated,
    a flipped bit, another's content) counts as missing, and a `CacheWarning` names it.

    Args:
        folder: Where to keep the entries; created when the first is written.
        front_end: Computes the features; other settings have other entries in the same folder.
        max_bytes: The entries least recently used are removed beyond this, down to nine tenths of it; `None` keeps all.
            While several processes write, each may exceed it by a sixteenth for a moment. A corpus that is larger than
            this, read in the same order again and again, finds nothing.
        dtype: "float32", or "float16" for half the bytes: the features lose digits beyond the third.

    Attributes:
        hits: Entries found so far.
        misses: Entries asked for in vain, damaged ones included.

    Raises:
        ValueError: `max_bytes` is not positive, or `dtype` is another.

    Example:
        >>> import tempfile
        >>> from satn_fast.audio import write_wav
        >>> folder, front_end = Path(tempfile.mkdtemp()), LogMel()
        >>> write_wav(folder / "tone.wav", np.sin(np.arange(8000) / 5).astype(np.float32) / 2, 16000)
        >>> cache = FeatureCache(folder / "cache", front_end)
        >>> key = cache.key(folder / "tone.wav")
        >>> cache.get(key) is None
        True
        >>> cache.put(key, front_end(np.sin(np.arange(8000) / 5).astype(np.float32) / 2))
        >>> cache.get(key).shape
        (48, 120)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        front_end: LogMel,
        max_bytes: int | None = None,
        *,
        dtype: str = "float32",
    ) -> None:
        if max_bytes is not None and max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}, but must be positive, or None for no bound")
        if dtype not in ("float32", "float16"):
            raise ValueError(f"dtype is {dtype!r}; choose 'float32' or 'float16'")
        self.folder = Path(folder)
        self.front_end = front_end
        self.max_bytes = max_bytes
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.hits = self.misses = 0
        self._settings = json.dumps([VERSION, dtype, front_end.describe()], sort_keys=True)
        self._index = _Index(self.folder / "index.jsonl")
        self._named: set[str] = set()
        self._size: int | None = None  # of all entries, when last seen, plus what was written since
        self._unseen = 0  # bytes written since

    def key(
        self,
        file: str | os.PathLike[str],
        start: float | None = None,
        end: float | None = None,
        *,
        variant: str = "",
    ) -> str:
        """The name of an entry, 64 hexadecimal digits.

        Args:
            file: The audio file.
            start: Where the part begins, in seconds.
            end: Where it ends, in seconds.
            variant: What else was done to the audio, a speed for one.

        Raises:
            CacheError: The disk is full.
            OSError: The file cannot be read.
        """
        content = self._content(Path(file))
        what = json.dumps([self._settings, content, start, end, variant])
        return hashlib.sha256(what.encode()).hexdigest()

    def path(self, key: str) -> Path:
        """Where the entry is, or would be."""
        return self.folder / f"{key}.npy"

    def get(self, key: str) -> Features | None:
        """The features, (T, F), memory-mapped and read-only; `None` where there are none, or damaged ones.

        The map keeps a file open: copy what is to be kept, or use `MappedFeatures` for a whole corpus.
        """
        path = self.path(key)
        try:
            features = _read(path, key, self.dtype, self.front_end.n_features)
        except FileNotFoundError:
            features = None
        except _DamagedError as damage:
            features = None
            self._warn(path, str(damage))
        if features is None:
            self.misses += 1
            return None
        self.hits += 1
        with suppress(OSError):  # a cache on a read-only disk can be read; another process may have removed it
            os.utime(path)
        return features

    def put(self, key: str, features: Features) -> None:
        """Writes an entry, whole or not at all, and removes others beyond `max_bytes`.

        Features that alone exceed `max_bytes` are not kept.

        Args:
            key: From `key`.
            features: (T, F) floating point.

        Raises:
            CacheError: The disk is full, or the folder cannot be written; what the cache held stays.
            ValueError: The features are not (T, F) with the front end's F.
        """
        if features.ndim != 2 or features.shape[1] != self.front_end.n_features:
            raise ValueError(f"features has shape {features.shape}, (T, {self.front_end.n_features}) is expected")
        entry = _entry(key, features.astype(self.dtype, order="C", copy=False))
        size = sum(map(len, entry))
        if self.max_bytes is not None and size > self.max_bytes:
            return
        try:
            with atomic_write(self.path(key), durable=False) as temporary, open(temporary, "wb") as file:
                file.writelines(entry)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._unseen += size
        if self._size is None or self._is_due(self._size + self._unseen):
            self.evict()

    def evict(self) -> int:
        """Removes the entries least recently used beyond `max_bytes`, and what killed writers left; says how many."""
        entries = sorted(self._entries())
        self._size, self._unseen, removed = sum(size for _, size, _ in entries), 0, 0
        if self.max_bytes is None or self._size <= self.max_bytes:
            return 0
        for _, size, path in entries:
            if self._size <= _KEPT_SHARE * self.max_bytes:
                break
            with suppress(FileNotFoundError):  # another process evicts too
                path.unlink()
                removed += 1
            self._size -= size
        return removed

    @property
    def n_bytes(self) -> int:
        """Bytes of all entries, of every front end."""
        return sum(size for _, size, _ in self._entries())

    def __len__(self) -> int:
        """Entries of every front end."""
        return len(self._entries())

    def _is_due(self, size: int) -> bool:
        """Whether the cache is too large, or other processes may have made it so by now."""
        if self.max_bytes is None:
            return False
        return size > self.max_bytes or self._unseen > _UNSEEN_SHARE * self.max_bytes

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(last used, bytes, path) of every entry. Files that killed writers left are removed on the way."""
        if not self.folder.is_dir():
            return []
        found = []
        with os.scandir(self.folder) as files:
            for file in files:
                with suppress(FileNotFoundError):
                    if file.name.startswith("."):
                        if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
                            os.unlink(file.path)
                    elif file.name.endswith(".npy"):
                        found.append((file.stat().st_mtime_ns, file.stat().st_size, Path(file.path)))
        return found

    def _content(self, file: Path) -> str:
        """The hash of the file's content, from the index where the file did not change."""
        name, signature = os.path.abspath(file), _signature(file)
        known = self._index.get(name, signature)
        if known is not None:
            return known
        with open(file, "rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        settled = time.time_ns() - max(signature[1:]) > _SETTLED_NANOSECONDS
        if settled and _signature(file) == signature:
            try:
                self._index.add(name, signature, content)
            except OSError as error:
                if error.errno in _DISK_FULL:
                    raise self._cannot_write(error) from error
                # A cache that can only be read serves what it holds; `put` says what is wrong.
        return content

    def _cannot_write(self, error: OSError) -> CacheError:
        if error.errno in _DISK_FULL:
            what = "the disk is full, or a limit is reached; free some space, choose another folder, or give max_bytes"
        else:
            what = f"cannot be written ({error.strerror or error}); check the folder's permissions, or choose another"
        return CacheError(
            error.errno, f"feature cache {self.folder}: {what}. What it holds is kept, and is used next time"
        )

    def _warn(self, path: Path, damage: str) -> None:
        if path.name not in self._named:
            self._named.add(path.name)
            warnings.warn(f"{path}: damaged cache entry, {damage}; its features are computed again", CacheWarning, 3)


class _DamagedError(Exception):
    """What is wrong with an entry."""


def _entry(key: str, features: Features) -> tuple[bytes, bytes, bytes]:
    """Header, data and trailer of an entry."""
    header = _header(features.shape, features.dtype)
    data = features.tobytes()
    return header, data, _TRAILER.pack(_MARK, zlib.crc32(data, zlib.crc32(key.encode() + header)))


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The bytes of a `.npy` file before the array."""
    buffer = io.BytesIO()
    fields = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _read(path: Path, key: str, dtype: np.dtype[Any], n_features: int) -> Features:
    """The features of an entry, mapped, after they were checked."""
    size = path.stat().st_size
    if size < _TRAILER.size:
        raise _DamagedError(f"it has {size} bytes")
    content = np.memmap(path, np.uint8, mode="r")
    mark, checksum = _TRAILER.unpack(content[-_TRAILER.size :].tobytes())
    if mark != _MARK:
        raise _DamagedError("its end is missing")
    start = len(_header((0, n_features), dtype))
    n_frames, rest = divmod(len(content) - start - _TRAILER.size, n_features * dtype.itemsize)
    header = _header((n_frames, n_features), dtype) if n_frames >= 0 else b""
    if (
        rest
        or content[: len(header)].tobytes() != header
        or zlib.crc32(content[len(header) : -_TRAILER.size].data, zlib.crc32(key.encode() + header)) != checksum
    ):
        raise _DamagedError("its checksum differs")
    return content[len(header) : -_TRAILER.size].view(dtype).reshape(n_frames, n_features)


class _Index:
    """Content hashes of files by name, size and times of change: lines of JSON that are only ever appended.

    A line that is torn or damaged is passed over: its file is hashed again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[Signature, str]] | None = None

    def get(self, name: str, signature: Signature) -> str | None:
        if self._known is None:
            self._known = self._load()
        known = self._known.get(name)
        return known[1] if known is not None and known[0] == signature else None

    def add(self, name: str, signature: Signature, content: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The line break comes first, so that a torn line of a killed writer does not take the next one along.
        line = b"\n" + _line(name, signature, content)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            written = os.write(descriptor, line)
        finally:
            os.close(descriptor)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self._path))
        if self._known is not None:
            self._known[name] = (signature, content)

    def _load(self) -> dict[str, tuple[Signature, str]]:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        known: dict[str, tuple[Signature, str]] = {}
        for line in lines:
            with suppress(ValueError, TypeError, RecursionError):  # whatever JSON a damaged line is
                _, name, signature, content = json.loads(line)
                if line == _line(name, tuple(signature), content):
                    known[name] = (tuple(signature), content)
        if len(lines) > 2 * len(known) + 1000:
            self._compact(known)
        return known

    def _compact(self, known: dict[str, tuple[Signature, str]]) -> None:
        """Writes the index anew; what another process appends meanwhile is lost, and hashed again when needed."""
        with suppress(OSError), atomic_write(self._path, durable=False) as temporary:
            temporary.write_bytes(b"\n".join(_line(name, *entry) for name, entry in known.items()))


def _line(name: str, signature: Signature, content: str) -> bytes:
    body = [name, list(signature), content]
    return json.dumps([zlib.crc32(json.dumps(body).encode()), *body]).encode()


def _signature(file: Path) -> Signature:
    """Size and times of change of content and inode; the second also tells a file put in place with an old time."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

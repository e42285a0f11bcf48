"""Whole corpora of features as one block of frames: on a device, or in a memory-mapped file.

Both give the batches that `FeatureDataset` gives, without a tensor for every utterance.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satn_fast.files import atomic_write
from satn_fast.training.dataset import Batch, Crops

__all__ = ["MappedFeatures", "ResidentFeatures"]

Indices: TypeAlias = Sequence[int] | NDArray[np.int64] | Tensor

_DTYPES: dict[torch.dtype, np.dtype[Any]] = {torch.float32: np.dtype("<f4"), torch.float16: np.dtype("<f2")}

# PyTorch copies fewer values than this (at::internal::GRAIN_SIZE) without its threads, for which a slice is too small:
# waiting for them cost more than half the speed on two busy cores.
_SERIAL_VALUES = 32_767


class _Store:
    """Lengths and targets, and what both stores do with them."""

    _frames: Tensor

    def __init__(self, lengths: Tensor, targets: Sequence[Tensor], device: torch.device) -> None:
        if len(lengths) != len(targets):
            raise ValueError(f"targets has {len(targets)} entries, features has {len(lengths)}; give one each")
        self.device = device
        self.targets = targets
        self._lengths = lengths
        self._offsets = lengths.cumsum(0) - lengths
        scalar = not targets or targets[0].dim() == 0
        self._targets = torch.stack(list(targets)) if scalar and targets else pad_sequence(list(targets), True)
        self._target_lengths = torch.tensor([target.numel() for target in targets], dtype=torch.int64)
        # Indices go to the device, the longest length is read on the CPU: nothing waits for the device.
        self._device_lengths = self._lengths.to(device)
        self._device_offsets = self._offsets.to(device)
        self._device_targets = self._targets.to(device)
        self._device_target_lengths = self._target_lengths.to(device)

    @property
    def lengths(self) -> list[int]:
        """Frames of every utterance."""
        return list(map(int, self._lengths.tolist()))

    def __len__(self) -> int:
        return len(self._lengths)

    def crops(self, indices: Indices, starts: Tensor, n_frames: int) -> Crops:
        """A stretch of each of those utterances, in this order; gathered at once, on the store's device.

        Args:
            indices: (B,) at least one, of utterances that are not empty.
            starts: (B,) int64, the first frame of each.
            n_frames: Frames of every crop. Frame `t` is frame `(start + t) % length` of its utterance, so that short
                ones are repeated.

        Returns:
            (B, n_frames, F) float32 features, targets and their lengths.

        Raises:
            IndexError: There is no such utterance.
            ValueError: There are no indices.
        """
        rows = self._rows(indices)
        symbols = None if self._targets.dim() == 1 else int(self._target_lengths[rows].max())
        rows, starts = (x.to(self.device, non_blocking=True) for x in (rows, starts))
        position = starts[:, None] + torch.arange(n_frames, device=self.device)
        source = self._device_offsets[rows][:, None] + position % self._device_lengths[rows][:, None]
        frames = self._frames.index_select(0, source.flatten()).float()
        targets = self._device_targets[rows]
        return Crops(
            features=frames.view(len(rows), n_frames, frames.shape[1]),
            targets=targets if symbols is None else targets[:, :symbols],
            target_lengths=self._device_target_lengths[rows],
        )

    def _rows(self, indices: Indices) -> Tensor:
        """Checked indices, (B,) int64 on the CPU."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        if not len(rows):
            raise ValueError("indices is empty; give at least one utterance")
        if int(rows.min()) < 0 or int(rows.max()) >= len(self):
            raise IndexError(f"indices reach from {int(rows.min())} to {int(rows.max())}, there are {len(self)}")
        return rows

    def _labels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Targets, cut to the longest of them, and their lengths, on the CPU."""
        targets, lengths = self._targets[rows], self._target_lengths[rows]
        return (targets if targets.dim() == 1 else targets[:, : int(lengths.max())]), lengths


class ResidentFeatures(_Store):
    """A corpus that lies on a device, and is batched there: no copy from the host but of a few indices.

    Speech emotion corpora are small: 12 hours are 4.3 million frames, 1 GB in float16.

    Args:
        features: (T, F) of every utterance, or a `MappedFeatures`.
        targets: int64 for every utterance, as for `FeatureDataset`; those of a `MappedFeatures` if `None`.
        device: Where to keep the frames.
        dtype: How to keep them: float32, or float16 for half the memory. Batches are float32.

    Raises:
        ValueError: The numbers of features and targets differ, there are none, or `dtype` is another.

    Example:
        >>> resident = ResidentFeatures([torch.ones(3, 6), torch.ones(5, 6)], [torch.tensor(0), torch.tensor(1)])
        >>> batch = resident.batch([1, 0])
        >>> batch.features.shape, batch.lengths.tolist(), batch.targets.tolist()
        (torch.Size([2, 5, 6]), [5, 3], [1, 0])
    """

    def __init__(
        self,
        features: Sequence[Tensor] | MappedFeatures,
        targets: Sequence[Tensor] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check_dtype(dtype)
        if isinstance(features, MappedFeatures):
            targets = features.targets if targets is None else targets
            features = features.features
        if targets is None or not len(features):
            raise ValueError("features and targets must have at least one utterance, with one target each")
        lengths = torch.tensor([len(x) for x in features], dtype=torch.int64)
        super().__init__(lengths, targets, torch.device(device))
        n_frames = int(lengths.sum())
        # One more row, of zeros: padding is gathered from there.
        self._frames = torch.zeros(n_frames + 1, features[0].shape[1], dtype=dtype, device=self.device)
        for x, start in zip(features, self._offsets.tolist(), strict=True):
            self._frames[start : start + len(x)] = x.to(self.device)

    @property
    def features(self) -> Sequence[Tensor]:
        """(T, F) of every utterance, in the dtype they are kept in: views, not copies."""
        return torch.split(self._frames[:-1], self.lengths)

    def batch(self, indices: Indices) -> Batch:
        """Those utterances, in this order, padded to the longest of them; on the device.

        Args:
            indices: (B,) at least one.

        Returns:
            (B, T, F) float32 features with zeros behind each utterance, (B,) lengths, targets and their lengths.

        Raises:
            IndexError: There is no such utterance.
            ValueError: There are no indices.
        """
        rows = self._rows(indices)
        longest = int(self._lengths[rows].max())
        symbols = None if self._targets.dim() == 1 else int(self._target_lengths[rows].max())
        rows = rows.to(self.device, non_blocking=True)
        lengths = self._device_lengths[rows]
        position = torch.arange(longest, device=self.device)
        zeros = len(self._frames) - 1
        source = torch.where(position < lengths[:, None], self._device_offsets[rows][:, None] + position, zeros)
        frames = self._frames.index_select(0, source.flatten()).float()
        targets = self._device_targets[rows]
        return Batch(
            features=frames.view(len(rows), longest, frames.shape[1]),
            lengths=lengths,
            targets=targets if symbols is None else targets[:, :symbols],
            target_lengths=self._device_target_lengths[rows],
        )


class MappedFeatures(_Store):
    """A corpus in one memory-mapped file, for what does not fit into memory, or is shared by several processes.

    The file is written by `MappedFeatures.write`: two arrays as `numpy.save` writes them, one behind the other, the
    frames of all utterances (N, F) and their lengths (U,).

    With the file in the system's memory, batches of 32 came at 13 million frames per second from float32 and 15 million
    from float16 (120 features, two shared x86-64 cores, `benchmarks/test_data.py`), about as fast as a plain copy.

    Args:
        path: The file.
        targets: int64 for every utterance, as for `FeatureDataset`.

    Raises:
        ValueError: The file is none of these, is damaged, or the number of targets differs; the message names it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "corpus.npy"
        >>> MappedFeatures.write(path, [torch.ones(3, 6), torch.ones(5, 6)])
        >>> mapped = MappedFeatures(path, [torch.tensor(0), torch.tensor(1)])
        >>> mapped.batch([1, 0]).features.shape
        torch.Size([2, 5, 6])
    """

    def __init__(self, path: str | os.PathLike[str], targets: Sequence[Tensor]) -> None:
        self.path = Path(path)
        frames, lengths = _map(self.path)
        super().__init__(torch.from_numpy(lengths), targets, torch.device("cpu"))
        self._frames = torch.from_numpy(frames)

    @staticmethod
    def write(path: str | os.PathLike[str], features: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> None:
        """Writes a corpus, whole or not at all.

        Args:
            path: The file to create or replace; `.npy` by custom.
            features: (T, F) of every utterance.
            dtype: float32, or float16 for half the size.

        Raises:
            ValueError: There is no utterance, one has another F, or `dtype` is another.
            OSError: The file cannot be written; the old one is as it was.
        """
        _check_dtype(dtype)
        if not len(features):
            raise ValueError("features is empty; give at least one utterance")
        lengths = np.array([len(x) for x in features], np.int64)
        n_features = features[0].shape[1]
        header = {
            "descr": npy.dtype_to_descr(_DTYPES[dtype]),
            "fortran_order": False,
            "shape": (int(lengths.sum()), n_features),
        }
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            npy.write_array_header_1_0(file, header)
            for index, x in enumerate(features):
                if x.dim() != 2 or x.shape[1] != n_features:
                    raise ValueError(f"features[{index}] has shape {tuple(x.shape)}, (T, {n_features}) is expected")
                file.write(x.cpu().numpy().astype(_DTYPES[dtype], order="C").tobytes())
            npy.write_array(file, lengths.astype("<i8"), allow_pickle=False)

    @property
    def features(self) -> Sequence[Tensor]:
        """(T, F) of every utterance, in the file's dtype: views, read when they are looked at."""
        return torch.split(self._frames, self.lengths)

    def batch(self, indices: Indices, out: Tensor | None = None) -> Batch:
        """Those utterances, in this order, padded to the longest of them; on the CPU.

        Args:
            indices: (B,) at least one.
            out: float32 memory to use for the features, of at least B * T * F values (pinned, for one).

        Returns:
            (B, T, F) float32 features with zeros behind each utterance, (B,) lengths, targets and their lengths.

        Raises:
            IndexError: There is no such utterance.
            ValueError: There are no indices, or `out` is too small.
        """
        rows = self._rows(indices)
        lengths = self._lengths[rows]
        shape = (len(rows), int(lengths.max()), self._frames.shape[1])
        padded = _space(shape, out)
        for row, (start, length) in enumerate(zip(self._offsets[rows].tolist(), lengths.tolist(), strict=True)):
            _copy(self._frames[start : start + length], padded[row, :length])
            padded[row, length:].numpy().fill(0.0)
        targets, target_lengths = self._labels(rows)
        return Batch(padded, lengths, targets, target_lengths)

    def __reduce__(self) -> tuple[Callable[[Path, list[Any]], MappedFeatures], tuple[Path, list[Any]]]:
        # A worker maps the file by itself. Plain numbers, because a tensor takes a file descriptor on its way.
        return _mapped_again, (self.path, [target.tolist() for target in self.targets])


def _mapped_again(path: Path, targets: list[Any]) -> MappedFeatures:
    return MappedFeatures(path, [torch.tensor(target, dtype=torch.int64) for target in targets])


def _copy(source: Tensor, target: Tensor) -> None:
    """Copies frames in this thread alone: by numpy, whose conversion from float16 is slower than PyTorch's, or that."""
    if source.dtype == target.dtype:
        target.numpy()[...] = source.numpy()
        return
    step = max(1, _SERIAL_VALUES // source.shape[1])
    for start in range(0, len(source), step):
        target[start : start + step].copy_(source[start : start + step])


def _space(shape: tuple[int, int, int], out: Tensor | None) -> Tensor:
    """Memory for a batch, with anything in it."""
    if out is None:
        return torch.empty(shape)
    size = shape[0] * shape[1] * shape[2]
    if out.dtype != torch.float32 or not out.is_contiguous() or out.numel() < size:
        raise ValueError(f"out has {out.numel()} values of {out.dtype}; {size} of float32, contiguous, are needed")
    return out.view(-1)[:size].view(shape)


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype}; choose torch.float32 or torch.float16")


def _map(path: Path) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
    """Frames, mapped, and lengths, of a file that `MappedFeatures.write` wrote."""
    try:
        with open(path, "rb") as file:
            shape, dtype = _header(file)
            start = file.tell()
            file.seek(start + shape[0] * shape[1] * dtype.itemsize)
            lengths = npy.read_array(file, allow_pickle=False)
            complete = not file.read(1)
    except ValueError as error:
        raise ValueError(f"{path}: is no file of features, or is damaged ({error}); write it again") from error
    fits = lengths.ndim == 1 and lengths.dtype == np.int64 and (lengths >= 0).all() and lengths.sum() == shape[0]
    if not (fits and complete):
        raise ValueError(f"{path}: its lengths do not fit its {shape[0]} frames; write it again")
    # Copy on write: nothing is ever written, but PyTorch warns of memory that cannot be.
    frames = np.memmap(path, dtype, "c", offset=start, shape=shape)
    return frames.view(np.ndarray), lengths


def _header(file: BinaryIO) -> tuple[tuple[int, int], np.dtype[Any]]:
    if npy.read_magic(file) != (1, 0):
        raise ValueError("its version is another")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if len(shape) != 2 or fortran or dtype not in _DTYPES.values() or min(shape) < 1:
        raise ValueError(f"it holds {dtype} of shape {shape}")
    return (shape[0], shape[1]), dtype

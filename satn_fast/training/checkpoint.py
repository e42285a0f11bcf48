"""Checkpoints of a training run in one safetensors file: nothing is pickled, so nothing is ever unpickled.

What Lightning hands over is a tree of dictionaries, lists, numbers and tensors. The tensors become those of the file,
and the tree, with the names of the tensors in their places, becomes JSON in its header.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from satn_fast.files import atomic_write
from satn_fast.hub import CheckpointError

_TREE = "tree"
_TENSOR, _TUPLE, _MAPPING = "tensor", "tuple", "mapping"


class SafetensorsCheckpointIO(CheckpointIO):
    """Writes and reads Lightning's checkpoints as safetensors files, whole or not at all."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes a checkpoint; the old file stays until the new one is complete.

        Raises:
            TypeError: Something in it is neither a tensor nor plain data; the message says where.
            OSError: The file cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        tree = json.dumps(_encoded(checkpoint, tensors, "checkpoint"))
        try:
            with atomic_write(path) as temporary:
                save_file(tensors, temporary, metadata={_TREE: tree})
        except SafetensorError as error:  # how safetensors reports what the system said
            raise OSError(
                f"{path}: cannot be written ({error}); what was there is as it was. Free some space, and give the same "
                "command again: it goes on from there"
            ) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Reads a checkpoint; tensors come on the CPU.

        Raises:
            CheckpointError: The file is damaged, or is no checkpoint of a training run.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tree = json.loads((file.metadata() or {})[_TREE])
                loaded: dict[str, Any] = _decoded(tree, file.get_tensor)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path}: is no checkpoint of a training run, or is damaged ({error}); remove it to start anew"
            ) from error
        return loaded

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Removes a checkpoint, if it is there."""
        Path(path).unlink(missing_ok=True)


def _encoded(value: Any, tensors: dict[str, Tensor], where: str) -> Any:
    """The value as JSON-able data; its tensors are put aside under numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A copy, because safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: name}
    if isinstance(value, dict):
        # Pairs, because the keys of optimizer states are numbers, which JSON would turn into words.
        pairs = [[key, _encoded(item, tensors, f"{where}[{key!r}]")] for key, item in value.items()]
        return {_MAPPING: pairs}
    if isinstance(value, list | tuple):
        items = [_encoded(item, tensors, f"{where}[{i}]") for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{where} is a {type(value).__name__}; checkpoints hold tensors, numbers, words and lists of them")


def _decoded(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    """What `_encoded` was given."""
    if isinstance(value, list):
        return [_decoded(item, tensor) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == _TENSOR:
        return tensor(content)
    if kind == _TUPLE:
        return tuple(_decoded(item, tensor) for item in content)
    if kind == _MAPPING:
        return {key: _decoded(item, tensor) for key, item in content}
    raise ValueError(f"unknown kind {kind!r}")

"""Where does an exported file differ from the checkpoint? The error of every layer, the worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from satn_fast import reference
from satn_fast.export.errors import ExportError
from satn_fast.export.runtime import ExportedModel, load
from satn_fast.export.verification import reference_twin

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LayerError:
    """What one layer of a file computes, compared to the checkpoint.

    Attributes:
        layer: The checkpoint's module, by its path.
        tensor: The file's tensor.
        max_error: Largest difference of an activation.
        relative_error: Root mean square of the differences, relative to that of the checkpoint's activations. It
            contains what came in wrong from the layers before.
        utterance: Index of the utterance with the largest difference.
    """

    layer: str
    tensor: str
    max_error: float
    relative_error: float
    utterance: int


class Layers(Protocol):
    """The layers of a file."""

    @property
    def tensors(self) -> Mapping[str, str]:
        """The file's tensor of each module of the checkpoint that can be compared."""

    def __call__(self, features: Array) -> Mapping[str, Array]:
        """(T, F) features to (T, C) of each layer, (1, C) where there is no time."""


def layer_errors(path: str | Path, model: reference.SATN, features: Sequence[ArrayLike]) -> list[LayerError]:
    """Compares the activations of a file, float32 or int8, to those of the checkpoint it was exported from.

    Args:
        path: What `to_onnx`, `to_tflite`, `to_micro` or `export` wrote, with features of one utterance as its input. An
            `.onnx` step of a stream hears each utterance as one chunk. A `.tflite` file runs without the delegate that
            prediction uses (XNNPACK), whose int8 results differ by rounding. A `.mcu.tflite` file has no pooling of
            its own to compare, and its logits are of the last frames of long utterances.
        model: The checkpoint.
        features: (T, F) features of each utterance.

    Returns:
        An entry per layer, the one with the largest relative error first.

    Raises:
        ExportError: The file is missing, damaged, of another model, or takes audio or a batch.
        ValueError: There are no utterances.
        ImportError: A runtime or a reader of the file is not installed; the message says how to.

    Example:
        >>> import tempfile, satn_fast
        >>> from satn_fast.export import to_onnx
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro")).eval()
        >>> utterances = [np.random.default_rng(0).normal(size=(60, 192))]
        >>> path = to_onnx(model, Path(tempfile.mkdtemp()) / "int8.onnx", int8=True, calibration=utterances)
        >>> worst = layer_errors(path, model, utterances)[0]
        >>> worst.layer.partition(".")[0] in ("encoder", "pooling", "classifier"), worst.relative_error < 0.1
        (True, True)
    """
    if not features:
        raise ValueError("features is empty; give at least one utterance to compare on")
    exported = load(path)
    if exported.takes_audio or exported.takes_batches:
        raise ExportError(
            f"{path}: layers are compared in files that take the features of one utterance; give that file"
        )
    utterances = [exported.checked(array) for array in features]
    twin = reference_twin(model)
    layers = _layers(Path(path), exported, twin)
    totals = {layer: _Differences() for layer in layers.tensors}
    for index, utterance in enumerate(utterances):
        expected, found = _activations(twin, utterance, [*totals]), layers(utterance)
        for layer, differences in totals.items():
            if found[layer].shape != expected[layer].shape:
                raise ExportError(
                    f"{path}: {layers.tensors[layer]} has shape {found[layer].shape}, the checkpoint's "
                    f"{expected[layer].shape}; export the model again"
                )
            differences.add(index, found[layer], expected[layer])
    errors = [differences.summary(layer, layers.tensors[layer]) for layer, differences in totals.items()]
    return sorted(errors, key=lambda error: -error.relative_error)


def _layers(path: Path, exported: ExportedModel, model: reference.SATN) -> Layers:
    """The reader for that kind of file."""
    try:
        match exported.kind:
            case "onnx":
                from satn_fast.export.onnx.layers import OnnxLayers

                return OnnxLayers(path, exported, model.config)
            case "tflite":
                from satn_fast.export.tflite.layers import TfliteLayers

                return TfliteLayers(path, model.config)
            case "tflite-micro":
                from satn_fast.export.micro.layers import MicroLayers

                return MicroLayers(path, model)
    except ImportError as error:
        extra = "onnx" if exported.kind == "onnx" else "tflite"
        raise ImportError(f'{path}: comparing layers needs {error.name}: pip install "satn-fast[{extra}]"') from error
    raise ExportError(f"{path}: is the checkpoint itself; give an exported file")


class _Differences:
    """Sums over the utterances."""

    def __init__(self) -> None:
        self.error = self.signal = 0.0
        self.largest, self.utterance = -1.0, 0

    def add(self, index: int, found: Array, expected: Array) -> None:
        difference = found.astype(np.float64) - expected
        self.error += float(np.square(difference).sum())
        self.signal += float(np.square(expected, dtype=np.float64).sum())
        largest = float(np.abs(difference).max())
        if not largest <= self.largest:  # NaN counts as larger
            self.largest, self.utterance = largest, index

    def summary(self, layer: str, tensor: str) -> LayerError:
        # A layer that is zero everywhere has no relative error, unless the file says otherwise.
        relative = float(np.sqrt(self.error / self.signal)) if self.signal else float(self.error > 0)
        return LayerError(layer, tensor, self.largest, relative, self.utterance)


@torch.no_grad()
def _activations(model: reference.SATN, features: Array, names: Sequence[str]) -> dict[str, Array]:
    """(T, C) of each layer, by the module's path."""
    found: dict[str, Array] = {}

    def keep(name: str, tensor: torch.Tensor) -> None:
        found[name] = tensor[0].numpy() if tensor.dim() == 3 else tensor.numpy()

    def keep_output(name: str) -> Any:
        return lambda module, inputs, output: keep(name, output[0] if isinstance(output, tuple) else output)

    modules: dict[str, nn.Module] = {name: module for name, module in model.named_modules() if name in names}
    hooks = [module.register_forward_hook(keep_output(name)) for name, module in modules.items()]
    output = model.encoder.attention.output
    hooks.append(output.register_forward_pre_hook(lambda module, inputs: keep("encoder.attention.attend", inputs[0])))
    try:
        model(torch.from_numpy(features)[None])
    finally:
        for hook in hooks:
            hook.remove()
    return found

"""Where does an exported file differ from the checkpoint? The error of every layer, the worst first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from satn_fast import reference
from satn_fast.export.errors import ExportError
from satn_fast.export.runtime import ExportedModel, ExportedStream, load
from satn_fast.export.stream_state import stream_state
from satn_fast.export.verification import reference_twin

Array = NDArray[np.float32]

_QUANTIZED = "_DequantizeLinear_Output"


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


def layer_errors(path: str | Path, model: reference.SATN, features: Sequence[ArrayLike]) -> list[LayerError]:
    """Compares the activations of an `.onnx` file, float32 or int8, to those of the checkpoint it was exported from.

    Args:
        path: What `to_onnx` or `export` wrote; a step of a stream hears each utterance as one chunk.
        model: The checkpoint.
        features: (T, F) features of each utterance.

    Returns:
        An entry per layer, the one with the largest relative error first.

    Raises:
        ExportError: The file is missing, damaged, no `.onnx` file, or of another model.
        ValueError: There are no utterances.
        ImportError: onnx or onnxruntime is not installed; the message says how to.

    Example:
        >>> import tempfile, satn_fast
        >>> from satn_fast.export import to_onnx
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro")).eval()
        >>> utterances = [np.random.default_rng(0).normal(size=(60, 120))]
        >>> path = to_onnx(model, Path(tempfile.mkdtemp()) / "int8.onnx", int8=True, calibration=utterances)
        >>> worst = layer_errors(path, model, utterances)[0]
        >>> worst.layer.partition(".")[0] in ("encoder", "pooling", "classifier"), worst.relative_error < 0.1
        (True, True)
    """
    if not features:
        raise ValueError("features is empty; give at least one utterance to compare on")
    exported = load(path)
    if exported.kind != "onnx":
        raise ExportError(f"{path}: layers are compared in .onnx files only")
    if exported.takes_audio or exported.takes_batches:
        raise ExportError(
            f"{path}: layers are compared in files that take the features of one utterance; give that file"
        )
    utterances = [exported.checked(array) for array in features]
    twin = reference_twin(model)
    session, tensors = _session(Path(path), _tensor_names(model.config.n_blocks))
    feeds = _zero_state(exported)
    totals = {layer: _Differences() for layer in tensors}
    for index, utterance in enumerate(utterances):
        expected = _activations(twin, utterance)
        results = session.run(list(tensors.values()), {"features": utterance[None], **feeds})
        for (layer, differences), found in zip(totals.items(), results, strict=True):
            differences.add(index, _frames_first(found, expected[layer], f"{path}: {tensors[layer]}"), expected[layer])
    errors = [differences.summary(layer, tensors[layer]) for layer, differences in totals.items()]
    return sorted(errors, key=lambda error: -error.relative_error)


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
        return LayerError(layer, tensor.removesuffix(_QUANTIZED), self.largest, relative, self.utterance)


def _tensor_names(n_blocks: int) -> dict[str, str]:
    """Modules of the checkpoint and the graph's names of what they give."""
    names = {"encoder.normalization": "tcn_input"}
    for i in range(n_blocks):
        names[f"encoder.tcn.blocks.{i}.conv1"] = f"block{i}_relu1"
        names[f"encoder.tcn.blocks.{i}"] = f"block{i}_output"
    attention = "encoder.attention"
    names |= {f"{attention}.attend": "attended", f"{attention}.output": "attention_output", attention: "hidden"}
    return names | {"pooling": "pooled", "classifier": "logits"}


@torch.no_grad()
def _activations(model: reference.SATN, features: Array) -> dict[str, Array]:
    """(T, C) of each layer, by the module's path."""
    found: dict[str, Array] = {}

    def keep(name: str, tensor: torch.Tensor) -> None:
        found[name] = tensor[0].numpy() if tensor.dim() == 3 else tensor.numpy()

    def keep_output(name: str) -> Any:
        return lambda module, inputs, output: keep(name, output[0] if isinstance(output, tuple) else output)

    names = [*_tensor_names(model.config.n_blocks)]
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


def _session(path: Path, names: dict[str, str]) -> tuple[Any, dict[str, str]]:
    """A session that gives the activations, and the tensor of each layer: what int8 made of it, where it is in int8."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ImportError(f'{path}: needs onnx and ONNX Runtime: pip install "satn-fast[onnx]"') from error
    model = onnx.load_model_from_string(path.read_bytes())
    computed = {name for node in model.graph.node for name in node.output}
    tensors = {
        layer: f"{name}{_QUANTIZED}" if f"{name}{_QUANTIZED}" in computed else name for layer, name in names.items()
    }
    missing = sorted(set(tensors.values()) - computed)
    if missing:
        raise ExportError(f"{path}: has no {', '.join(missing)}; give the file of this checkpoint, or export it again")
    given = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors.values() if name not in given)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]), tensors


def _zero_state(exported: ExportedModel) -> dict[str, NDArray[Any]]:
    return (
        {tensor.name: tensor.zeros() for tensor in stream_state(exported.config)}
        if isinstance(exported, ExportedStream)
        else {}
    )


def _frames_first(found: Array, expected: Array, what: str) -> Array:
    """(1, C, T) of the TCN, or (T, C) of what follows, as (T, C)."""
    found = found[0].T if found.ndim == 3 else found
    if found.shape != expected.shape:
        raise ExportError(f"{what} has shape {found.shape}, the checkpoint's {expected.shape}; export the model again")
    return found

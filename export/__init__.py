"""Export of a trained model to ONNX and TFLite, float32 and int8, and its verification.

    manifest = export(model, "exported", calibration=training_features, evaluation=test_features, truth=test_classes)
    model = load("exported/model.int8.tflite")
    model.probabilities(features)

Importing this module needs numpy; what a function needs beyond that is imported by its first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satn_fast.export.calibration import choose_calibration
    from satn_fast.export.errors import ExportError
    from satn_fast.export.exporter import ToleranceError, export, to_onnx, to_tflite
    from satn_fast.export.layers import LayerError, layer_errors
    from satn_fast.export.manifest import FileEntry, Manifest
    from satn_fast.export.micro_exporter import to_micro
    from satn_fast.export.micro_header import to_header
    from satn_fast.export.micro_runtime import MicroModel
    from satn_fast.export.runtime import ExportedBatch, ExportedModel, ExportedStream, load
    from satn_fast.export.verification import FileReport, Tolerances, verify

_HOMES = {
    "ExportError": "errors",
    "ExportedBatch": "runtime",
    "ExportedModel": "runtime",
    "ExportedStream": "runtime",
    "FileEntry": "manifest",
    "FileReport": "verification",
    "LayerError": "layers",
    "Manifest": "manifest",
    "MicroModel": "micro_runtime",
    "ToleranceError": "exporter",
    "Tolerances": "verification",
    "choose_calibration": "calibration",
    "export": "exporter",
    "layer_errors": "layers",
    "load": "runtime",
    "to_header": "micro_header",
    "to_micro": "micro_exporter",
    "to_onnx": "exporter",
    "to_tflite": "exporter",
    "verify": "verification",
}

__all__ = [
    "ExportError",
    "ExportedBatch",
    "ExportedModel",
    "ExportedStream",
    "FileEntry",
    "FileReport",
    "LayerError",
    "Manifest",
    "MicroModel",
    "ToleranceError",
    "Tolerances",
    "choose_calibration",
    "export",
    "layer_errors",
    "load",
    "to_header",
    "to_micro",
    "to_onnx",
    "to_tflite",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""Export of a trained model to ONNX and TFLite, float32 and int8, and its verification.

    manifest = export(model, "exported", calibration=training_features, evaluation=test_features, truth=test_classes)
    model = load("exported/model.int8.tflite")
    model.probabilities(features)

Importing this module needs numpy; what a function needs beyond that is imported by its first use.
"""

from typing import TYPE_CHECKING

from satn_fast._lazy import lazy_attributes

if TYPE_CHECKING:
    from satn_fast.export.calibration import choose_calibration
    from satn_fast.export.errors import ExportError
    from satn_fast.export.exporter import ToleranceError, export, to_onnx, to_tflite
    from satn_fast.export.layers import LayerError, layer_errors
    from satn_fast.export.manifest import FileEntry, Manifest
    from satn_fast.export.micro.exporter import to_micro
    from satn_fast.export.micro.header import to_header
    from satn_fast.export.micro.runtime import MicroModel
    from satn_fast.export.onnx.runtime import ExportedBatch
    from satn_fast.export.runtime import ExportedModel, ExportedStream, load
    from satn_fast.export.verification import FileReport, Tolerances, verify

_HOMES = {
    "ExportError": "satn_fast.export.errors",
    "ExportedBatch": "satn_fast.export.onnx.runtime",
    "ExportedModel": "satn_fast.export.runtime",
    "ExportedStream": "satn_fast.export.runtime",
    "FileEntry": "satn_fast.export.manifest",
    "FileReport": "satn_fast.export.verification",
    "LayerError": "satn_fast.export.layers",
    "Manifest": "satn_fast.export.manifest",
    "MicroModel": "satn_fast.export.micro.runtime",
    "ToleranceError": "satn_fast.export.exporter",
    "Tolerances": "satn_fast.export.verification",
    "choose_calibration": "satn_fast.export.calibration",
    "export": "satn_fast.export.exporter",
    "layer_errors": "satn_fast.export.layers",
    "load": "satn_fast.export.runtime",
    "to_header": "satn_fast.export.micro.header",
    "to_micro": "satn_fast.export.micro.exporter",
    "to_onnx": "satn_fast.export.exporter",
    "to_tflite": "satn_fast.export.exporter",
    "verify": "satn_fast.export.verification",
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


__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)

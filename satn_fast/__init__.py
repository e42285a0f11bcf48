"""Fast, small, trustworthy speech emotion recognition with self-attention transfer networks (SATN).

    import satn_fast

    front_end = satn_fast.LogMel(sample_rate=16000)        # waveform -> log-Mel, deltas, delta-deltas
    model = satn_fast.SATN(satn_fast.SATNConfig())         # features -> logits

`satn_fast.reference` is the same model in plain PyTorch, `satn_fast.functional` the operations,
`satn_fast.export` the way to ONNX and TFLite. Names are loaded on first use, so the front end and the exported
models run where torch is not installed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satn_fast import data, export, functional, reference
    from satn_fast.acceleration import accelerate, restore
    from satn_fast.config import SATNConfig
    from satn_fast.frontend import LogMel
    from satn_fast.graphs import graphed
    from satn_fast.kernels.backend import set_backend
    from satn_fast.models import SATN, AutoencoderModel, SourceModel
    from satn_fast.reference import SATNOutput
    from satn_fast.streaming import Stream

__version__ = "0.1.0"

_HOMES = {
    "AutoencoderModel": "satn_fast.models",
    "LogMel": "satn_fast.frontend",
    "SATN": "satn_fast.models",
    "SATNConfig": "satn_fast.config",
    "SATNOutput": "satn_fast.reference",
    "SourceModel": "satn_fast.models",
    "Stream": "satn_fast.streaming",
    "accelerate": "satn_fast.acceleration",
    "graphed": "satn_fast.graphs",
    "restore": "satn_fast.acceleration",
    "set_backend": "satn_fast.kernels.backend",
}
_SUBMODULES = ("data", "export", "functional", "reference")

__all__ = [
    "SATN",
    "AutoencoderModel",
    "LogMel",
    "SATNConfig",
    "SATNOutput",
    "SourceModel",
    "Stream",
    "__version__",
    "accelerate",
    "data",
    "export",
    "functional",
    "graphed",
    "reference",
    "restore",
    "set_backend",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"satn_fast.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'satn_fast' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

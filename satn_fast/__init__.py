"""Fast, small, trustworthy speech emotion recognition with self-attention transfer networks (SATN).

    import satn_fast

    front_end = satn_fast.LogMel(sample_rate=16000)        # waveform -> log-Mel, deltas, delta-deltas
    model = satn_fast.SATN(satn_fast.SATNConfig())         # features -> logits

`satn_fast.reference` is the same model in plain PyTorch, `satn_fast.functional` the operations,
`satn_fast.export` the way to ONNX and TFLite. Names are loaded on first use, so the front end and the exported
models run where torch is not installed.
"""

from typing import TYPE_CHECKING

from satn_fast._lazy import lazy_attributes

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
    "data": "satn_fast.data",
    "export": "satn_fast.export",
    "functional": "satn_fast.functional",
    "graphed": "satn_fast.graphs",
    "reference": "satn_fast.reference",
    "restore": "satn_fast.acceleration",
    "set_backend": "satn_fast.kernels.backend",
}

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


__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)

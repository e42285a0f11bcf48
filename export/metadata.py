"""What stands inside every exported file beside the weights, so that the file alone is enough to predict."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from satn_fast.config import SATNConfig
from satn_fast.export.errors import ExportError

# The name of the entry: a key of ONNX's metadata_props, a name in TFLite's Model.metadata.
ENTRY = "satn_fast"


@dataclass(frozen=True)
class Metadata:
    """The model's configuration, and how the file computes.

    Attributes:
        config: Labels, front-end settings and every hyper-parameter.
        quantization: `"float32"` or `"int8"`.
        streaming: Whether the file computes one step of a stream; otherwise, a whole utterance.
        least_samples: Length of the shortest audio of a file that takes audio; `None` if it takes features.
        batched: Whether the file takes several utterances at once, with their lengths.
    """

    config: SATNConfig
    quantization: str
    streaming: bool = False
    least_samples: int | None = None
    batched: bool = False

    def to_json(self) -> str:
        """Gives the text that stands in the file; the same metadata gives the same text."""
        config = asdict(self.config)
        content = {
            "labels": config["labels"],
            "front_end": config["front_end"],
            "quantization": self.quantization,
            "streaming": self.streaming,
            "least_samples": self.least_samples,
            "batched": self.batched,
            "config": config,
        }
        return json.dumps(content, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> "Metadata":
        """Reads the text back.

        Args:
            text: What `to_json` gave.
            source: The file it came from, for the message.

        Raises:
            ExportError: It is not what `to_json` gives.
        """
        try:
            content = json.loads(text)
            config = SATNConfig(**content["config"])
            samples = content.get("least_samples")
            return cls(
                config,
                str(content["quantization"]),
                # Files from before there were streams, audio or batches do not say.
                streaming=bool(content.get("streaming", False)),
                least_samples=None if samples is None else int(samples),
                batched=bool(content.get("batched", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(f"{source}: has damaged {ENTRY} metadata ({error}); export the model again") from error


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping as JSON would give it back, for comparing settings."""
    result: dict[str, Any] = json.loads(json.dumps(dict(value)))
    return result

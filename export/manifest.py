"""The `manifest.json` of an exported folder."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satn_fast.export.errors import ExportError

if TYPE_CHECKING:
    from satn_fast.export.verification import FileReport

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """One exported file.

    Attributes:
        name: File name inside the folder.
        bytes: Size.
        sha256: Hexadecimal digest of the content.
        inputs: `name`, `shape` (`None` stands for any number) and `dtype` of each input.
        outputs: The same of each output.
        quantization: `"float32"` or `"int8"`.
        macs_per_second: Multiply-accumulates per second of audio, see `cost.macs_per_second`.
        arena_bytes: Lower bound of a TFLite file's activation memory, see `cost.arena_bytes`; `None` for ONNX.
        max_logit_error: Largest difference of a logit from the float reference on the evaluation set.
        mean_logit_error: Mean absolute difference of the logits.
        agreement: Share of utterances with the reference's decision.
        ua: Unweighted accuracy; `None` without the true classes.
        ua_loss: The reference's unweighted accuracy minus this file's; `None` without the true classes.
    """

    name: str
    bytes: int
    sha256: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    quantization: str
    macs_per_second: int
    arena_bytes: int | None
    max_logit_error: float | None = None
    mean_logit_error: float | None = None
    agreement: float | None = None
    ua: float | None = None
    ua_loss: float | None = None


@dataclass(frozen=True)
class Manifest:
    """What an exported folder holds.

    Attributes:
        labels: Names of the classes, in the order of the logits.
        front_end: Keyword arguments of `satn_fast.LogMel`.
        utterance_seconds: Length of the utterance that `macs_per_second` and `arena_bytes` are stated for.
        files: The files.
        tools: Versions of what wrote them.
        reports: What verification found, latency included; not part of `manifest.json`, which says nothing that
            differs between two exports of one model.
        left_out: Files that were not written, and why.
        intact: Whether what was read is what was written, by the SHA-256 that it ends with.
    """

    labels: tuple[str, ...]
    front_end: dict[str, Any]
    utterance_seconds: float
    files: tuple[FileEntry, ...]
    tools: dict[str, str]
    reports: "tuple[FileReport, ...]" = field(default=(), compare=False)
    left_out: dict[str, str] = field(default_factory=dict)
    intact: bool = field(default=True, compare=False)

    def to_json(self) -> str:
        """Gives the text of `manifest.json`, which ends with the SHA-256 of what stands before it."""
        content: dict[str, Any] = {
            "labels": list(self.labels),
            "front_end": self.front_end,
            "utterance_seconds": self.utterance_seconds,
            "files": [asdict(entry) for entry in self.files],
            "tools": self.tools,
            "left_out": self.left_out,
        }
        content["sha256"] = hashlib.sha256(_dumped(content).encode()).hexdigest()
        return _dumped(content) + "\n"

    @classmethod
    def read(cls, folder: str | Path) -> "Manifest":
        """Reads the manifest of a folder.

        Raises:
            ExportError: It is missing or damaged.
        """
        path = Path(folder) / MANIFEST
        try:
            text = path.read_bytes().decode()
            content = json.loads(text)
            files = tuple(FileEntry(**entry) for entry in content["files"])
            manifest = cls(
                labels=tuple(content["labels"]),
                front_end=dict(content["front_end"]),
                utterance_seconds=float(content["utterance_seconds"]),
                files=files,
                tools=dict(content["tools"]),
                left_out=dict(content.get("left_out", {})),
            )
        except OSError as error:
            raise ExportError(f"{path}: cannot be read ({error.strerror}); give a folder written by export") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(f"{path}: is damaged ({error}); export the model again") from error
        for entry in manifest.files:
            if Path(entry.name).name != entry.name:
                raise ExportError(
                    f"{path}: names the file {entry.name!r} outside of its folder; export the model again"
                )
        return replace(manifest, intact=text == manifest.to_json())


def _dumped(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

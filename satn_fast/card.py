"""The model card of a checkpoint or of exported files: `README.md` in the form of the Hugging Face hub.

A card ends with a digest of itself. One whose digest is not right was edited by a person, and is left alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satn_fast.config import SATNConfig
    from satn_fast.export.manifest import FileEntry, Manifest

__all__ = ["MODEL_CARD", "is_edited", "model_card", "training_record"]

MODEL_CARD = "README.md"
RECORD = "run.json"

_FRONT_MATTER = """\
---
license: apache-2.0
library_name: satn_fast
pipeline_tag: audio-classification
tags:
- speech-emotion-recognition
- self-attention-transfer-network
metrics:
- recall
- accuracy
- f1
---
"""

_TO_FILL_IN = "**To be filled in:** "

_LIMITS = """\
## Intended use and limits

For research, and for products whose makers have tested the model on speech like that of their users. What it was
tested on is all that is known of it: the figures above say nothing about other speakers, languages, rooms,
microphones, or about emotions that are felt rather than performed, and nothing about people in general. How somebody
sounds is no reliable sign of what they feel. Do not use it for decisions about people (work, education, insurance,
credit, health, policing, borders), to judge whether somebody tells the truth, or without the knowledge of those who are
recorded.
"""

_SIGNATURE = re.compile(r"\n<!-- satn_fast wrote this card; sha256 of what stands above: ([0-9a-f]{64}) -->\n\Z")


def model_card(
    name: str,
    config: SATNConfig,
    *,
    task: str = "emotion recognition",
    training: Mapping[str, Any] | None = None,
    exported: Manifest | None = None,
) -> str:
    """Gives the text of a model card.

    Args:
        name: Of the model.
        config: Of the model.
        task: What the model was trained for; labels and figures are left out of the card of a source task.
        training: What `run.json` says, where there is one.
        exported: The manifest of exported files, with the reports of their verification; `None` for a checkpoint.

    Example:
        >>> from satn_fast import SATNConfig
        >>> card = model_card("calls", SATNConfig.preset("micro", labels=("calm", "angry")))
        >>> card.splitlines()[0], "# calls" in card, "`angry`" in card
        ('---', True, True)
    """
    recognises = task == "emotion recognition"
    sections = [
        _FRONT_MATTER,
        f"# {name}\n",
        _introduction(config, task, recognises),
        _training_data(training),
        _figures(training, exported) if recognises else "",
        "" if exported is None else _files(exported),
        _use(config, exported) if recognises else "",
        _front_end(config),
        _LIMITS,
    ]
    text = "\n".join(section for section in sections if section)
    return f"{text}\n<!-- satn_fast wrote this card; sha256 of what stands above: {_digest(text)} -->\n"


def is_edited(folder: str | os.PathLike[str]) -> bool:
    """Tells whether a folder's model card was written or changed by a person; says so in the log."""
    path = Path(folder) / MODEL_CARD
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    signature = _SIGNATURE.search(text)
    if signature is not None and signature[1] == _digest(text[: signature.start()]):
        return False
    logging.getLogger(__name__).warning("%s: was edited and stays as it is; remove it to have it written anew", path)
    return True


def training_record(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What `run.json` in the folder of a checkpoint says; `None` where there is none that can be read."""
    try:
        found = json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _introduction(config: SATNConfig, task: str, recognises: bool) -> str:
    window = config.attention_window
    reach = "the whole utterance" if window is None else f"the last {window} frames, so it can listen while one speaks"
    labels = ", ".join(f"`{label}`" for label in config.labels)
    what = f"It tells {len(config.labels)} labels apart: {labels}." if recognises else "It has no labels of emotions."
    return (
        f"A self-attention transfer network (SATN) for {task} from speech, trained with `satn_fast`. {what}\n\n"
        f"{config.n_blocks} convolutional blocks of {config.channels} channels, {config.n_heads} attention heads over "
        f"{reach}; input normalisation: {config.normalization}.\n"
    )


def _training_data(training: Mapping[str, Any] | None) -> str:
    lines = ["## Training data\n"]
    if training is None or not isinstance(training.get("data"), dict):
        lines.append(f"{_TO_FILL_IN}what the model was trained on; there is no record beside the checkpoint.")
    else:
        data, speakers = training["data"], training.get("speakers") or {}
        heard, choosing = len(speakers.get("train", ())), len(speakers.get("validation", ()))
        lines += [
            f"- Manifest `{Path(str(data.get('manifest'))).name}`, {data.get('utterances')} utterances "
            f"(sha256 `{data.get('sha256')}` over audio and labels)",
            f"- {heard} speakers to learn from, {choosing} others to choose the epoch",
            f"- Seed {training.get('seed')}; attention transfer: {training.get('transfer') or 'none'}",
        ]
    lines.append(f"\n{_TO_FILL_IN}the licence of the data, and whether the speakers agreed to this use.")
    return "\n".join(lines) + "\n"


def _figures(training: Mapping[str, Any] | None, exported: Manifest | None) -> str:
    lines = ["## Figures\n"]
    best = (training or {}).get("best") or {}
    if "ua" in best:
        lines.append(
            "Unweighted accuracy (UA, mean recall of the labels) on the speakers that chose the epoch: "
            f"{best['ua']:.1%}."
        )
    lines += _exported_figures(exported) if exported is not None else []
    if len(lines) == 1:
        lines.append(f"{_TO_FILL_IN}`satn-fast evaluate` on speakers that the model has not heard.")
    return "\n".join(lines) + "\n"


def _exported_figures(exported: Manifest) -> list[str]:
    entries = [entry for entry in exported.files if entry.ua is not None]
    if not entries:
        return ["The files were compared with the checkpoint on utterances whose labels it does not know."]
    rows = [(entry.quantization, _percent(entry.ua), _percent(entry.ua_loss), entry.name) for entry in entries]
    head = "On the utterances that the files were verified with (UA: mean recall of the labels):\n"
    return [head, *_table(("arithmetic", "UA", "lost to the checkpoint", "file"), rows)]


def _files(exported: Manifest) -> str:
    milliseconds = {report.name: report.milliseconds for report in exported.reports}
    rows = [_file_row(entry, milliseconds.get(entry.name)) for entry in exported.files]
    head = ("file", "bytes", "latency", "decides alike", "largest logit error")
    note = (
        "Latency: median of one utterance, one thread, on the machine that exported. Decides alike: share of "
        "utterances on which a file decides like the checkpoint."
    )
    return "\n".join(["## Files\n", *_table(head, rows), "", note]) + "\n"


def _file_row(entry: FileEntry, milliseconds: float | None) -> tuple[str, ...]:
    error = "–" if entry.max_logit_error is None else f"{entry.max_logit_error:.2g}"
    latency = "–" if milliseconds is None else f"{milliseconds:.2f} ms"
    return f"`{entry.name}`", f"{entry.bytes:,}", latency, _percent(entry.agreement), error


def _use(config: SATNConfig, exported: Manifest | None) -> str:
    if exported is None:
        return (
            "## Use\n\n"
            "```python\n"
            "import torch\n"
            "from satn_fast import SATN, LogMel\n"
            "from satn_fast.audio import read_audio\n\n"
            'model = SATN.from_pretrained(".")  # this folder, or its name on the hub\n'
            "front_end = LogMel(**model.config.front_end)\n"
            'audio = read_audio("clip.wav", front_end.sample_rate)\n'
            "features = torch.from_numpy(front_end(audio.waveform))\n"
            "probabilities = model(features[None]).logits.softmax(-1)[0]\n"
            "print(dict(zip(model.config.labels, probabilities.tolist())))\n"
            "```\n"
        )
    runtimes = {".onnx": "ONNX Runtime: `pip install onnxruntime`", ".tflite": "LiteRT: `pip install ai-edge-litert`"}
    parts = ["## Use\n\nBeside `satn_fast` and numpy, a file needs its runtime; PyTorch is not needed.\n"]
    for suffix, runtime in runtimes.items():
        name = f"model.int8{suffix}"
        if all(entry.name != name for entry in exported.files):
            continue
        parts.append(
            f"{runtime}\n\n"
            "```python\n"
            "from satn_fast import LogMel\n"
            "from satn_fast.audio import read_audio\n"
            "from satn_fast.export import load\n\n"
            f'model = load("{name}")\n'
            "front_end = LogMel(**model.front_end)\n"
            'audio = read_audio("clip.wav", front_end.sample_rate)\n'
            "print(model.predict(front_end(audio.waveform)))\n"
            "```\n"
        )
    return "\n".join(parts)


def _front_end(config: SATNConfig) -> str:
    settings = json.dumps(dict(config.front_end), indent=2, ensure_ascii=False)
    return f"## Front end\n\nThe keyword arguments of `satn_fast.LogMel`:\n\n```json\n{settings}\n```\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"

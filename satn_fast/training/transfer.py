"""What goes from a source model to a student: weights, and attention maps to follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from satn_fast.config import SATNConfig
from satn_fast.frontend import LogMel
from satn_fast.functional import attention_transfer_loss
from satn_fast.hub import CheckpointError, PretrainedModel
from satn_fast.models import SATN, AutoencoderModel, SourceModel
from satn_fast.reference import Encoded, Encoder
from satn_fast.training.dataset import Batch, Crops
from satn_fast.training.loading import Share
from satn_fast.training.options import TransferOptions

# What must agree between a source and a student, because their weights or their attention maps are compared.
_ALWAYS = ("front_end",)
_FOR_TCN = ("channels", "n_blocks", "kernel_size")
_FOR_ATTENTION = ("channels", "n_heads", "attention_window")
_FOR_MAPS = ("attention_window",)


class Source(Protocol):
    """What attention is transferred from: any model with an encoder, whatever it was trained to do."""

    config: SATNConfig
    encoder: Encoder


def load_source(path: str | Path) -> Source:
    """Loads a checkpoint that has an encoder: of a source task, or of emotion recognition.

    Args:
        path: Its folder, or a Hugging Face model id.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    kinds: tuple[type[PretrainedModel], ...] = (SourceModel, AutoencoderModel, SATN)
    folder = Path(path)
    if folder.is_dir():
        kinds = (_kind(folder),)
    for kind in kinds[:-1]:
        try:
            return cast("Source", kind.from_pretrained(path))
        except CheckpointError:
            continue  # perhaps of another kind
    return cast("Source", kinds[-1].from_pretrained(path))


def _kind(folder: Path) -> type[PretrainedModel]:
    """What a folder's checkpoint is; a SATN, whose loading says what is wrong, if it is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return SATN
    if "symbols" in config:
        return SourceModel
    return AutoencoderModel if "encoder_config" in config else SATN


def check_source(config: SATNConfig, source: Source | None, transfer: TransferOptions) -> None:
    """Checks that a source fits a student.

    Raises:
        ValueError: There is no source, or it differs where it must not; the message names what and the remedy.
    """
    if transfer.mode == "none":
        return
    if source is None:
        raise ValueError(f"source is None, but transfer is {transfer.mode!r}; give a source model or transfer 'none'")
    for name in _shared_fields(transfer):
        theirs, ours = _comparable(source.config, name), _comparable(config, name)
        if theirs != ours:
            raise ValueError(
                f"source has {name} = {theirs!r}, the model {ours!r}; transfer {transfer.mode!r} needs both equal"
            )
    if (
        transfer.compares_maps
        and "speaker" in {config.normalization, source.config.normalization}
        and (config.normalization != source.config.normalization)
    ):
        raise ValueError(
            f"the source has normalization {source.config.normalization!r}, the model {config.normalization!r}: they "
            "cannot look at the same features, which comparing their maps needs; give both the same, or transfer 'init'"
        )
    if transfer.compares_maps:
        _check_heads(config, source.config, transfer)


def initialise(student: SATN, source: Source, transfer: TransferOptions) -> None:
    """Copies the part of the source's encoder that the student starts from; feature statistics stay its own."""
    theirs, ours = source.encoder, student.encoder
    if transfer.part in ("encoder", "tcn"):
        ours.tcn.load_state_dict(theirs.tcn.state_dict())
    if transfer.part in ("encoder", "attention"):
        ours.attention.load_state_dict(theirs.attention.state_dict())


def initialised_parameters(student: SATN, transfer: TransferOptions) -> list[nn.Parameter]:
    """The parameters that start from the source."""
    if not transfer.initialises:
        return []
    encoder = student.encoder
    parts = {"encoder": (encoder.tcn, encoder.attention), "tcn": (encoder.tcn,), "attention": (encoder.attention,)}
    return [parameter for part in parts[transfer.part] for parameter in part.parameters()]


def map_loss(
    student: Encoded, source: Source, features: Tensor, batch: Batch | Crops, transfer: TransferOptions
) -> Tensor:
    """How far the student's attention maps are from the source's on the same utterances."""
    with torch.no_grad():
        teacher = source.encoder(features, batch.lengths)
    heads = slice(None) if transfer.heads is None else list(transfer.heads)
    return attention_transfer_loss(
        student.query,
        student.key,
        teacher.query[:, :, heads],
        teacher.key[:, :, heads],
        lengths=batch.lengths,
        window=source.config.attention_window,
        loss=transfer.map_loss,
    )


def share_of_maps(share: Share, transfer: TransferOptions) -> float:
    """The share of the map loss: `at` is a mean over utterances, the others are means over frames."""
    return share.utterances if transfer.map_loss == "at" else share.frames


def _comparable(config: SATNConfig, name: str) -> Any:
    """A field of a configuration; of the front end every setting, whether it was given or not."""
    return LogMel(**config.front_end).describe() if name == "front_end" else getattr(config, name)


def _shared_fields(transfer: TransferOptions) -> tuple[str, ...]:
    fields: tuple[str, ...] = _ALWAYS
    if transfer.initialises and transfer.part in ("encoder", "tcn"):
        fields += _FOR_TCN
    if transfer.initialises and transfer.part in ("encoder", "attention"):
        fields += _FOR_ATTENTION
    return fields + (_FOR_MAPS if transfer.compares_maps else ())


def _check_heads(config: SATNConfig, source: SATNConfig, transfer: TransferOptions) -> None:
    heads = tuple(range(source.n_heads)) if transfer.heads is None else tuple(transfer.heads)
    if len(heads) != config.n_heads:
        raise ValueError(
            f"the source offers {len(heads)} heads, the model has n_heads = {config.n_heads}; name with heads which of "
            f"the source's 0 to {source.n_heads - 1} each follows"
        )
    if any(not 0 <= head < source.n_heads for head in heads):
        raise ValueError(f"heads is {heads}, but the source has heads 0 to {source.n_heads - 1}")

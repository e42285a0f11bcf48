"""Writes `model.mcu.tflite`: one streaming step in int8 for TFLite Micro."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast import reference
from satn_fast.config import STREAMABLE_NORMALIZATIONS, SATNConfig
from satn_fast.export.calibration import checked_calibration, level_so_far
from satn_fast.export.metadata import ENTRY, Metadata
from satn_fast.export.micro.graph import Graph, Values
from satn_fast.export.micro.host import ENTRY as TABLES_ENTRY
from satn_fast.export.micro.host import HostTables
from satn_fast.export.micro.pooling import ChannelScales, channel_scales
from satn_fast.export.micro.quantization import Quantization, Ranges, calibrated, quantizations
from satn_fast.export.micro.step import ANY_SCORES, ScoreRanges, step
from satn_fast.export.weights import FoldedSATN, folded
from satn_fast.files import atomic_write

Array = NDArray[np.float32]

# There are new logits after so many frames: 100 ms at the usual hop.
CHUNK_FRAMES = 10

# Logits are of the last frames of so long a time.
POOLING_SECONDS = 10.0

# Calibration utterances beyond that many are thinned out evenly.
MAX_CALIBRATION = 128


def to_micro(
    model: reference.SATN,
    path: str | Path,
    calibration: Sequence[ArrayLike],
    *,
    chunk_frames: int = CHUNK_FRAMES,
    pooling_frames: int | None = None,
    calibration_front_end: Mapping[str, Any] | None = None,
) -> Path:
    """Writes one streaming step as a TFLite file for microcontrollers: int8 in, out, and state.

    Inputs are `features` (1, c, F), normalised and quantized by the host (`host`), `padding` (1, c), which is 0
    but for frames after the end of an utterance (-128), and the states. Outputs are `logits` (1, n_labels) of the last
    `pooling_frames` frames, and the new states: output `i` is copied to input `i + 1` as it is. Before the first step,
    states are filled with their zero points.

    Args:
        model: A trained model with an attention window.
        path: The file, usually `.mcu.tflite`; it appears whole or not at all.
        calibration: (T, F) features of representative utterances; a few dozen are enough.
        chunk_frames: Frames `c` in a step.
        pooling_frames: Frames that the logits are of; `None` takes 10 s. Each takes 1 + n_labels bytes of state; where
            deviations are pooled, each takes 1, and each chunk two for every pooled channel.
        calibration_front_end: As for `to_onnx`.

    Returns:
        The path.

    Raises:
        ValueError: The model cannot be streamed, calibration is empty, wrong or of another front end, or a number of
            frames is out of range.
        ImportError: ai-edge-litert or flatbuffers is not installed; the message says how to.

    Example:
        >>> import tempfile, satn_fast
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro")).eval()
        >>> calibration = [np.random.default_rng(0).normal(size=(50, model.config.n_features))]
        >>> to_micro(model, Path(tempfile.mkdtemp()) / "model.mcu.tflite", calibration).name
        'model.mcu.tflite'
    """
    path, weights = Path(path), folded(model)
    checked = checked_calibration(calibration, weights, calibration_front_end)
    content = micro_bytes(weights, checked, chunk_frames=chunk_frames, pooling_frames=pooling_frames)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


def micro_bytes(
    weights: FoldedSATN,
    calibration: Sequence[Array],
    *,
    chunk_frames: int = CHUNK_FRAMES,
    pooling_frames: int | None = None,
) -> bytes:
    """Gives the content of the file; arguments and errors are those of `to_micro`, calibration is checked already.

    The same weights and calibration give the same bytes.
    """
    try:
        from satn_fast.export.micro.file import serialized
    except ImportError as error:
        raise ImportError(f'export needs LiteRT and flatbuffers ({error}): pip install "satn-fast[tflite]"') from error
    config = weights.config
    _check_model(config)
    pooling_frames = _checked_frames(config, chunk_frames, pooling_frames)
    utterances = _calibration(calibration, chunk_frames)
    normalised = [_normalised(features, weights) for features in utterances]

    def calibrate(score_ranges: ScoreRanges, scales: ChannelScales | None = None) -> tuple[Graph, Ranges]:
        graph = step(weights, chunk_frames, pooling_frames, score_ranges, scales)
        return graph, calibrated(graph, (_steps(utterance, chunk_frames) for utterance in normalised))

    _, ranges = calibrate(ANY_SCORES)
    scores = ScoreRanges(*(_with_zero(ranges[name]) for name in ("attention_scores", "pooling_score")))
    graph, ranges = calibrate(scores, channel_scales(ranges, config.pooled_channels))
    chosen = quantizations(graph, ranges)
    entries = {
        ENTRY: Metadata(config, "int8").to_json().encode(),
        TABLES_ENTRY: _host_tables(weights, chosen["features"]).to_bytes(),
    }
    return sealed(serialized(graph, chosen, entries))


def _with_zero(limits: tuple[Values, Values]) -> tuple[float, float]:
    low, high = limits
    return min(0.0, float(low)), max(0.0, float(high))


def sealed(content: bytes) -> bytes:
    """Puts a checksum behind the flatbuffer: TFLite Micro checks nothing, and would crash on a damaged file."""
    return content + hashlib.sha256(content).digest()


def _check_model(config: SATNConfig) -> None:
    if config.attention_window is None or config.attention_window < 2:
        raise ValueError(
            f"attention_window is {config.attention_window}: a microcontroller keeps a window of 2 frames or more; "
            "train with attention_window=50, for one (the presets edge and micro have a window)"
        )
    if config.normalization not in STREAMABLE_NORMALIZATIONS:
        raise ValueError(
            f'normalization is "{config.normalization}", which needs the whole utterance; train with normalization='
            '"running_level" or "running" (of the frames so far), or "global"'
        )


def _checked_frames(config: SATNConfig, chunk_frames: int, pooling_frames: int | None) -> int:
    """`pooling_frames`, or those of `POOLING_SECONDS` in whole chunks."""
    if chunk_frames < 1:
        raise ValueError(f"chunk_frames is {chunk_frames}; choose a whole number from 1")
    if pooling_frames is None:
        pooling_frames = math.ceil(round(POOLING_SECONDS / config.hop_seconds) / chunk_frames) * chunk_frames
    if pooling_frames <= chunk_frames:
        raise ValueError(f"pooling_frames is {pooling_frames}; choose more than the {chunk_frames} of chunk_frames")
    if config.pooling == "statistics" and pooling_frames % chunk_frames:
        raise ValueError(
            f"pooling_frames is {pooling_frames}; deviations are pooled over whole chunks: choose a multiple of "
            f"chunk_frames, {chunk_frames}"
        )
    return pooling_frames


def _calibration(features: Sequence[Array], chunk_frames: int) -> list[Array]:
    """At most `MAX_CALIBRATION` utterances, spread over those given."""
    chosen = np.unique(np.linspace(0, len(features) - 1, MAX_CALIBRATION).round().astype(int))
    result = [features[index] for index in chosen]
    if all(len(array) < chunk_frames for array in result):
        raise ValueError(f"calibration has no utterance of {chunk_frames} frames or more; give longer ones")
    return result


def _normalised(features: Array, weights: FoldedSATN) -> Array:
    x, config = features.astype(np.float64) - weights.mean, weights.config
    if config.normalization == "running":
        x -= x.cumsum(0) / (np.arange(1, len(x) + 1)[:, None] + config.running_prior_frames)
    elif config.normalization == "running_level":
        bands = slice(config.n_bands)
        x[:, bands] -= level_so_far(features[:, bands].astype(np.float64), config.loudness_exponent)
    normalised: Array = (x * weights.inverse_std).astype(np.float32)
    return normalised


def _steps(normalised: Array, chunk_frames: int) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The inputs of whole steps; frames that do not fill the last one are left out."""
    padding = np.zeros((1, chunk_frames), np.float32)
    for start in range(0, len(normalised) - chunk_frames + 1, chunk_frames):
        yield {"features": normalised[None, start : start + chunk_frames], "padding": padding}


def _host_tables(weights: FoldedSATN, features: Quantization) -> HostTables:
    return HostTables(weights.mean, (weights.inverse_std / features.scale).astype(np.float32))

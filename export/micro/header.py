"""Writes a `.mcu.tflite` file as a C header: the model's bytes, and everything that the host has to know about it."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from satn_fast.config import LARGEST_LEVEL
from satn_fast.export.micro.file import Port, interface
from satn_fast.export.micro.runtime import content_of
from satn_fast.files import atomic_write
from satn_fast.frontend import LogMel

# The fields of satn_frontend_options after `size`, in their order, and how the names of their values begin.
_FRONT_END_FIELDS = {
    "preset": "",
    "sample_rate": None,
    "n_mels": None,
    "precision": "",
    "window_seconds": None,
    "hop_seconds": None,
    "sample_rounding": "ROUND_",
    "fft_size": None,
    "window": "WINDOW_",
    "framing": "FRAMING_",
    "remove_dc": None,
    "preemphasis_mode": "PREEMPHASIS_",
    "preemphasis": None,
    "low_hz": None,
    "high_hz": None,
    "mel_scale": "MEL_",
    "filters": "FILTERS_",
    "filter_norm": "NORM_",
    "power_norm": "POWER_",
    "log": "LOG_",
    "floor_mode": "FLOOR_",
    "floor": None,
    "top_db": None,
    "float_scale": None,
    "int16_scale": None,
    "deltas": None,
    "delta_window": None,
}

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def to_header(model: str | Path, path: str | Path, *, arena_bytes: int, name: str = "satn_model") -> Path:
    """Writes the C header of a `.mcu.tflite` file.

    Any source file may include it; one of them defines `SATN_MODEL_IMPLEMENTATION` (the name in capitals) before, and
    gets the constants themselves. C99 and C++ take it.

    Args:
        model: What `to_micro` wrote.
        path: The header; it appears whole or not at all.
        arena_bytes: Becomes `SATN_MODEL_ARENA_BYTES`; see `runtime.arena_bytes`.
        name: Prefix of all names.

    Returns:
        The path.

    Raises:
        ExportError: The file is missing or damaged.
        ValueError: `name` is no C identifier.

    Example:
        >>> import tempfile, satn_fast
        >>> from satn_fast.export.micro.exporter import to_micro
        >>> folder = Path(tempfile.mkdtemp())
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro")).eval()
        >>> features = np.random.default_rng(0).normal(size=(50, model.config.n_features))
        >>> file = to_micro(model, folder / "model.mcu.tflite", [features])
        >>> header = to_header(file, folder / "satn_model.h", arena_bytes=64 * 1024)
        >>> "#define SATN_MODEL_CHUNK_FRAMES 10" in header.read_text()
        True
    """
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"name is {name!r}; give a C identifier")
    path = Path(path)
    with atomic_write(path) as temporary:
        temporary.write_text(_header(Path(model), name, arena_bytes), encoding="utf-8")
    return path


def _header(model: Path, name: str, arena_bytes: int) -> str:
    content, metadata, tables = content_of(model)
    config, capitals = metadata.config, name.upper()
    inputs, outputs = interface(content)
    features, logits, states = inputs[0], outputs[0], inputs[2:]
    numbers = {
        "BYTES": len(content),
        "ARENA_BYTES": arena_bytes,
        "CHUNK_FRAMES": features.shape[1],
        "FEATURES": features.shape[2],
        "LABELS": logits.shape[1],
        "STATES": len(states),
        "STATE_BYTES": sum(math.prod(state.shape) for state in states),
        "POOLING_FRAMES": inputs[-1].shape[-1],
        "BANDS": config.n_bands,
        "RUNNING_NORMALIZATION": int(config.normalization == "running"),
        "RUNNING_LEVEL": int(config.normalization == "running_level"),
        "PRIOR_FRAMES": config.running_prior_frames,
        "LARGEST_LEVEL": _float(LARGEST_LEVEL),
        "LOUDNESS_EXPONENT": _float(config.loudness_exponent),
        "FEATURE_ZERO_POINT": features.zero_point,
        "LOGIT_ZERO_POINT": logits.zero_point,
    }
    return _TEMPLATE.format(
        file=model.name,
        name=name,
        capitals=capitals,
        numbers="\n".join(f"#define {capitals}_{key} {value}" for key, value in numbers.items()),
        feature_scale=_float(features.scale),
        logit_scale=_float(logits.scale),
        labels=_lines(map(_string, config.labels)),
        front_end=_front_end(config.front_end),
        mean=_lines(map(_float, tables.mean)),
        factor=_lines(map(_float, tables.factor)),
        states=",\n".join(_state(index, state) for index, state in enumerate(states)),
        data=_lines(map(str, content)),
    )


def _state(index: int, state: Port) -> str:
    return f"    {{{index + 2}, {index + 1}, {math.prod(state.shape)}, {state.zero_point}}} /* {state.name} */"


def _front_end(settings: Mapping[str, Any]) -> str:
    """Every option of the front end, as C's initialiser of satn_frontend_options."""
    options = LogMel(**settings).describe()
    values = ["sizeof(satn_frontend_options)"]
    for field, prefix in _FRONT_END_FIELDS.items():
        value = options[field]
        if prefix is not None:
            values.append(f"SATN_FRONTEND_{prefix}{str(value).upper().replace('-', '_')}")
        else:
            values.append("-1.0" if value is None else repr(float(value) if isinstance(value, float) else int(value)))
    return ",".join(f" \\\n    {value}" for value in values)


def _float(number: float | NDArray[np.float32]) -> str:
    """The shortest text that is this float again."""
    text = str(np.float32(number))
    return (text if "." in text or "e" in text else f"{text}.0") + "F"


def _string(text: str) -> str:
    """A C string; what is not plain ASCII is written byte by byte."""
    # Octal, for it ends after three digits. A question mark might begin a trigraph.
    plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(plain)}"'


def _lines(items: Iterable[str]) -> str:
    """Comma-separated items in lines of at most 120 characters."""
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) > 112:
            lines.append("")
        lines[-1] += f"{item}, "
    return "\n".join(f"    {line.rstrip()}" for line in lines)


_TEMPLATE = """\
/* Generated from {file}: a speech emotion recogniser, one streaming step for TFLite Micro.
 *
 * A step takes {capitals}_CHUNK_FRAMES frames. Input 0 is their features, row by row, as satn_host_quantize makes them;
 * input 1 stays 0 (-128 marks a frame after the end of an utterance). Output 0 is a logit of each label, of the last
 * {capitals}_POOLING_FRAMES frames. {name}_states says which output goes to which input before the next step, byte by
 * byte; before the first, each of these inputs is filled with its `initial`.
 *
 * Define {capitals}_IMPLEMENTATION in one source file, before this header is included. */
#ifndef {capitals}_H
#define {capitals}_H

#include <stddef.h>
#include <stdint.h>

{numbers}

/* satn_frontend_options options = {capitals}_FRONT_END; (with satn_frontend.h) */
#define {capitals}_FRONT_END {{{front_end}}}

/* value = scale * (integer - zero point); the input's scale is part of {name}_factor. */
#define {capitals}_FEATURE_SCALE {feature_scale}
#define {capitals}_LOGIT_SCALE {logit_scale}

#ifdef __cplusplus
extern "C" {{
#endif

typedef struct {name}_state {{
  int input;
  int output;
  size_t bytes;
  int8_t initial;
}} {name}_state;

extern const {name}_state {name}_states[{capitals}_STATES];
extern const char *const {name}_labels[{capitals}_LABELS]; /* in the order of the logits, UTF-8 */
extern const float {name}_mean[{capitals}_FEATURES];
extern const float {name}_factor[{capitals}_FEATURES];
extern const unsigned char {name}_data[{capitals}_BYTES];  /* aligned to 16 */

#ifdef {capitals}_IMPLEMENTATION

const {name}_state {name}_states[{capitals}_STATES] = {{
    /* input, output, bytes, initial */
{states}}};

const char *const {name}_labels[{capitals}_LABELS] = {{
{labels}}};

const float {name}_mean[{capitals}_FEATURES] = {{
{mean}}};

const float {name}_factor[{capitals}_FEATURES] = {{
{factor}}};

#if defined(__GNUC__)
__attribute__((aligned(16)))
#elif defined(__cplusplus)
alignas(16)
#endif
const unsigned char {name}_data[{capitals}_BYTES] = {{
{data}}};

#endif /* {capitals}_IMPLEMENTATION */

#ifdef __cplusplus
}}
#endif

#endif /* {capitals}_H */
"""

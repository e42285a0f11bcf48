"""Writes the files of a trained model: ONNX and TFLite, float32 and int8, and their manifest."""

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast import reference
from satn_fast.card import MODEL_CARD, is_edited, model_card
from satn_fast.config import SATNConfig
from satn_fast.export.audio_tables import least_samples
from satn_fast.export.calibration import METHODS, check_method, checked_calibration
from satn_fast.export.cost import UTTERANCE_SECONDS, arena_bytes, frames_of, macs_per_second
from satn_fast.export.errors import ExportError
from satn_fast.export.manifest import MANIFEST, FileEntry, Manifest, sha256
from satn_fast.export.metadata import ENTRY, Metadata, plain
from satn_fast.export.micro.exporter import micro_bytes
from satn_fast.export.names import AUDIO, BATCH, MICRO, STREAM, UTTERANCE, is_int8
from satn_fast.export.quiet import quiet
from satn_fast.export.stream_state import is_streamable, stream_state
from satn_fast.export.verification import DEFAULT_TOLERANCES, FileReport, Progress, Tolerances, check_evaluation, verify
from satn_fast.export.weights import FoldedSATN, folded
from satn_fast.files import atomic_folder, atomic_write
from satn_fast.streaming import initial_state

Array = NDArray[np.float32]

DEFAULT_METHOD = METHODS[0]

_TOOLS = (
    "satn-fast",
    "torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "tensorflow-cpu",
    "ai-edge-litert",
    "litert-quantizer",
    "tflite-micro",
)


class _Calibration(NamedTuple):
    """Checked features of each utterance, and how ranges follow from them."""

    features: Sequence[Array]
    method: str


class ToleranceError(ExportError):
    """An exported file differs from the checkpoint by more than is allowed.

    Attributes:
        reports: What verification found about every file.
    """

    def __init__(self, reports: Sequence[FileReport]) -> None:
        self.reports = tuple(reports)
        super().__init__("; ".join(report.complaint for report in reports if not report.ok))


def to_onnx(
    model: reference.SATN,
    path: str | Path,
    *,
    int8: bool = False,
    calibration: Sequence[ArrayLike] | None = None,
    calibration_method: str = DEFAULT_METHOD,
    calibration_front_end: Mapping[str, Any] | None = None,
    streaming: bool = False,
    audio_input: bool = False,
    batched: bool = False,
) -> Path:
    """Writes one ONNX file: `features` (1, T, F) float32 to `logits` (1, n_labels), for every T >= 1.

    With `streaming`, the file computes one step: a chunk of frames, of any size, and a state that does not grow go in;
    the logits of all frames so far and the next state come out. Each state tensor is named alike in and out, but for a
    `next_` before the latter, and is all zeros before the first frame. `load` gives such a file a `push`.

    Args:
        model: A trained model.
        path: The file, usually `.onnx`; it appears whole or not at all.
        int8: Quantize; needs `calibration`.
        calibration: (T, F) features of representative utterances; a few dozen are enough. `choose_calibration` draws
            them from a manifest.
        calibration_method: The ranges of activations are their extremes, `"minmax"`, or leave out the outermost
            ten-thousandth of the values of each utterance, `"percentile"`, for recordings with clicks. Weights always
            have a range per output channel.
        calibration_front_end: Settings that the calibration's features were computed with (`LogMel.describe()`), to be
            compared with the model's; `None` if they are not known.
        streaming: Write a step of a stream.
        audio_input: Take `audio` (1, n_samples) float32 in [-1, 1], at the front end's rate, in place of features: the
            front end is part of the graph, in float32. Every preset and option of `satn_fast.LogMel` but
            `precision="float64"`. The calibration is of features all the same.
        batched: Take several utterances: `features` (B, T, F) with `lengths` (B,) int64, from 1 to T, to `logits` (B,
            n_labels). Whatever stands in the padding, each row of logits is that of the utterance alone. A file of its
            own, since masks and gathering cost the single utterance a few percent of its time.

    Returns:
        The path.

    Raises:
        ValueError: No calibration for int8 or one of another front end, weights that are not finite, a model that
            cannot be streamed, a front end in double precision, or more than one of streaming, audio_input and batched.
        ImportError: onnx or onnxruntime is not installed; the message says how to.

    Example:
        >>> import tempfile, satn_fast
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro"))
        >>> to_onnx(model, Path(tempfile.mkdtemp()) / "model.onnx").name
        'model.onnx'
    """
    if streaming:
        initial_state(model)  # says what to change where the model cannot be streamed
    if streaming + audio_input + batched > 1:
        raise ValueError("choose one of streaming, audio_input and batched")
    weights = folded(model)
    examples = _calibrated(calibration, calibration_method, calibration_front_end, weights) if int8 else None
    return _write(Path(path), _onnx(weights, examples, streaming=streaming, audio_input=audio_input, batched=batched))


def to_tflite(
    model: reference.SATN,
    path: str | Path,
    *,
    int8: bool = False,
    calibration: Sequence[ArrayLike] | None = None,
    calibration_method: str = DEFAULT_METHOD,
    calibration_front_end: Mapping[str, Any] | None = None,
    audio_input: bool = False,
) -> Path:
    """Writes one TFLite file: `features` (1, T, F) float32 to `logits` (1, n_labels), for every T >= 1.

    Built-in operators only. Arguments, result and errors are those of `to_onnx`.
    """
    weights = folded(model)
    examples = _calibrated(calibration, calibration_method, calibration_front_end, weights) if int8 else None
    return _write(Path(path), _tflite(weights, examples, audio_input=audio_input))


def export(
    model: reference.SATN,
    folder: str | Path,
    *,
    calibration: Sequence[ArrayLike],
    evaluation: Sequence[ArrayLike],
    truth: Sequence[int] | None = None,
    evaluation_audio: Sequence[ArrayLike] | None = None,
    batched: bool = False,
    calibration_method: str = DEFAULT_METHOD,
    calibration_front_end: Mapping[str, Any] | None = None,
    tolerances: Tolerances | None = DEFAULT_TOLERANCES,
    training: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Writes and verifies `model.onnx`, `model.int8.onnx`, `model.tflite`, `model.int8.tflite`, `manifest.json`.

    For a model that can be streamed, there are `model.stream.onnx`, `model.stream.int8.onnx` and, where tflite-micro is
    installed, `model.mcu.tflite` as well (the manifest says why one is left out); with `evaluation_audio`,
    `model.audio.onnx`, `model.audio.tflite` and their int8 versions, which take audio. The same model, calibration and
    tools give the same bytes. `README.md` is a model card; one that a person wrote or edited stays. Files that a former
    export wrote into the folder and this one does not are removed: they are of another model.

    Args:
        model: A trained model.
        folder: Where to; the files appear only after all of them were verified, the manifest last.
        calibration: (T, F) features of representative utterances, of training and not of evaluation.
        evaluation: (T, F) features that the files are compared to the model on.
        truth: Class index of each utterance of `evaluation`.
        evaluation_audio: (n_samples,) waveforms that the features of `evaluation` were computed from; with them, the
            files that take audio are written and verified as well.
        batched: Also write `model.batch.onnx` and `model.batch.int8.onnx`, which take several utterances at once.
        calibration_method: As for `to_onnx`.
        calibration_front_end: As for `to_onnx`.
        tolerances: What is acceptable; `None` accepts everything that runs and leaves judging to the caller.
        training: What `run.json` says of the training, for the model card; see `card.training_record`.
        progress: Called with (done, total, what).

    Returns:
        The manifest, with the reports of the verification.

    Raises:
        ToleranceError: A file misses its tolerance; nothing is written.
        ValueError: No or wrong calibration or evaluation, or weights that are not finite.
        ImportError: A tool is not installed; the message says how to.
    """
    check_evaluation(evaluation, truth, len(model.config.labels), evaluation_audio)
    weights = folded(model)
    examples = _calibrated(calibration, calibration_method, calibration_front_end, weights)
    left_out = _reason_without_micro(model.config)
    names = [*UTTERANCE, *(STREAM if is_streamable(model.config) else ()), *((MICRO,) if left_out is None else ())]
    names += [*(BATCH if batched else ()), *(AUDIO if evaluation_audio is not None else ())]
    total, former = len(names) + len(evaluation), _former_files(Path(folder))
    with atomic_folder(folder, last=MANIFEST) as temporary:
        for done, name in enumerate(names):
            if progress is not None:
                progress(done, total, name)
            (temporary / name).write_bytes(_content(name, weights, examples))
        manifest = Manifest(
            labels=model.config.labels,
            front_end=plain(model.config.front_end),
            utterance_seconds=UTTERANCE_SECONDS,
            files=tuple(_entry(temporary / name, model.config) for name in names),
            left_out={} if left_out is None else {MICRO: left_out},
            tools=_tool_versions(),
        )
        _write_manifest(temporary, manifest)
        reports = verify(
            temporary,
            model,
            evaluation,
            truth,
            audio=evaluation_audio,
            tolerances=tolerances,
            progress=None if progress is None else lambda done, _, what: progress(len(names) + done, total, what),
        )
        if tolerances is not None and not all(report.ok for report in reports):
            raise ToleranceError(reports)
        manifest = _with_figures(manifest, reports)
        _write_manifest(temporary, manifest)
        if not is_edited(folder):
            card = model_card(Path(folder).name, model.config, training=training, exported=manifest)
            (temporary / MODEL_CARD).write_text(card, encoding="utf-8")
    for name in former - set(names):
        (Path(folder) / name).unlink(missing_ok=True)
    return manifest


def _former_files(folder: Path) -> set[str]:
    """What a former export wrote into a folder."""
    try:
        return {entry.name for entry in Manifest.read(folder).files}
    except ExportError:
        return set()


def _content(name: str, weights: FoldedSATN, calibration: _Calibration) -> bytes:
    """What a file of that name holds."""
    if name == MICRO:
        return micro_bytes(weights, calibration.features)
    examples = calibration if is_int8(name) else None
    if name.endswith(".tflite"):
        return _tflite(weights, examples, audio_input=name in AUDIO)
    return _onnx(weights, examples, streaming=name in STREAM, audio_input=name in AUDIO, batched=name in BATCH)


def _onnx(
    weights: FoldedSATN,
    calibration: _Calibration | None,
    *,
    streaming: bool = False,
    audio_input: bool = False,
    batched: bool = False,
) -> bytes:
    try:
        from satn_fast.export.onnx import audio_graph, graph, stream_graph

        if calibration is not None:
            from satn_fast.export.onnx import quantization
    except ImportError as error:
        raise ImportError(f'ONNX export needs onnx and onnxruntime ({error}): pip install "satn-fast[onnx]"') from error
    metadata = Metadata(
        weights.config,
        "float32" if calibration is None else "int8",
        streaming,
        least_samples(weights.config.front_end) if audio_input else None,
        batched,
    )
    model = stream_graph.build_step(weights) if streaming else graph.build(weights, batched=batched)
    if calibration is not None:
        states = stream_state(weights.config) if streaming else ()
        model = quantization.quantized(model, calibration.features, calibration.method, states)
    if audio_input:
        model = audio_graph.with_audio_input(model, weights.config.front_end)
    return graph.finished(model, {ENTRY: metadata.to_json()})


def _tflite(weights: FoldedSATN, calibration: _Calibration | None, *, audio_input: bool = False) -> bytes:
    with quiet():
        try:
            from satn_fast.export.tflite import audio_graph, file, graph

            if calibration is not None:
                from satn_fast.export.tflite import quantization
        except ImportError as error:
            raise ImportError(
                f'TFLite export needs TensorFlow and LiteRT ({error}): pip install "satn-fast[tflite]"'
            ) from error
        metadata = Metadata(
            weights.config,
            "float32" if calibration is None else "int8",
            least_samples=least_samples(weights.config.front_end) if audio_input else None,
        )
        model = graph.convert(weights)
        if calibration is not None:
            model = quantization.quantized(model, calibration.features, calibration.method)
        if audio_input:
            model = audio_graph.with_audio_input(model, weights.config.front_end)
        return file.finished(model, metadata.to_json())


def _write(path: Path, content: bytes) -> Path:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


def _calibrated(
    features: Sequence[ArrayLike] | None, method: str, front_end: Mapping[str, Any] | None, weights: FoldedSATN
) -> _Calibration:
    check_method(method)
    return _Calibration(checked_calibration(features, weights, front_end), method)


def _reason_without_micro(config: SATNConfig) -> str | None:
    """Why there is no file for microcontrollers; `None` if there is one."""
    if not is_streamable(config) or (config.attention_window or 0) < 2:
        return "it takes a model whose frames attend to a window of the past, such as the presets edge and micro"
    if importlib.util.find_spec("tflite_micro") is None:
        return 'tflite-micro, which it is verified with, is not installed: pip install "satn-fast[micro]"'
    return None


def _entry(path: Path, config: SATNConfig) -> FileEntry:
    if path.name == MICRO:
        return _micro_entry(path, config)
    frames, samples = frames_of(config, UTTERANCE_SECONDS), _samples_of(config, UTTERANCE_SECONDS)
    takes_audio, size = path.name in AUDIO, None if path.name in BATCH else 1
    heard = [_tensor("audio", [1, None]) if takes_audio else _tensor("features", [size, None, config.n_features])]
    if size is None:
        heard.append({"name": "lengths", "shape": [None], "dtype": "int64"})
    shape = (samples,) if takes_audio else (frames, config.n_features)
    states = stream_state(config) if path.name in STREAM else ()
    return FileEntry(
        name=path.name,
        bytes=path.stat().st_size,
        sha256=sha256(path),
        inputs=[*heard, *(state.described(state.name) for state in states)],
        outputs=[
            _tensor("logits", [size, len(config.labels)]),
            *(state.described(state.next_name) for state in states),
        ],
        quantization="int8" if is_int8(path.name) else "float32",
        macs_per_second=macs_per_second(config),
        arena_bytes=arena_bytes(path, shape) if path.suffix == ".tflite" else None,
    )


def _micro_entry(path: Path, config: SATNConfig) -> FileEntry:
    from satn_fast.export.micro.file import interface
    from satn_fast.export.micro.runtime import arena_bytes as micro_arena_bytes

    inputs, outputs = interface(path.read_bytes())
    return FileEntry(
        name=path.name,
        bytes=path.stat().st_size,
        sha256=sha256(path),
        inputs=[port._asdict() | {"shape": list(port.shape)} for port in inputs],
        outputs=[port._asdict() | {"shape": list(port.shape)} for port in outputs],
        quantization="int8",
        macs_per_second=macs_per_second(config),
        arena_bytes=micro_arena_bytes(path),
    )


def _samples_of(config: SATNConfig, seconds: float) -> int:
    return round(seconds * int(config.front_end.get("sample_rate", 16000)))


def _tensor(name: str, shape: list[int | None]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": "float32"}


def _tool_versions() -> dict[str, str]:
    versions = {}
    for name in _TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _with_figures(manifest: Manifest, reports: Sequence[FileReport]) -> Manifest:
    found = {report.name: report for report in reports}
    files = tuple(
        replace(
            entry,
            max_logit_error=found[entry.name].max_logit_error,
            mean_logit_error=found[entry.name].mean_logit_error,
            agreement=found[entry.name].agreement,
            ua=found[entry.name].ua,
            ua_loss=found[entry.name].ua_loss,
        )
        for entry in manifest.files
    )
    return replace(manifest, files=files, reports=tuple(reports))


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")

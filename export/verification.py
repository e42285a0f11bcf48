"""Does every exported file compute what the checkpoint computes?"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import recall_score

from satn_fast import reference
from satn_fast.export.errors import ExportError
from satn_fast.export.manifest import MANIFEST, FileEntry, Manifest, sha256
from satn_fast.export.metadata import plain
from satn_fast.export.names import MODEL_FILES, float_twin
from satn_fast.export.runtime import ExportedModel, load

Array = NDArray[np.float32]
Progress = Callable[[int, int, str], None]

# Latency is measured on that many utterances, spread over the set.
TIMED_UTTERANCES = 30


@dataclass(frozen=True)
class Tolerances:
    """How far an exported file may be from the float reference.

    Whatever the shares below, an int8 file may decide one utterance of ten or more otherwise.

    Attributes:
        float_logit_error: Largest error of a logit of a float32 file.
        int8_agreement: Least share of utterances on which an int8 file decides like the reference.
        ua_loss: Largest loss of unweighted accuracy, as a fraction, of any file.
    """

    float_logit_error: float = 1e-3
    int8_agreement: float = 0.95
    ua_loss: float = 0.02


DEFAULT_TOLERANCES = Tolerances()

_NO_AUDIO = "takes audio, and there is none to compare on; give the utterances' waveforms"

# In sets of that many utterances, one whose decision hangs in the balance is no reason to refuse a file.
LEAST_FOR_ONE_EXCEPTION = 10


@dataclass(frozen=True)
class FileReport:
    """What verification found about one file.

    Attributes:
        name: The file.
        complaint: One line that names the file and says what is wrong and by how much; empty if nothing is.
        max_logit_error: Largest difference of a logit from the reference.
        mean_logit_error: Mean absolute difference.
        agreement: Share of utterances with the reference's decision.
        ua: Unweighted accuracy; `None` without the true classes.
        ua_loss: The reference's unweighted accuracy minus this file's; `None` without the true classes.
        milliseconds: Median latency of one utterance.
        float_milliseconds: The same of the float32 file for the same runtime, measured in turn with this one.
    """

    name: str
    complaint: str = ""
    max_logit_error: float | None = None
    mean_logit_error: float | None = None
    agreement: float | None = None
    ua: float | None = None
    ua_loss: float | None = None
    milliseconds: float | None = None
    float_milliseconds: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the file may be used."""
        return not self.complaint


def verify(
    folder: str | Path,
    model: reference.SATN,
    features: Sequence[ArrayLike],
    truth: Sequence[int] | None = None,
    *,
    audio: Sequence[ArrayLike] | None = None,
    tolerances: Tolerances | None = None,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> list[FileReport]:
    """Checks every file of an exported folder, and compares its results to the checkpoint's.

    Args:
        folder: What `export` wrote.
        model: The checkpoint.
        features: (T, F) features of each utterance of the evaluation set.
        truth: Class index of each utterance.
        audio: (n_samples,) waveforms that the features were computed from, for the files that take audio.
        tolerances: What is acceptable.
        n_threads: Threads of each runtime.
        progress: Called with (done, total, what) after each utterance.

    Returns:
        A report per file of the manifest; before them, one of `manifest.json` if that is of another model or was
        changed, and one per exported file that is there and not in the manifest.

    Raises:
        ExportError: There is no manifest or it is damaged.
        ValueError: There are no utterances, or not one class index, or one waveform, for each.
    """
    folder = Path(folder)
    utterances = [np.asarray(array, dtype=np.float32) for array in features]
    check_evaluation(utterances, truth, len(model.config.labels), audio)
    waveforms = None if audio is None else [np.asarray(array) for array in audio]
    tolerances = _with_one_exception(tolerances or DEFAULT_TOLERANCES, len(utterances), truth)
    manifest = Manifest.read(folder)
    expected = _reference_logits(model, utterances)

    opened = {entry.name: _opened(folder, entry, model, n_threads) for entry in manifest.files}
    runnable = {name: result for name, result in opened.items() if isinstance(result, ExportedModel)}
    logits, failures = _run_in_turn(runnable, utterances, waveforms, progress)
    reports = [*_manifest_complaints(folder, manifest, model), *_unlisted(folder, manifest)]
    for entry in manifest.files:
        problem = opened[entry.name] if entry.name not in runnable else failures.get(entry.name)
        if problem is not None:
            reports.append(FileReport(entry.name, complaint=f"{entry.name}: {problem}"))
            continue
        figures = _figures(entry.name, logits[entry.name].values, expected, truth)
        partner = float_twin(entry.name)
        timed = replace(figures, milliseconds=logits[entry.name].milliseconds)
        if partner in logits:
            timed = replace(timed, float_milliseconds=logits[partner].milliseconds)
        reports.append(replace(timed, complaint=_complaint(timed, entry.quantization, tolerances)))
    return reports


def _with_one_exception(tolerances: Tolerances, count: int, truth: Sequence[int] | None) -> Tolerances:
    """Widens shares that a single utterance of the evaluation set would exceed."""
    if count < LEAST_FOR_ONE_EXCEPTION:
        return tolerances
    agreement, ua_loss = min(tolerances.int8_agreement, 1 - 1 / count), tolerances.ua_loss
    if truth is not None:
        counts = np.unique(np.asarray(truth), return_counts=True)[1]
        ua_loss = max(ua_loss, 1 / float(counts.min() * len(counts)))
    return replace(tolerances, int8_agreement=agreement, ua_loss=ua_loss)


def unweighted_accuracy(truth: Sequence[int], decision: ArrayLike) -> float:
    """Mean over the classes present of the share of their utterances recognised (unweighted average recall)."""
    return float(recall_score(truth, decision, labels=np.unique(truth), average="macro"))


def check_evaluation(
    utterances: Sequence[ArrayLike],
    truth: Sequence[int] | None,
    n_labels: int,
    audio: Sequence[ArrayLike] | None = None,
) -> None:
    """Refuses an evaluation set that is empty or whose classes do not fit.

    Raises:
        ValueError: The message says which.
    """
    if not utterances:
        raise ValueError("features is empty; give at least one utterance to verify with")
    if audio is not None and len(audio) != len(utterances):
        raise ValueError(f"audio has {len(audio)} waveforms, features has {len(utterances)}; give one each")
    if truth is None:
        return
    if len(truth) != len(utterances):
        raise ValueError(f"truth has {len(truth)} entries, features has {len(utterances)}; give one each")
    if not all(0 <= label < n_labels for label in truth):
        raise ValueError(f"truth holds a class index outside of 0..{n_labels - 1}; use the order of the model's labels")


def reference_twin(model: reference.SATN) -> reference.SATN:
    """The plain PyTorch model with the same weights, in float32 on the CPU."""
    twin = reference.SATN(model.config).eval()
    twin.load_state_dict({name: tensor.detach().float().cpu() for name, tensor in model.state_dict().items()})
    return twin


@torch.no_grad()
def _reference_logits(model: reference.SATN, utterances: Sequence[Array]) -> Array:
    """(N, n_labels) of the plain PyTorch model."""
    twin = reference_twin(model)
    return np.concatenate([twin(torch.from_numpy(features)[None]).logits.numpy() for features in utterances])


def _manifest_complaints(folder: Path, manifest: Manifest, model: reference.SATN) -> list[FileReport]:
    problem = _disagreement(manifest.labels, manifest.front_end, model)
    if not problem and not manifest.intact:
        problem = "was changed since it was written, its sha256 does not fit or is missing; export the model again"
    return [FileReport(MANIFEST, complaint=f"{folder / MANIFEST}: {problem}")] if problem else []


def _unlisted(folder: Path, manifest: Manifest) -> list[FileReport]:
    """Complaints of files that nothing is known of, such as those of a former export."""
    names = [name for name in MODEL_FILES if (folder / name).exists()]
    strangers = set(names) - {entry.name for entry in manifest.files}
    return [
        FileReport(name, complaint=f"{name}: is not in the manifest; remove it, or export the model again")
        for name in names
        if name in strangers
    ]


def _disagreement(labels: Sequence[str], front_end: dict[str, object], model: reference.SATN) -> str:
    """Says where labels or front-end settings differ from the checkpoint's; empty if nowhere."""
    config = model.config
    if tuple(labels) != config.labels:
        return f"its labels are {list(labels)}, the checkpoint's {list(config.labels)}; export the model again"
    if plain(front_end) != plain(config.front_end):
        return f"its front end is {dict(front_end)}, the checkpoint's {dict(config.front_end)}; export the model again"
    return ""


def _opened(folder: Path, entry: FileEntry, model: reference.SATN, n_threads: int) -> ExportedModel | str:
    """The loaded file, or what is wrong with it."""
    path = folder / entry.name
    if not path.is_file():
        return "is missing; export the model again"
    size, digest = path.stat().st_size, sha256(path)
    if size != entry.bytes or digest != entry.sha256:
        return (
            f"is not the file of the manifest ({size} bytes and sha256 {digest[:12]}..., "
            f"{entry.bytes} and {entry.sha256[:12]}... expected); export the model again"
        )
    try:
        exported = load(path, n_threads=n_threads)
    except (ExportError, ImportError) as error:
        return str(error).removeprefix(f"{path}: ")
    return _disagreement(exported.labels, exported.front_end, model) or exported


@dataclass(frozen=True)
class _Run:
    """Logits (N, n_labels) of one file, and the median time of one utterance."""

    values: Array
    milliseconds: float


def _run_in_turn(
    models: dict[str, ExportedModel],
    utterances: Sequence[Array],
    waveforms: Sequence[NDArray[Any]] | None,
    progress: Progress | None,
) -> tuple[dict[str, _Run], dict[str, str]]:
    """Runs every utterance through every model, one model after the other, so that all see the same machine."""
    logits: dict[str, list[Array]] = {name: [] for name in models}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    failures: dict[str, str] = {}
    if waveforms is None:
        failures = {name: _NO_AUDIO for name, model in models.items() if model.takes_audio}
    every = -(-len(utterances) // TIMED_UTTERANCES)
    for done, features in enumerate(utterances):
        for name, model in models.items():
            if name in failures:
                continue
            heard = waveforms[done] if waveforms is not None and model.takes_audio else features
            try:
                logits[name].append(model(heard))
                if done % every == 0:
                    seconds[name].append(_seconds(model, heard))
            except ExportError as error:
                failures[name] = str(error).removeprefix(f"{model.name}: ")
        if progress is not None:
            progress(done + 1, len(utterances), "verifying")
    runs = {
        name: _Run(np.stack(rows), 1e3 * float(np.median(seconds[name])))
        for name, rows in logits.items()
        if name not in failures
    }
    return runs, failures


def _seconds(model: ExportedModel, heard: NDArray[Any]) -> float:
    """Time of one run, after one that prepared the runtime for this length."""
    start = time.perf_counter()
    model(heard)
    return time.perf_counter() - start


def _figures(name: str, logits: Array, expected: Array, truth: Sequence[int] | None) -> FileReport:
    error = np.abs(logits.astype(np.float64) - expected)
    decision, wanted = logits.argmax(-1), expected.argmax(-1)
    report = FileReport(
        name,
        max_logit_error=float(error.max()),
        mean_logit_error=float(error.mean()),
        agreement=float((decision == wanted).mean()),
    )
    if truth is None:
        return report
    ua = unweighted_accuracy(truth, decision)
    return replace(report, ua=ua, ua_loss=unweighted_accuracy(truth, wanted) - ua)


def _complaint(report: FileReport, quantization: str, tolerances: Tolerances) -> str:
    """What exceeds its tolerance, in one line. A comparison with NaN counts as exceeded."""
    problems = []
    error, agreement, ua_loss = report.max_logit_error, report.agreement, report.ua_loss
    assert error is not None
    assert agreement is not None
    if quantization == "float32" and not error <= tolerances.float_logit_error:
        problems.append(f"a logit is off by {error:.2g}, {tolerances.float_logit_error:g} is allowed")
    if quantization == "int8" and not agreement >= tolerances.int8_agreement:
        problems.append(
            f"decides like the checkpoint on {agreement:.1%} of the utterances, "
            f"{tolerances.int8_agreement:.1%} is needed"
        )
    if ua_loss is not None and not ua_loss <= tolerances.ua_loss:
        problems.append(f"loses {ua_loss:.3f} of unweighted accuracy, {tolerances.ua_loss:.3f} is allowed")
    return f"{report.name}: {'; '.join(problems)}" if problems else ""

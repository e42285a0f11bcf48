"""Results of protocols: a small JSON file for each variant, `benchmarks/results/recognition/<protocol>/<variant>.json`.

It holds figures of every fold and seed, and what they were reached with; no probabilities. It is written anew whenever
something is finished, and what is in it is not done again.
"""

import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recognition.baselines import Baseline, cross_validate
from benchmarks.recognition.functionals import functionals
from benchmarks.recognition.protocols import Prepared, ProtocolError
from satn_fast import SATN
from satn_fast.evaluation import (
    Predictions,
    expected_calibration_error,
    join,
    read_predictions,
    score,
    summarise,
    ua_interval,
)
from satn_fast.files import atomic_write
from satn_fast.training.options import default_steps
from satn_fast.training.recipes import train
from satn_fast.training.run import describe_data, describe_software
from satn_fast.training.settings import EmotionSettings

RESULTS = Path(__file__).parents[1] / "results" / "recognition"
SHUFFLED = "-shuffled"

Record = dict[str, Any]
Progress = Callable[[int, int], None]

_NOT_COMPARABLE = "folds share speakers between training and test: not comparable with folds of whole speakers"
_HEARD_TESTED = "uses the recordings of the tested speakers, without their labels"
_PACKAGES = ("opensmile", "scikit-learn")

DECIDED = ("folds", "leave_out", "seed", "seeds", "jobs", "cache")
"""Settings that the protocol and the command decide."""

# Numbers do not depend on these, or only in their last digits.
_FREE = ("accelerator", "devices", "nodes", "precision", "keep")


def results_file(results: Path, prepared: Prepared, variant: str) -> Path:
    """Where results of a variant are kept."""
    return results / prepared.protocol.name / f"{variant}{SHUFFLED if prepared.shuffled else ''}.json"


def read_all(results: Path, protocol: str) -> list[Record]:
    """Every kept result of a protocol: baselines, then ours, those with shared speakers last."""
    found = [read(path) for path in sorted((results / protocol).glob("*.json"))]
    return sorted(found, key=lambda record: (not record["comparable"], record["kind"] != "baseline"))


def read(path: Path) -> Record:
    """A kept result; nothing where there is none.

    Raises:
        ProtocolError: It is damaged.
    """
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: record[name] for name in ("protocol", "variant", "kind", "comparable", "trainings")} | record
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"{path}: is no result of a protocol ({error!r}); remove it, and run it again") from error


def confusion_of(record: Record) -> np.ndarray:
    """(L, L) counts of all folds and seeds together."""
    return np.sum([training["confusion"] for training in record["trainings"]], axis=0)


def run_baseline(
    prepared: Prepared, baseline: Baseline, *, cache: Path, results: Path, start: Callable[[str], Progress]
) -> Record:
    """Runs a baseline in the folds of a protocol, unless its result is kept.

    Args:
        prepared: The protocol.
        baseline: What recognises.
        cache: Folder of functionals.
        results: Folder of results.
        start: Starts a progress bar.

    Raises:
        ProtocolError: A result of other data is kept.
    """
    path, data = results_file(results, prepared, baseline.variant), _data(prepared)
    record = read(path)
    if record:
        _check_same(path, record, {"data": data, "settings": _baseline_settings(baseline)})
        return record
    features = functionals(prepared.utterances, baseline.features, cache, start(f"features, {baseline.features}"))
    advance = start(baseline.variant)
    done = list(
        cross_validate(baseline, features, prepared.utterances, prepared.protocol.labels, prepared.names, advance)
    )
    chosen = {one.predictions.folds[0]: {"c": one.chosen_c} for one in done}
    head = {
        "title": baseline.title,
        "kind": "baseline",
        "notes": [_HEARD_TESTED] if baseline.per_speaker else [],
        "parameters": (features.shape[1] + 1) * _pairs(len(prepared.protocol.labels)),
        "settings": _baseline_settings(baseline),
        "data": data,
    }
    return _keep(path, prepared, baseline.variant, head, join(one.predictions for one in done), chosen)


def run_ours(
    prepared: Prepared,
    variant: str,
    changes: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    jobs: int,
    folder: Path,
    results: Path,
    start: Callable[[str], Callable[..., None]],
    notify: Callable[[str], None],
) -> Record:
    """Trains in the folds of a protocol with every seed that has no kept result, and keeps each as it ends.

    Args:
        prepared: The protocol.
        variant: Name of the settings.
        changes: Settings that are not the defaults of `satn-fast train`.
        seeds: Trainings of each fold.
        jobs: How many at a time.
        folder: Of the runs.
        results: Folder of results.
        start: Starts a progress bar.
        notify: Told what somebody should know.

    Raises:
        ProtocolError: Results of other settings or data are kept by that name.
    """
    path = results_file(results, prepared, variant)
    every = EmotionSettings.read(changes).plain()
    head: Record = {
        "title": f"SATN, {variant}",
        "kind": "satn",
        "notes": [_HEARD_TESTED] if changes.get("normalization") == "speaker" else [],
        "parameters": None,
        "changes": dict(changes),
        "settings": {name: value for name, value in every.items() if name not in (*DECIDED, *_FREE)}
        | {"default_steps": default_steps(len(prepared.utterances))},
        "data": _data(prepared),
    }
    record = read(path)
    _check_same(path, record, head)
    below = folder / path.stem
    for seed in seeds:
        if seed in {training["seed"] for training in record.get("trainings", ())}:
            continue
        settings = EmotionSettings.read(
            {"cache": str(folder / "cache"), "folds": str(prepared.folds), "jobs": jobs, "seed": seed} | dict(changes)
        )
        predictions = train(prepared.manifest, settings, below / f"seed-{seed}", start=start, notify=notify)
        if predictions is None:
            raise ProtocolError(f"{prepared.folds}: left nothing out; give at least two folds")
        head["parameters"] = _parameters(below / f"seed-{seed}")
        before = record.get("trainings", [])
        others = [below / f"seed-{other}" / "predictions.csv" for other in {training["seed"] for training in before}]
        known = [read_predictions(other) for other in others if other.exists()]
        record = _keep(path, prepared, variant, head, join([*known, predictions]), before=before)
    return record


def _keep(
    path: Path,
    prepared: Prepared,
    variant: str,
    head: Mapping[str, Any],
    predictions: Predictions,
    about: Mapping[str, Mapping[str, Any]] | None = None,
    before: Sequence[Record] = (),
) -> Record:
    """Writes a result; of trainings whose predictions are gone, the figures stay as they were."""
    found = {(one["fold"], one["seed"]): one for one in [*before, *_trainings(predictions, about or {})]}
    trainings = [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]
    record = {
        "protocol": prepared.protocol.name,
        "variant": path.stem,
        "comparable": not prepared.shuffled,
        **head,
        "notes": [*head["notes"], *([_NOT_COMPARABLE] if prepared.shuffled else [])],
        "labels": list(prepared.protocol.labels),
        "speakers": len({utterance.speaker for utterance in prepared.utterances}),
        "seeds": sorted({one["seed"] for one in trainings}),
        "ua": over_seeds(trainings),
        "ua_interval": ua_interval(predictions).as_dict() | {"seeds": len(set(predictions.seeds))},
        "probabilities": probabilities_of(predictions) if head["kind"] == "satn" else None,
        "date": datetime.now(UTC).date().isoformat(),
        **described_software(),
        "trainings": trainings,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(_as_text(record), encoding="utf-8")
    return record


def over_seeds(trainings: Sequence[Record]) -> Record:
    """UA over all folds together: of each seed, their mean and deviation; and the mean over folds and seeds."""
    seeds: dict[int, list[Any]] = {}
    for one in trainings:
        seeds.setdefault(one["seed"], []).append(one["confusion"])
    every = [_recall(np.sum(confusions, axis=0)) for _, confusions in sorted(seeds.items())]
    return {
        "by_seed": [round(ua, 4) for ua in every],
        "mean": round(float(np.mean(every)), 4),
        "deviation": round(float(np.std(every, ddof=1)), 4) if len(every) > 1 else None,
        "mean_of_folds": round(float(np.mean([one["ua"] for one in trainings])), 4),
    }


def probabilities_of(predictions: Predictions) -> Record:
    """What probabilities are worth: their calibration error with each seed, and UA of their mean over several seeds."""
    every = [_of_seed(predictions, seed) for seed in sorted(set(predictions.seeds), key=str)]
    errors = [expected_calibration_error(one.probabilities, one.truth) for one in every]
    together = np.mean([one.probabilities for one in every], axis=0)
    averaged = score(every[0].truth, together.argmax(1), predictions.labels).ua
    return {
        "ece_by_seed": [round(error, 4) for error in errors],
        "ece": round(float(np.mean(errors)), 4),
        "ua_averaged": round(averaged, 4) if len(every) > 1 else None,
    }


def _of_seed(predictions: Predictions, seed: int | None) -> Predictions:
    """In the order of the files, which is the same for all seeds."""
    rows = [row for row, other in enumerate(predictions.seeds) if other == seed]
    return predictions.take(np.array(sorted(rows, key=lambda row: predictions.files[row])))


def _recall(confusion: np.ndarray) -> float:
    said = confusion.sum(1)
    return float((confusion.diagonal()[said > 0] / said[said > 0]).mean())


def _trainings(predictions: Predictions, about: Mapping[str, Mapping[str, Any]]) -> list[Record]:
    """Figures of each fold and seed."""
    found = []
    for fold in summarise(predictions).folds:
        of_fold = predictions.take(np.array(predictions.folds) == fold)
        for seed, metrics in summarise(of_fold).seeds.items():
            chosen = of_fold.take(np.array(of_fold.seeds) == seed)
            figures = {"fold": fold, "seed": seed, "ua": round(metrics.ua, 4), "wa": round(metrics.wa, 4)}
            confusion = {"confusion": chosen.metrics().confusion.tolist()}
            found.append(figures | dict(about.get(fold, {})) | confusion)
    return found


def _as_text(record: Mapping[str, Any]) -> str:
    """JSON with one training a line."""
    head = json.dumps({name: value for name, value in record.items() if name != "trainings"}, indent=1)
    lines = ",\n".join("  " + json.dumps(one) for one in record["trainings"])
    return head.removesuffix("\n}") + f',\n "trainings": [\n{lines}\n ]\n}}\n'


def _check_same(path: Path, record: Record, head: Mapping[str, Any]) -> None:
    """Refuse results of other data, or with other values of settings; a setting that is new since then is none."""
    if not record:
        return
    there, here = ({"data": one["data"]["sha256"]} | one["settings"] for one in (record, head))
    if different := [name for name in there if name in here and there[name] != here[name]]:
        listed = ", ".join(f"{name} ({there[name]} there, {here[name]} here)" for name in different)
        raise ProtocolError(
            f"{path}: holds results with another {listed}; give these another --name, or remove the file"
        )


def _data(prepared: Prepared) -> Record:
    found = describe_data(prepared.manifest, prepared.utterances)
    return {name: found[name] for name in ("sha256", "utterances")}


def described_software() -> Record:
    """Versions, commit, machine and command, without this machine's folders."""
    found = describe_software()
    found["command"] = ["python", "-m", "benchmarks.recognition", *without_places(found.pop("arguments", sys.argv[1:]))]
    found["versions"] |= {name: importlib.metadata.version(name) for name in _PACKAGES if _is_there(name)}
    return found


def _is_there(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _baseline_settings(baseline: Baseline) -> Record:
    return {"features": baseline.features, "per_speaker": baseline.per_speaker}


def _pairs(labels: int) -> int:
    return labels * (labels - 1) // 2


def _parameters(folder: Path) -> int | None:
    """Of the first model in a folder of runs; `None` where no model was kept."""
    found = next(iter(sorted(folder.rglob("model.safetensors"))), None)
    return None if found is None else sum(one.numel() for one in SATN.from_pretrained(found.parent).parameters())


def without_places(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command without the folders that it reads and writes: they are each machine's own.

    Example:
        >>> without_places(["run", "emodb-loso", "--corpora", "/home/me/corpora", "--seeds", "5", "-o", "runs"])
        ['run', 'emodb-loso', '--corpora', 'CORPORA', '--seeds', '5']
    """
    left, kept = list(arguments), []
    while left:
        argument = left.pop(0)
        if argument in ("--output", "-o", "--results"):
            left[:1] = []
        elif argument == "--corpora":
            kept += [argument, "CORPORA"]
            left[:1] = []
        else:
            kept.append(argument)
    return kept

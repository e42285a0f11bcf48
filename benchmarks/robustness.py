"""How well emotions are recognised where the recording is not a studio's: UA and calibration under each condition.

    python -m benchmarks.robustness runs/plain runs/augmented --manifest MANIFEST --protocol emodb-speakers

Each RUN is the folder of a cross-validation (`satn-fast train --leave-out`, with or without `--conditions`). The model
of each fold and seed hears the utterances that it was trained without, under every condition and strength, the same
noise for all models. OUTPUT gets a record of each run, pictures and a table of all; with `--protocol`, the records are
kept in `benchmarks/results/robustness/PROTOCOL/`. Without a RUN, pictures and tables of all that is kept are written
between two comments of docs/results.md.
"""

import json
import os
import shlex
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks import robustness_page as page
from satn_fast import SATN, LogMel
from satn_fast.audio import read_audio
from satn_fast.cli.terminal import bar, output, progress_bars, warn
from satn_fast.data import Utterance, read_manifest
from satn_fast.evaluation import (
    Predictions,
    evaluate_utterances,
    expected_calibration_error,
    join,
    read_run,
    summarise,
    utterance_name,
)
from satn_fast.files import atomic_write
from satn_fast.training import normalize_per_speaker
from satn_fast.training.conditions import (
    Codec,
    Condition,
    Cut,
    Level,
    Noise,
    Reverberation,
    Telephone,
    codec_problem,
)
from satn_fast.training.extraction import part_of
from satn_fast.training.run import SETTINGS, describe_data, describe_software

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results" / "robustness"
DOCUMENT = REPOSITORY / "docs" / "results.md"

Waveform = NDArray[np.float32]
Figures = dict[str, Any]

CLEAN = "clean"

# Voices that babble draws six of, for each utterance.
VOICES = 48

# Below, the models of a run did not hear what they heard when they were evaluated: roundings change fewer decisions.
LEAST_AGREEMENT = 0.99


@dataclass(frozen=True)
class Ladder:
    """A kind of condition at several strengths, the mildest first.

    Attributes:
        name: Of the kind.
        strengths: In the unit that the pages name.
        make: Gives the condition of a strength; the second argument is voices for babble.
    """

    name: str
    strengths: tuple[float, ...]
    make: Callable[[float, Sequence[Waveform]], Condition]


LADDERS = (
    Ladder("level", (-30, -20, -10, 10, 20), lambda gain, _: Level(gain)),
    Ladder("clipping", (6, 12, 20), lambda gain, _: Level(gain, clip=True)),
    Ladder("white noise", (30, 20, 10, 5, 0), lambda snr, _: Noise(snr, "white")),
    Ladder("pink noise", (30, 20, 10, 5, 0), lambda snr, _: Noise(snr, "pink")),
    Ladder("babble", (30, 20, 10, 5, 0), lambda snr, voices: Noise(snr, "babble", voices)),
    Ladder("telephone", (64,), lambda _, __: Telephone()),
    Ladder("room", (0.2, 0.4, 0.6, 0.8, 1.0), lambda rt60, _: Reverberation(rt60)),
    Ladder("Opus", (32, 24, 16, 12, 8, 6), lambda kilobits, _: Codec(kilobits, "opus")),
    Ladder("MP3", (32, 24, 16, 8), lambda kilobits, _: Codec(kilobits, "mp3")),
    Ladder("cut", (3, 2, 1, 0.5), lambda seconds, _: Cut(seconds)),
)


class Point(NamedTuple):
    """One condition at one strength; `CLEAN` at 0 is the recording as it is."""

    kind: str
    strength: float


class Model(NamedTuple):
    """One of a run's models."""

    run: str
    fold: str
    seed: int
    folder: Path


class Part(NamedTuple):
    """Utterances, and every model that was trained without them."""

    utterances: list[Utterance]
    models: list[Model]


def main(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN...", help="Folders of cross-validations.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="What they were trained and evaluated on.")] = None,
    folder: Annotated[Path, typer.Option("--output", "-o")] = Path("runs/robustness"),
    protocol: Annotated[str | None, typer.Option(help="Keep the records under this name, of corpus and folds.")] = None,
    kinds: Annotated[str, typer.Option(help="Kinds of conditions, between commas, or all.")] = "all",
    babble: Annotated[
        Path | None, typer.Option(help="Whose voices are babble; by default the corpus' other folds.")
    ] = None,
) -> None:
    """Measures runs under every condition, or writes the page of all that is kept."""
    if not runs:
        with atomic_write(DOCUMENT) as temporary:
            temporary.write_text(page.filled(DOCUMENT, RESULTS), encoding="utf-8")
        return
    if manifest is None:
        raise typer.BadParameter("give the --manifest that the runs were trained on")
    measured = measure(runs, manifest, _chosen(kinds), babble)
    for figures in measured:
        _write(folder / f"{figures['run']}.json", figures)
        if protocol is not None:
            _write(RESULTS / protocol / f"{figures['run']}.json", figures)
    table = "\n".join(page.table(measured))
    with atomic_write(folder / "table.md") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    for quantity in page.QUANTITIES:
        with atomic_write(folder / f"{quantity}.png") as temporary:
            temporary.write_bytes(page.curves(measured, quantity))
    output.print(table, highlight=False, markup=False, soft_wrap=True)


def measure(
    runs: Sequence[Path], manifest: Path, ladders: Sequence[Ladder] = LADDERS, babble: Path | None = None
) -> list[Figures]:
    """UA and calibration error of every run under every condition.

    Args:
        runs: Folders of cross-validations.
        manifest: Of the utterances that they left out.
        ladders: Conditions.
        babble: Manifest of voices for babble; by default they are of the corpus, of speakers who are in another fold.

    Raises:
        ValueError: Two runs have the same name, a run has no model of a fold, or an utterance is not in the manifest.
    """
    utterances = read_manifest(manifest)
    voices = None if babble is None else read_manifest(babble)
    if len({folder.name for folder in runs}) < len(runs):
        raise ValueError(f"{', '.join(map(str, runs))}: two runs have the same name; rename a folder")
    kept = {folder: _renamed(read_run(folder).predictions, utterances, manifest, folder) for folder in runs}
    parts = _parts(kept, utterances)
    found: dict[str, dict[Point, list[Predictions]]] = {folder.name: {} for folder in runs}
    points = [Point(CLEAN, 0.0), *(Point(ladder.name, strength) for ladder in ladders for strength in ladder.strengths)]
    steps = len(points) * sum(len(part.utterances) for part in parts)
    with progress_bars() as bars, ThreadPoolExecutor() as pool:
        advance, done = bar(bars, "conditions"), 0
        for part in parts:
            others = voices or _of_others(utterances, part)
            for point, said in _heard(part, points, ladders, others, pool):
                for model, predictions in said:
                    found[model.run].setdefault(point, []).append(predictions)
                done += len(part.utterances)
                advance(done, steps, note=f"{part.models[0].fold}, {point.kind} {point.strength:g}")
    about = _about(manifest, utterances, babble)
    joined = {name: {point: join(of) for point, of in by_point.items()} for name, by_point in found.items()}
    for folder in runs:
        _check_clean(folder, joined[folder.name][points[0]], kept[folder])
    return [_figures(folder, joined[folder.name], about) for folder in runs]


def _heard(
    part: Part,
    points: Sequence[Point],
    ladders: Sequence[Ladder],
    others: Sequence[Utterance],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Point, list[tuple[Model, Predictions]]]]:
    """What every model of a part says under each condition."""
    makes = {ladder.name: ladder.make for ladder in ladders}
    models = [(model, SATN.from_pretrained(model.folder)) for model in part.models]
    names = [utterance_name(utterance).rpartition("/")[2] for utterance in part.utterances]
    chosen = np.random.default_rng(0).permutation(len(others))[:VOICES]
    speakers = [utterance.speaker for utterance in part.utterances]
    rates = sorted({LogMel(**network.config.front_end).sample_rate for _, network in models})
    waveforms = {rate: [_waveform(utterance, rate) for utterance in part.utterances] for rate in rates}
    voices = {rate: [_waveform(others[row], rate) for row in chosen] if "babble" in makes else [] for rate in rates}
    for point in points:
        features: dict[str, list[torch.Tensor]] = {}
        said = []
        for model, network in models:
            front_end = LogMel(**network.config.front_end)
            key = json.dumps([front_end.describe(), network.config.normalization == "speaker"])
            if key not in features:
                rate = front_end.sample_rate
                condition = None if point.kind == CLEAN else makes[point.kind](point.strength, voices[rate])
                heard = pool.map(partial(_under, condition, point.kind, rate), names, waveforms[rate])
                per_speaker = network.config.normalization == "speaker"
                features[key] = _features(list(heard), front_end, speakers if per_speaker else None)
            predictions = evaluate_utterances(network, part.utterances, features[key], fold=model.fold, seed=model.seed)
            said.append((model, predictions))
        yield point, said


def _of_others(utterances: Sequence[Utterance], part: Part) -> list[Utterance]:
    """The rest of the corpus, without the part's speakers, unless they are all that there are."""
    speakers, own = {utterance.speaker for utterance in part.utterances}, set(map(utterance_name, part.utterances))
    strangers = [utterance for utterance in utterances if utterance.speaker not in speakers]
    return strangers or [utterance for utterance in utterances if utterance_name(utterance) not in own]


def _under(condition: Condition | None, kind: str, rate: int, name: str, waveform: Waveform) -> Waveform:
    """A waveform under a condition. Noise and room are the utterance's own, the same at every strength."""
    if condition is None:
        return waveform
    return condition(waveform, rate, np.random.default_rng((zlib.crc32(name.encode()), zlib.crc32(kind.encode()))))


def _features(waveforms: Sequence[Waveform], front_end: LogMel, speakers: Sequence[str] | None) -> list[torch.Tensor]:
    """Features of all; with `speakers`, standardised per speaker, as a model asks for that was trained so."""
    padded, lengths = front_end.batch(waveforms)
    features = [torch.from_numpy(frames[:n].astype(np.float32)) for frames, n in zip(padded, lengths, strict=True)]
    return features if speakers is None else normalize_per_speaker(features, speakers, notify=lambda said: None)


def _waveform(utterance: Utterance, rate: int) -> Waveform:
    return part_of(utterance, read_audio(utterance.file, rate, mix=True))


def _renamed(predictions: Predictions, utterances: Sequence[Utterance], manifest: Path, folder: Path) -> Predictions:
    """Predictions with the manifest's names of files, whose folders may have moved since."""
    names = {utterance_name(utterance) for utterance in utterances}
    ends = Counter(name.rpartition("/")[2] for name in names)
    known = {name: name for name in names} | {end: name for name in names if ends[end := name.rpartition("/")[2]] == 1}
    files = []
    for file in predictions.files:
        name = known.get(file) or known.get(file.rpartition("/")[2])
        if name is None:
            raise ValueError(f"{folder}: left out {file}, which is not in {manifest}; give the run's manifest")
        files.append(name)
    return replace(predictions, files=tuple(files))


def _parts(kept: Mapping[Path, Predictions], utterances: Sequence[Utterance]) -> list[Part]:
    """What was left out together, with its models; runs with the same folds share the work."""
    by_name = {utterance_name(utterance): utterance for utterance in utterances}
    parts: dict[tuple[str, ...], Part] = {}
    for folder, predictions in kept.items():
        models = _models(folder)
        left_out: dict[tuple[str, int], list[str]] = {}
        for file, fold, seed in zip(predictions.files, predictions.folds, predictions.seeds, strict=True):
            left_out.setdefault((fold, seed or 0), []).append(file)
        for key, files in left_out.items():
            if key not in models:
                raise ValueError(f"{folder}: has predictions of fold {key[0]!r}, seed {key[1]}, but not its model")
            same = tuple(sorted(files))
            part = parts.setdefault(same, Part([by_name[file] for file in same], []))
            part.models.append(Model(folder.name, *key, models[key]))
    return list(parts.values())


def _models(run: Path) -> dict[tuple[str, int], Path]:
    """Folder of the model of each fold and seed."""
    found = {}
    for path in sorted(run.glob("*/seed-*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[record.get("left_out") or "", record["seed"]] = path.parent
    return found


def _check_clean(folder: Path, clean: Predictions, kept: Predictions) -> None:
    """Says so if the models decide otherwise than when the run was evaluated."""
    decided = dict(zip(zip(kept.files, kept.folds, kept.seeds, strict=True), kept.decisions, strict=True))
    ours = zip(clean.files, clean.folds, clean.seeds, strict=True)
    alike = np.mean([decided[key] == decision for key, decision in zip(ours, clean.decisions, strict=True)])
    if alike < LEAST_AGREEMENT:
        warn(
            f"{folder}: its models decide {1 - alike:.1%} of the unchanged recordings otherwise than predictions.csv "
            "says; is the manifest, or a file of it, another one?"
        )


def _figures(folder: Path, found: Mapping[Point, Predictions], about: Figures) -> Figures:
    """The record of a run."""
    clean = next(iter(found.values()))
    kinds: dict[str, dict[str, list[float | None]]] = {}
    for point, predictions in found.items():
        for name, value in _scored(predictions, point.strength).items():
            kinds.setdefault(point.kind, {}).setdefault(name, []).append(value)
    return {
        "run": folder.name,
        "trained_with": _trained_with(folder),
        "labels": list(clean.labels),
        "folds": len(set(clean.folds)),
        "seeds": len(set(clean.seeds)),
        "utterances": len(set(clean.files)),
        **about,
        "kinds": kinds,
    }


def _scored(predictions: Predictions, strength: float) -> dict[str, float | None]:
    """UA and expected calibration error: mean over the seeds, and deviation (n - 1) where there are several."""
    ua = summarise(predictions).over_seeds["ua"]
    seeds = np.array(predictions.seeds)
    errors = [
        expected_calibration_error(predictions.probabilities[rows], predictions.truth[rows])
        for rows in (np.flatnonzero(seeds == seed) for seed in sorted(set(predictions.seeds), key=str))
    ]
    deviation = None if len(errors) < 2 else float(np.std(errors, ddof=1))
    values = {"ua": ua.mean, "ua_deviation": ua.deviation, "ece": float(np.mean(errors)), "ece_deviation": deviation}
    return {"strength": strength} | {key: None if value is None else round(value, 4) for key, value in values.items()}


def _trained_with(folder: Path) -> str:
    """The conditions that a run was trained with."""
    import yaml

    settings = folder / SETTINGS
    there = yaml.safe_load(settings.read_text(encoding="utf-8")) if settings.is_file() else None
    return str((there or {}).get("conditions", "none"))


def _about(manifest: Path, utterances: Sequence[Utterance], babble: Path | None) -> Figures:
    """With what it was measured; no path outside of the working folder."""
    import soundfile

    software = describe_software()
    software["versions"] |= {"soundfile": soundfile.__version__, "libsndfile": soundfile.__libsndfile_version__}
    del software["arguments"]
    arguments = [_short(argument) for argument in sys.argv[1:]]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.robustness", *arguments]),
        "data": describe_data(manifest, utterances) | {"manifest": manifest.name},
        "babble": "speakers of other folds" if babble is None else babble.name,
        **software,
    }


def _short(argument: str) -> str:
    if not os.path.isabs(argument):
        return argument
    inside = Path(argument).is_relative_to(Path.cwd())
    return os.path.relpath(argument) if inside else Path(argument).name


def _chosen(kinds: str) -> list[Ladder]:
    """The ladders of that name, without those of a codec that there is none of."""
    known = {ladder.name.lower(): ladder for ladder in LADDERS}
    names = list(known) if kinds == "all" else [word.strip().lower() for word in kinds.split(",")]
    if unknown := sorted(set(names) - set(known)):
        raise typer.BadParameter(f"--kinds names {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = []
    for name, ladder in known.items():
        problem = codec_problem(name) if name in ("opus", "mp3") and name in names else None
        if problem is not None:
            warn(f"{ladder.name} is left out: {problem}")
        elif name in names:
            chosen.append(ladder)
    return chosen


def _write(path: Path, figures: Figures) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(page.as_json(figures) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

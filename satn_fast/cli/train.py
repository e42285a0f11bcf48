"""`satn-fast pretrain` and `satn-fast train`: the source task, and emotion recognition."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from satn_fast.cli.settings import ConfigurationFile, takes
from satn_fast.cli.terminal import bar, messages, output, progress_bars, results, warn
from satn_fast.training.settings import EmotionSettings, SourceSettings

if TYPE_CHECKING:
    from satn_fast.evaluation import Deviation, Predictions

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="CSV of utterances, from `satn-fast prepare`.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The run folder.")]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what is in the folder.")]


@takes(SourceSettings)
def pretrain(
    manifest: Manifest,
    destination: Output,
    settings: SourceSettings,
    config: ConfigurationFile = None,
    restart: Restart = False,
) -> None:
    """Learn a source task, whose attention can be transferred: speech recognition, or rebuilding features.

    The run folder holds the model, every setting (run.yaml), what was done and reached (run.json), logs, and a
    checkpoint: the same command takes a killed run up, and comes to the same numbers.

    **Examples**

        satn-fast prepare synthetic runs/synthetic -o runs/synthetic.csv

        satn-fast pretrain runs/synthetic.csv --output runs/source

        satn-fast pretrain librispeech.csv --targets characters --preset base --epochs 40 -o runs/source
    """
    from satn_fast.training.recipes import pretrain as run
    from satn_fast.training.run import is_first_process

    with progress_bars(hidden=not is_first_process()) as bars, _interruptible():
        best = run(manifest, settings, destination, restart=restart, start=partial(bar, bars), notify=_warn_once)
    if is_first_process():
        _print_figures(best)
        _say_where(destination)


@takes(EmotionSettings)
def train(
    manifest: Manifest,
    destination: Output,
    settings: EmotionSettings,
    config: ConfigurationFile = None,
    restart: Restart = False,
) -> None:
    """Learn to recognise emotions, with or without attention transferred from a source model.

    The run folder holds the model, every setting (run.yaml), what was done and reached (run.json), logs, and a
    checkpoint: the same command takes a killed run up, and comes to the same numbers. The speakers to evaluate on
    never choose the model.

    **Examples**

        satn-fast train emotions.csv --output runs/emotion

        satn-fast train emotions.csv --source runs/source --transfer both --output runs/transfer --seed 1

        satn-fast train emotions.csv --leave-out speaker --seeds 5 --jobs 4 --output runs/folds

        satn-fast train emotions.csv --folds published.csv --output runs/published

        satn-fast train emotions.csv --config runs/emotion/run.yaml --steps 6000 --output runs/longer

        torchrun --nnodes 2 --nproc-per-node 8 $(which satn-fast) train emotions.csv --nodes 2 --devices 8 -o runs/large
    """
    from satn_fast.training.recipes import train as run
    from satn_fast.training.run import RunFolder, is_first_process

    with progress_bars(hidden=not is_first_process()) as bars, _interruptible():
        left_out = run(manifest, settings, destination, restart=restart, start=partial(bar, bars), notify=_warn_once)
    if not is_first_process():
        return
    if left_out is not None:
        _print_folds(left_out)
    elif "best" in RunFolder(destination).record:
        _print_figures(RunFolder(destination).record["best"])
    _say_where(destination)


def _print_figures(best: dict[str, float]) -> None:
    table = results(*(name.replace("_", " ") for name in best))
    table.add_row(*(f"{value:.0f}" if name == "epoch" else f"{value:.3f}" for name, value in best.items()))
    output.print(table)


def _print_folds(left_out: "Predictions") -> None:
    from satn_fast.evaluation import summarise, ua_interval

    summary, interval = summarise(left_out), ua_interval(left_out)
    table = results("left out", "UA", "WA", "macro-F1")
    for fold, found in summary.folds.items():
        table.add_row(escape(fold), f"{found.ua:.1%}", f"{found.wa:.1%}", f"{found.macro_f1:.1%}")
    for name, deviations in (("mean of folds", summary.over_folds), ("mean of seeds", summary.over_seeds)):
        table.add_row(name, *(_with_deviation(deviations[figure]) for figure in ("ua", "wa", "macro_f1")))
    output.print(table)
    output.print(
        f"UA {interval.value:.1%}, {interval.low:.1%} to {interval.high:.1%}: {interval.method}.",
        highlight=False,
        soft_wrap=True,
    )


def _with_deviation(figure: "Deviation") -> str:
    return f"{figure.mean:.1%}" + ("" if figure.deviation is None else f" ± {figure.deviation:.1%}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Says what becomes of a training that somebody stops."""
    try:
        yield
    except KeyboardInterrupt:
        _warn_once("stopped; the same command goes on after the last epoch that was finished")
        raise


def _warn_once(message: str) -> None:
    """Not by every process that trains."""
    from satn_fast.training.run import is_first_process

    if is_first_process():
        warn(message)


def _say_where(destination: Path) -> None:
    messages.print(f"wrote {destination}", highlight=False, markup=False, soft_wrap=True)

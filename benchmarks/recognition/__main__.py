"""The commands: run a protocol, its baselines, tables and pictures of what was kept."""

import json
import os
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from benchmarks.recognition.baselines import BASELINES
from benchmarks.recognition.exported import measure_exported
from benchmarks.recognition.kept import DECIDED, RESULTS, Record, read_all, run_baseline, run_ours
from benchmarks.recognition.protocols import Prepared, choose_protocol, prepare, read_protocols
from benchmarks.recognition.tables import draw_confusions, protocol_table, render
from satn_fast.cli.terminal import bar, output, progress_bars, results, warn
from satn_fast.training.settings import EmotionSettings

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

PROTOCOL = Annotated[str, typer.Argument(help="Its name in benchmarks/protocols/protocols.toml.")]
CORPORA = Annotated[Path, typer.Option(help="The folder of all corpora.")]
FOLDER = Annotated[Path, typer.Option("--output", "-o", help="Where manifests, features and runs go.")]
KEPT = Annotated[Path, typer.Option("--results", help="Where results are kept.")]
SHARED = Annotated[
    bool, typer.Option("--shuffled", help="As many random folds that share speakers; marked as not comparable.")
]


@app.command()
def run(
    protocol: PROTOCOL,
    corpora: CORPORA,
    seeds: Annotated[int, typer.Option(help="Trainings of each fold.")] = 5,
    jobs: Annotated[int, typer.Option(help="Trainings at a time.")] = 1,
    name: Annotated[str, typer.Option(help="Of the settings, for results and tables.")] = "defaults",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of `satn-fast train`.")
    ] = None,
    with_baselines: Annotated[bool, typer.Option("--baselines/--no-baselines")] = True,
    shuffled: SHARED = False,
    folder: FOLDER = Path("runs/recognition"),
    kept: KEPT = RESULTS,
) -> None:
    """Trains and evaluates in every fold, with every seed; what is finished is not done again.

    **Example**

        python -m benchmarks.recognition run ravdess-reslstm --corpora CORPORA --seeds 5 --jobs 2
    """
    settings = read_changes(changes or [])
    prepared = _prepared(protocol, corpora, folder, shuffled)
    with progress_bars() as bars:
        if with_baselines:
            _run_baselines(prepared, folder, kept, partial(bar, bars))
        run_ours(
            prepared,
            name,
            settings,
            seeds=range(seeds),
            jobs=jobs,
            folder=folder / prepared.protocol.name,
            results=kept,
            start=partial(bar, bars),
            notify=warn,
        )
    _show(read_all(kept, protocol))


@app.command()
def baselines(
    protocol: PROTOCOL,
    corpora: CORPORA,
    shuffled: SHARED = False,
    folder: FOLDER = Path("runs/recognition"),
    kept: KEPT = RESULTS,
) -> None:
    """Functionals of openSMILE and of our front end into a linear SVM, in the folds of a protocol."""
    prepared = _prepared(protocol, corpora, folder, shuffled)
    with progress_bars() as bars:
        _run_baselines(prepared, folder, kept, partial(bar, bars))
    _show(read_all(kept, protocol))


@app.command()
def exported(
    protocol: PROTOCOL,
    corpora: CORPORA,
    name: Annotated[str, typer.Option(help="Of the settings that were trained.")] = "defaults",
    seeds: Annotated[int, typer.Option(help="Trainings of each fold.")] = 5,
    folder: FOLDER = Path("runs/recognition"),
    kept: KEPT = RESULTS,
) -> None:
    """Exports the models of every fold to int8, and evaluates the files on the fold: UA, size and time.

    **Example**

        python -m benchmarks.recognition exported ravdess-reslstm --corpora CORPORA
    """
    prepared = _prepared(protocol, corpora, folder, False)
    with progress_bars() as bars:
        record = measure_exported(
            prepared, name, seeds=range(seeds), folder=folder / protocol, results=kept, start=partial(bar, bars)
        )
    shown = results("file", "KB", "UA %", "decides alike", "ms")
    shown.add_row("checkpoint", "", f"{100 * record['ua']:.1f}", "", "")
    for file in record["files"]:
        figures = (f"{100 * file['ua']:.1f}", f"{100 * file['agreement']:.1f} %", f"{file['milliseconds']:.2f}")
        shown.add_row(file["name"], f"{file['bytes'] / 1024:.0f}", *figures)
    output.print(shown)


@app.command("table")
def show_tables(
    document: Annotated[
        Path | None, typer.Argument(help="Write the tables between its comments; without it, all are printed.")
    ] = None,
    kept: KEPT = RESULTS,
) -> None:
    """Tables of what was kept, beside what others published; a document gets confusion matrices, too.

    **Example**

        python -m benchmarks.recognition table docs/results.md
    """
    protocols = read_protocols()
    if document is not None:
        for name in render(document, protocols, kept):
            output.print(f"wrote the table of {name}", highlight=False)
        return
    for protocol in protocols.values():
        if read_all(kept, protocol.name):
            lines = [f"<!-- recognition: {protocol.name} -->", *protocol_table(protocol, kept)]
            output.print(
                "\n".join([*lines, "<!-- end of recognition -->"]), highlight=False, markup=False, soft_wrap=True
            )


@app.command()
def confusion(
    folder: FOLDER = Path("runs/recognition/images"),
    kept: KEPT = RESULTS,
) -> None:
    """Draws the confusion matrix of everything that was kept."""
    for protocol in read_protocols().values():
        for path in draw_confusions(protocol, kept, folder):
            output.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)


def read_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Settings from `name=value`; a value is JSON where it can be read so and the setting is no text.

    Raises:
        ValueError: There is no such setting, it is one that the protocol decides, or a part has no `=`.
    """
    known = {one.name for one in fields(EmotionSettings)} - set(DECIDED)
    texts = {name for name, hint in get_type_hints(EmotionSettings).items() if hint in (str, str | None)}
    found: dict[str, Any] = {}
    for change in changes:
        name, sign, value = change.partition("=")
        if not sign or name not in known:
            raise ValueError(f"--set {change}: is not NAME=VALUE with one of {', '.join(sorted(known))}")
        found[name] = value if name in texts else _plain(value)
    EmotionSettings.read(found)
    return found


def _plain(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _prepared(protocol: str, corpora: Path, folder: Path, shuffled: bool) -> Prepared:
    return prepare(choose_protocol(protocol), corpora, folder / protocol, shuffled=shuffled)


def _run_baselines(prepared: Prepared, folder: Path, kept: Path, start: Any) -> None:
    for baseline in BASELINES:
        run_baseline(prepared, baseline, cache=folder / "features", results=kept, start=start)


def _show(records: Sequence[Record]) -> None:
    shown = results("variant", "UA %", "±", "trainings")
    for record in records:
        ua = record["ua"]
        deviation = "" if ua["deviation"] is None else f"{100 * ua['deviation']:.1f}"
        shown.add_row(record["variant"], f"{100 * ua['mean']:.1f}", deviation, str(len(record["seeds"])))
    output.print(shown)


def main() -> None:
    """Errors are one line, unless SATN_FAST_DEBUG is set."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("SATN_FAST_DEBUG"):
            raise
        warn(" ".join(str(error).split()))
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()

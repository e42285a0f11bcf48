"""`satn-fast prepare`: a manifest from a corpus as it is published, and what the corpus holds."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from satn_fast.cli.terminal import bar, messages, output, progress_bars, results, warn
from satn_fast.data.corpora import (
    CORPORA,
    LayoutError,
    Preparation,
    Problems,
    parse_labels,
    read_corpus,
    write_audformat,
)
from satn_fast.data.inspection import Inspection
from satn_fast.data.manifest import write_manifest
from satn_fast.data.summary import Share, Summary, inspect_corpus, summarise


class OnError(StrEnum):
    """What to do with a file that cannot be used."""

    stop = "stop"
    skip = "skip"


_SHOWN_ROWS = 12
_SHOWN_PROBLEMS = 10


def prepare(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help=f"One of {', '.join(CORPORA)}.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder of the corpus (for manifest: the file).")],
    destination: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write (CSV).")],
    pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="For pattern: has the groups label and speaker; others become columns."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="OLD=NEW,...", help="Change the label map; nothing after = leaves a label out."),
    ] = None,
    merge_excited: Annotated[
        bool | None,
        typer.Option("--merge-excited/--keep-excited-apart", help="For iemocap: excited is happy (default), or not."),
    ] = None,
    improvised_only: Annotated[
        bool, typer.Option("--improvised-only", help="For iemocap: leave the scripted dialogues out.")
    ] = False,
    table: Annotated[str | None, typer.Option(help="For audformat: the table with the labels.")] = None,
    label_column: Annotated[str | None, typer.Option(help="For audformat, audio-folder, huggingface.")] = None,
    speaker_column: Annotated[str | None, typer.Option(help="For audformat, audio-folder, huggingface.")] = None,
    audio_column: Annotated[str | None, typer.Option(help="For huggingface, with several of audio.")] = None,
    unknown_speakers: Annotated[
        bool, typer.Option("--unknown-speakers", help="For huggingface: go without a column of speakers.")
    ] = False,
    configuration: Annotated[
        str | None, typer.Option(help="For huggingface: which one, where README.md names several.")
    ] = None,
    extract_to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For huggingface: where its audio goes; default: MANIFEST-audio."),
    ] = None,
    audformat: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write an audformat database to this folder.")
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="In Hz; files at other rates are warned of.")] = 16000,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Read no samples: faster, finds no clipped or silent files.")
    ] = False,
    on_error: Annotated[OnError, typer.Option(help="At a file that cannot be used: stop, or skip and name it.")] = (
        OnError.stop
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make a manifest of a corpus: file, label, speaker and what else the corpus says of each utterance.

    Prints the label map and how much there is of each label and speaker, and warns of what will harm a model. Every
    audio file is opened; nothing is written if one cannot be used, unless such files are skipped.

    **Examples**

        satn-fast prepare iemocap IEMOCAP_full_release --output iemocap.csv

        satn-fast prepare ravdess Audio_Speech_Actors_01-24 -o ravdess.csv --labels calm=neutral,surprised=

        satn-fast prepare pattern clips --pattern '(?P<speaker>[^/]+)/(?P<label>[^/]+)/' -o clips.csv

        satn-fast prepare huggingface datasets/emotions -o emotions.csv --label-column emotion --speaker-column actor

        satn-fast prepare manifest iemocap.csv -o same.csv --audformat iemocap-audformat
    """
    _check_destinations(destination, audformat, force=force)
    options: dict[str, Any] = {
        "pattern": pattern,
        "merge_excited": merge_excited,
        "improvised_only": improvised_only or None,
        "table": table,
        "label_column": label_column,
        "speaker_column": speaker_column,
        "audio_column": audio_column,
        "unknown_speakers": unknown_speakers or None,
        "configuration": configuration,
        "extract_to": extract_to or _audio_folder(corpus, destination),
    }
    preparation, inspections = _read(
        corpus,
        root,
        headers_only=headers_only,
        labels=parse_labels(labels) if labels else {},
        on_error=on_error.value,
        **{name: value for name, value in options.items() if value is not None},
    )
    summary = summarise(preparation, inspections, sample_rate=sample_rate)
    if audformat is not None:
        write_audformat(audformat, preparation.utterances, name=corpus)
    write_manifest(destination, preparation.utterances)
    if as_json:
        sys.stdout.write(json.dumps(summary.to_dict(), indent=2) + "\n")
    else:
        _print(summary)
    for problem in summary.problems[:_SHOWN_PROBLEMS]:
        warn(f"left out: {problem}")
    if len(summary.problems) > _SHOWN_PROBLEMS:
        warn(f"left out: {len(summary.problems) - _SHOWN_PROBLEMS} more; --json lists all")
    for message in summary.warnings:
        warn(message)
    for written in (destination, *([audformat] if audformat else [])):
        messages.print(f"wrote {written}", highlight=False, markup=False, soft_wrap=True)


def _check_destinations(destination: Path, audformat: Path | None, *, force: bool) -> None:
    """Before a long scan, not after it."""
    if destination.is_dir():
        raise LayoutError(f"{destination}: is a folder, the manifest is a file; add a name such as manifest.csv")
    for path in (destination, *([audformat / "db.yaml"] if audformat else [])):
        if path.exists() and not force:
            raise LayoutError(f"{path}: exists; choose another name, or replace it with --force")


def _audio_folder(corpus: str, destination: Path) -> Path | None:
    """The folder beside the manifest for audio that has no files of its own yet."""
    extracted = corpus in CORPORA and CORPORA[corpus].extract is not None
    return destination.with_name(f"{destination.stem}-audio") if extracted else None


def _read(corpus: str, root: Path, *, headers_only: bool, **options: Any) -> tuple[Preparation, dict[Path, Inspection]]:
    """A corpus, read and looked at, with progress bars."""
    with _late_bar("extracted") as advance:
        preparation = read_corpus(corpus, root, progress=advance, **options)
    problems = Problems(options["on_error"])
    with progress_bars() as bars:
        advance = bar(bars, "audio")
        usable, inspections = inspect_corpus(
            preparation.utterances, problems, headers_only=headers_only, progress=advance
        )
    if not usable:
        raise LayoutError(f"{root}: none of {len(preparation.utterances)} utterances can be used; {problems.found[0]}")
    found = (*preparation.problems, *problems.found)
    return replace(preparation, utterances=tuple(usable), problems=found), inspections


@contextmanager
def _late_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that is not shown before there is progress."""
    with ExitStack() as stack:
        shown: list[Callable[..., None]] = []

        def advance(done: int, total: int) -> None:
            if not shown:
                shown.append(bar(stack.enter_context(progress_bars()), description))
            shown[0](done, total)

        yield advance


def _print(summary: Summary) -> None:
    changes = results("in the corpus", "in the manifest", "left out")
    for old, new in summary.label_map.items():
        count = summary.left_out.get(old)
        changes.add_row(escape(old), "-" if new is None else escape(new), "" if count is None else str(count))
    output.print(changes)
    _print_shares("label", "speakers", summary.labels)
    _print_shares("speaker", "labels", summary.speakers)
    rates = ", ".join(f"{rate} Hz: {n}" for rate, n in summary.sample_rates.items())
    output.print(
        f"{summary.utterances} utterances in {summary.files} files ({rates}), {_clock(summary.seconds)}, "
        f"{len(summary.labels)} labels, {len(summary.speakers)} speakers",
        highlight=False,
        soft_wrap=True,
    )


def _print_shares(name: str, others: str, shares: Mapping[str, Share]) -> None:
    table = results(name, "utterances", "duration", others)
    for key, share in list(shares.items())[:_SHOWN_ROWS]:
        table.add_row(escape(key), str(share.utterances), _clock(share.seconds), str(share.counterparts))
    if len(shares) > _SHOWN_ROWS:
        table.add_row(f"and {len(shares) - _SHOWN_ROWS} more")
    output.print(table)


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"

"""Corpora as they are published, read to utterances. One module each, which shows the corpus's layout.

`read_corpus` reads any of them by name; `CORPORA` lists them. Audio is not opened here: `satn_fast.data.summary` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from satn_fast.data.corpora import cremad, emodb, iemocap, librispeech, nemo, ravdess
from satn_fast.data.corpora.audformat import read_audformat, write_audformat
from satn_fast.data.corpora.audio_folder import read_audio_folder
from satn_fast.data.corpora.embedded import extract_audio
from satn_fast.data.corpora.huggingface import read_huggingface
from satn_fast.data.corpora.labels import LabelMap, label_map, parse_labels, relabel
from satn_fast.data.corpora.layout import UNLABELLED, LayoutError, Problems
from satn_fast.data.corpora.pattern import read_pattern
from satn_fast.data.manifest import Utterance, read_manifest
from satn_fast.data.synthesis import render_corpus

__all__ = [
    "CORPORA",
    "Corpus",
    "LabelMap",
    "LayoutError",
    "Preparation",
    "Problems",
    "parse_labels",
    "read_corpus",
    "write_audformat",
]

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""

_NOTHING: Mapping[str, str | None] = MappingProxyType({})


def _read_manifest(root: Path, problems: Problems) -> list[Utterance]:
    utterances = []
    for row in read_manifest(root):
        if row.file.is_file():
            utterances.append(row)
        else:
            problems.report(f"{row.file}: no such file, but {root} lists it; copy it there")
    return utterances


def _render(root: Path, problems: Problems) -> list[Utterance]:
    return render_corpus(root)


@dataclass(frozen=True)
class Corpus:
    """How one corpus is read.

    Attributes:
        title: Its name as people write it.
        read: Gives the utterances below a folder, with the corpus's own labels.
        labels: What those labels become; `None` keeps them.
        options: Names of the further arguments that `read` takes.
        extract: Writes the audio of the utterances that stay to files, where it lies inside of something else.
    """

    title: str
    read: Callable[..., list[Utterance]]
    labels: LabelMap | None = None
    options: tuple[str, ...] = ()
    extract: Callable[[Sequence[Utterance], Problems, Progress], list[Utterance]] | None = None


_HUGGING_FACE_OPTIONS = (
    "extract_to",
    "configuration",
    "audio_column",
    "label_column",
    "speaker_column",
    "unknown_speakers",
)

CORPORA: Mapping[str, Corpus] = MappingProxyType(
    {
        "iemocap": Corpus("IEMOCAP", iemocap.read_iemocap, iemocap.LABELS, ("merge_excited", "improvised_only")),
        "ravdess": Corpus("RAVDESS", ravdess.read_ravdess, ravdess.LABELS),
        "emodb": Corpus("EMO-DB", emodb.read_emodb, emodb.LABELS),
        "cremad": Corpus("CREMA-D", cremad.read_cremad, cremad.LABELS),
        "nemo": Corpus("nEMO", nemo.read_nemo, nemo.LABELS),
        "librispeech": Corpus("LibriSpeech", librispeech.read_librispeech, librispeech.LABELS),
        "pattern": Corpus("file names by a pattern", read_pattern, options=("pattern",)),
        "audio-folder": Corpus(
            "Hugging Face audio folder", read_audio_folder, options=("label_column", "speaker_column")
        ),
        "huggingface": Corpus(
            "Hugging Face data set",
            read_huggingface,
            options=_HUGGING_FACE_OPTIONS,
            extract=extract_audio,
        ),
        "audformat": Corpus("audformat", read_audformat, options=("table", "label_column", "speaker_column")),
        "synthetic": Corpus("synthetic speech, rendered there", _render),
        "manifest": Corpus("a manifest of this library", _read_manifest),
    }
)


def _flag(option: str, value: object) -> str:
    """The option as it was written on the command line."""
    return "--keep-excited-apart" if option == "merge_excited" and not value else f"--{option.replace('_', '-')}"


def _why_none(left_out: Mapping[str, int]) -> str:
    if set(left_out) == {UNLABELLED}:
        return (
            "no utterance has a label; name the column that has them with --label-column where there is one, or keep "
            f"them so with --labels {UNLABELLED}={UNLABELLED}"
        )
    return "every utterance is left out by the label map; change it with --labels"


def _without_repetitions(utterances: list[Utterance], problems: Problems) -> list[Utterance]:
    """Each piece of audio once, as a manifest wants it."""
    seen: set[tuple[Path, float | None, float | None]] = set()
    kept = []
    for row in utterances:
        piece = (row.file, row.start, row.end)
        if piece in seen:
            problems.report(f"{row.file}: the same piece of audio is listed twice; drop one")
        else:
            seen.add(piece)
            kept.append(row)
    return kept


@dataclass(frozen=True)
class Preparation:
    """A corpus that was read.

    Attributes:
        corpus: Its name in `CORPORA`.
        utterances: With the new labels.
        labels: What became of each of the corpus's labels; `None`: left out.
        left_out: How many utterances were left out of each such label.
        problems: What could not be used, one line each.
    """

    corpus: str
    utterances: tuple[Utterance, ...]
    labels: Mapping[str, str | None]
    left_out: Mapping[str, int]
    problems: tuple[str, ...] = ()


def read_corpus(
    name: str,
    root: str | os.PathLike[str],
    *,
    labels: Mapping[str, str | None] = _NOTHING,
    on_error: str = "stop",
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> Preparation:
    """Read a corpus as it is published.

    Args:
        name: One of `CORPORA`.
        root: The folder it was unpacked to; for "manifest", the file.
        labels: Changes of its label map, by the corpus's label or the usual new one; `None` leaves a label out.
        on_error: "stop" at the first file that does not fit, or "skip" such files and list them.
        progress: Told of the recordings that are taken out of tables, where they lie in them ("huggingface").
        options: For "iemocap": `merge_excited` (default true) and `improvised_only`. For "pattern": `pattern`. For
            "audio-folder", "huggingface" and "audformat": `label_column`, `speaker_column`; for "audformat" also
            `table`. For "huggingface" also `extract_to` (a folder for the audio), `configuration`, `audio_column` and
            `unknown_speakers`.

    Raises:
        LayoutError: If the corpus is not known, does not take an option, or the folder is not laid out like it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for clip in ("03a01Fa.wav", "03a01Wa.wav", "08a01Na.wav"):
        ...     (folder / clip).touch()
        >>> corpus = read_corpus("emodb", folder, labels={"neutral": None})
        >>> [(row.speaker, row.label) for row in corpus.utterances], corpus.left_out
        ([('03', 'happy'), ('03', 'angry')], {'N': 1})
    """
    if name not in CORPORA:
        raise LayoutError(f"{name}: is no corpus known here; choose one of {', '.join(CORPORA)}")
    corpus = CORPORA[name]
    for option in options:
        if option not in corpus.options:
            takers = [other for other, entry in CORPORA.items() if option in entry.options]
            reason = f"it is for {', '.join(takers)}" if takers else "no corpus does"
            raise LayoutError(f"{name}: takes no {_flag(option, options[option])}; {reason}")
    problems = Problems(on_error)
    usual = corpus.labels
    if not options.pop("merge_excited", True):
        usual = iemocap.LABELS_EXCITED_APART
    found = _without_repetitions(corpus.read(Path(root), problems, **options), problems)
    mapping = label_map(found, usual, labels)
    utterances, left_out = relabel(found, mapping, problems)
    if not utterances:
        raise LayoutError(f"{os.fspath(root)}: {_why_none(left_out)}")
    if corpus.extract is not None:
        utterances = corpus.extract(utterances, problems, progress)
        if not utterances:
            raise LayoutError(f"{os.fspath(root)}: no recording can be used; {problems.found[0]}")
    return Preparation(name, tuple(utterances), mapping, left_out, tuple(problems.found))

"""Protocols as data: which corpus, which folds, what others reached. They stand in `benchmarks/protocols`."""

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from satn_fast.data import Utterance, read_folds, read_manifest, write_manifest
from satn_fast.data.corpora import read_corpus
from satn_fast.files import atomic_write

PROTOCOLS = Path(__file__).parents[1] / "protocols" / "protocols.toml"

CHOSEN, CONFIRM = "chosen", "confirm"


class ProtocolError(ValueError):
    """A protocol that is not known or cannot be used; the message names it and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What others reached.

    Attributes:
        name: Of the model.
        ua: Per cent.
        source: Where it is reported.
        differs: Why it is not quite the same thing.
        parameters: How many the model has, or `None`.
        deviation: Over trainings, per cent, or `None`.
    """

    name: str
    ua: float
    source: str
    differs: str
    parameters: int | None = None
    deviation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A corpus with folds.

    Attributes:
        name: By which it is called.
        title: In words.
        corpus: What `satn-fast prepare` calls it.
        root: Its folder, below that of all corpora or beside it.
        labels: What is told apart.
        folds: The CSV file with the fold of each speaker.
        source: Where the folds come from.
        settings: Whether settings were "chosen" on it, or it can "confirm" them.
        pattern: For the corpus `pattern`.
        relabel: Changes of the corpus's labels.
        published: Figures to stand beside.
    """

    name: str
    title: str
    corpus: str
    root: str
    labels: Sequence[str]
    folds: Path
    source: str
    settings: str
    pattern: str | None = None
    relabel: Mapping[str, str] = field(default_factory=dict)
    published: Sequence[Published] = ()

    def read(self, corpora: Path) -> list[Utterance]:
        """The utterances, with the labels of the protocol.

        Raises:
            ProtocolError: The corpus is not there, or has other labels.
        """
        found = [folder for folder in (corpora / self.root, corpora.parent / self.root) if folder.is_dir()]
        if not found:
            raise ProtocolError(f"{corpora / self.root}: no such folder; unpack the corpus of {self.name} there")
        options = {} if self.pattern is None else {"pattern": self.pattern}
        utterances = list(read_corpus(self.corpus, found[0], labels=self.relabel, **options).utterances)
        labels = sorted({utterance.label for utterance in utterances})
        if labels != list(self.labels):
            raise ProtocolError(
                f"{found[0]}: has the labels {', '.join(labels)}; {self.name} has {', '.join(self.labels)}"
            )
        return utterances


def read_protocols(path: Path = PROTOCOLS) -> dict[str, Protocol]:
    """Every protocol of a file, by its name.

    Raises:
        ProtocolError: An entry lacks something, or has something unknown.
    """
    with open(path, "rb") as file:
        entries = tomllib.load(file)
    return {name: _protocol(name, entry, path) for name, entry in entries.items()}


def choose_protocol(name: str, path: Path = PROTOCOLS) -> Protocol:
    """The protocol of that name.

    Raises:
        ProtocolError: There is none.
    """
    protocols = read_protocols(path)
    if name not in protocols:
        raise ProtocolError(f"{name}: is no protocol; choose one of {', '.join(protocols)}")
    return protocols[name]


def _protocol(name: str, entry: dict[str, Any], path: Path) -> Protocol:
    known = {one.name for one in fields(Protocol)} - {"name"}
    needed = known - {"pattern", "relabel", "published"}
    if wrong := sorted((set(entry) - known) | (needed - set(entry))):
        raise ProtocolError(f"{path}: {name} has too much or lacks {', '.join(wrong)}; it needs {sorted(needed)}")
    if entry["settings"] not in (CHOSEN, CONFIRM):
        raise ProtocolError(f"{path}: {name} has settings {entry['settings']!r}; write {CHOSEN} or {CONFIRM}")
    if list(entry["labels"]) != sorted(set(entry["labels"])):
        raise ProtocolError(f"{path}: {name} has labels {entry['labels']}; sort them, each once")
    published = tuple(Published(**figures) for figures in entry.get("published", ()))
    return Protocol(**entry | {"name": name, "folds": path.parent / entry["folds"], "published": published})


@dataclass(frozen=True)
class Prepared:
    """A protocol whose corpus was read.

    Attributes:
        protocol: Which one.
        manifest: Where its utterances are listed.
        folds: The CSV file with its folds.
        utterances: What the manifest lists.
        names: The fold of each utterance.
        shuffled: Whether the folds share speakers.
    """

    protocol: Protocol
    manifest: Path
    folds: Path
    utterances: Sequence[Utterance]
    names: Sequence[str]
    shuffled: bool


def prepare(protocol: Protocol, corpora: Path, folder: Path, *, shuffled: bool = False) -> Prepared:
    """Writes the manifest of a protocol to a folder.

    Args:
        protocol: What to prepare.
        corpora: The folder of all corpora.
        folder: Where to write.
        shuffled: Instead of the protocol's folds, as many random ones that share speakers, stratified by label.

    Raises:
        ProtocolError: The corpus cannot be used.
        FoldsError: The folds do not fit the corpus.
    """
    manifest = folder / "manifest.csv"
    write_manifest(manifest, protocol.read(corpora))
    utterances = read_manifest(manifest)
    names, folds = read_folds(protocol.folds, utterances), protocol.folds
    if shuffled:
        names, folds = _shuffled(utterances, len(set(names))), folder / "shuffled.csv"
        rows = [[utterance.file.as_posix(), fold] for utterance, fold in zip(utterances, names, strict=True)]
        with atomic_write(folds) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["file", "fold"], *rows])
    return Prepared(protocol, manifest, folds, utterances, names, shuffled)


def _shuffled(utterances: Sequence[Utterance], count: int) -> list[str]:
    labels = [utterance.label for utterance in utterances]
    names = np.empty(len(labels), dtype=object)
    parts = StratifiedKFold(count, shuffle=True, random_state=0).split(np.zeros(len(labels)), labels)
    for number, (_, left_out) in enumerate(parts, start=1):
        names[left_out] = str(number)
    return list(names)

"""The folder of a training run, which says by itself what was done: how, with what, on which data.

`run.yaml` holds every setting, and does the same again with `--config`. `run.json` holds what else decided the numbers
(versions, commit, data), how far the run is, and what came out. Beside them are the model (`model.safetensors`,
`config.json`), a checkpoint to take the run up from (`last.ckpt`) and `logs/`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from satn_fast.data import Utterance
from satn_fast.evaluation.runs import RECORD, RunError
from satn_fast.files import atomic_write
from satn_fast.training.settings import Settings
from satn_fast.training.trainer import CHECKPOINT

__all__ = ["RunFolder", "describe_data", "describe_software", "is_first_process"]

SETTINGS, _LOCK = "run.yaml", ".lock"

# What may differ when a run is taken up, because the numbers do not depend on it, or only in their last digits.
_FREE_SETTINGS = ("cache", "keep", "accelerator", "devices", "nodes", "precision", "jobs")

_PACKAGES = ("satn-fast", "torch", "pytorch-lightning", "triton", "numpy", "soxr")


class RunFolder:
    """A folder that one run at a time writes to.

    Args:
        path: The folder; made by `open`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` says; nothing where there is none.

        Raises:
            RunError: It is damaged.
        """
        try:
            found = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise RunError(f"{self.path / RECORD}: is damaged ({error}); start anew with --restart") from error
        return found if isinstance(found, dict) else {}

    def has_finished(self, notify: Callable[[str], None]) -> bool:
        """Whether a run has ended here; says so, or that one is taken up."""
        record = self.record
        finished = record.get("status") == "finished"
        if finished:
            notify(f"{self.path}: this run has finished already; train it again with --restart")
        elif (self.path / CHECKPOINT).exists():
            notify(f"{self.path}: takes up the run that stopped here")
        return finished

    @contextmanager
    def open(self, command: str, settings: Settings, about: Mapping[str, Any], *, restart: bool) -> Iterator[None]:
        """Holds the folder while the block runs; says in `run.json` what is done.

        A folder that holds the same run is taken up. With several processes only the first one writes.

        Args:
            command: `train` or `pretrain`.
            settings: All of them.
            about: What else decides the numbers, for `run.json`.
            restart: Forget what is there.

        Raises:
            RunError: Another process writes to the folder, or it holds another run.
        """
        if not is_first_process():
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if restart:
                self._forget()
            self._check_same(command, settings, about)
            self._write(command, settings, about)
            yield

    def finish(self, results: Mapping[str, Any]) -> None:
        """Adds what came out to `run.json`, and says that the run has ended."""
        if is_first_process():
            self._write_record(self.record | {"status": "finished"} | dict(results))

    def _write(self, command: str, settings: Settings, about: Mapping[str, Any]) -> None:
        import yaml

        with atomic_write(self.path / SETTINGS) as temporary:
            text = yaml.safe_dump(settings.plain(), sort_keys=False, allow_unicode=True)
            temporary.write_text(f"# satn-fast {command} MANIFEST --config {SETTINGS} --output FOLDER\n{text}")
        if self.record.get("status") != "finished":
            self._write_record({"command": command, "status": "running"} | dict(about) | describe_software())

    def _write_record(self, record: Mapping[str, Any]) -> None:
        with atomic_write(self.path / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")

    def _check_same(self, command: str, settings: Settings, about: Mapping[str, Any]) -> None:
        import yaml

        if not (self.path / SETTINGS).exists():
            if (self.path / "config.json").exists() or (self.path / CHECKPOINT).exists():
                raise RunError(f"{self.path}: holds a model of another kind; choose another --output")
            return
        try:
            there = yaml.safe_load((self.path / SETTINGS).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / SETTINGS}: is damaged; start anew with --restart") from error
        remedy = "choose another --output, or forget that run with --restart"
        record = self.record
        if record and record.get("command") != command:
            raise RunError(f"{self.path}: holds a run of {record.get('command')}; {remedy}")
        ours = settings.plain()
        different = [k for k in ours if k not in _FREE_SETTINGS and (there or {}).get(k) != ours[k]]
        if different:
            listed = ", ".join(f"{name} ({there.get(name)} there, {ours[name]} here)" for name in different)
            raise RunError(f"{self.path}: holds a run with other settings: {listed}; {remedy}")
        if record and record.get("data") != about.get("data"):
            raise RunError(f"{self.path}: holds a run on other data; {remedy}")

    def _forget(self) -> None:
        """Removes what a run writes at its top; other files stay."""
        for name in (SETTINGS, RECORD, CHECKPOINT, "config.json", "model.safetensors", "predictions.csv"):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            import fcntl
        except ImportError:  # Windows: nothing keeps two runs apart there
            yield
            return
        with open(self.path / _LOCK, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"{self.path}: another process trains into it; wait, or choose another folder"
                ) from error
            yield


def is_first_process() -> bool:
    """Whether this is the process that writes, of those that train together."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def describe_software() -> dict[str, Any]:
    """Versions, commit and machine, for `run.json`."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "arguments": sys.argv[1:],
    }


def describe_data(manifest: Path, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """What identifies the data: the hash covers labels, speakers, texts and every byte of the audio."""
    overall = hashlib.sha256()
    contents: dict[Path, str] = {}
    for utterance in utterances:
        if utterance.file not in contents:
            with open(utterance.file, "rb") as file:
                contents[utterance.file] = hashlib.file_digest(file, "sha256").hexdigest()
        row = [
            contents[utterance.file],
            utterance.label,
            utterance.speaker,
            utterance.session,
            utterance.start,
            utterance.end,
            utterance.text,
            sorted(utterance.extra.items()),
        ]
        overall.update(json.dumps(row).encode())
    return {"manifest": os.fspath(manifest), "sha256": overall.hexdigest(), "utterances": len(utterances)}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the working tree that this package runs from, with a + where files differ; `None` elsewhere."""
    here = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", os.fspath(here), "describe", "--always", "--abbrev=40", "--dirty=+"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

"""Results of a run of the suites: one JSON file and one CSV file for each device.

A file holds `machine` (device, versions, commit, date), `records` (one for each benchmark and peer, named by `suite`,
`case` and `peer`), and for CPUs also `skipped` and `failed` (with a `reason` each).
"""

import csv
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from satn_fast.files import atomic_write

RESULTS = Path(__file__).parent / "results"

Record = dict[str, Any]

# What the name of a file ends with that holds part of what another of the same day does.
PART = "-part"

# Skips with this beginning tell of a peer that is not installed; its name follows.
MISSING_PEER = "peer missing: "

_PACKAGES = (
    "satn-fast",
    "torch",
    "triton",
    "numpy",
    "ai-edge-litert",
    "asrfront",
    "kaldi-native-fbank",
    "librosa",
    "onnxruntime",
    "opensmile",
    "python_speech_features",
    "pytorch-tcn",
    "tflite-micro",
)


@dataclass(frozen=True)
class Results:
    """What one run found on one device.

    Attributes:
        machine: Device, versions, commit and date.
        records: What was measured.
        skipped: What could not run, each with its reason.
        failed: What computed something wrong, each with its reason.
        path: The file.
    """

    machine: Record
    records: list[Record]
    skipped: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    path: Path = Path()

    @property
    def device(self) -> str:
        """The device, such as `NVIDIA H200`."""
        return str(self.machine["device"])

    @property
    def missing_peers(self) -> list[str]:
        """Names of the peers that are not installed."""
        reasons = [str(skipped["reason"]) for skipped in self.skipped]
        return sorted({reason.removeprefix(MISSING_PEER) for reason in reasons if reason.startswith(MISSING_PEER)})


def key(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """What tells a record from the others of its file."""
    return record["suite"], record["case"], record.get("peer", "")


def where(nodeid: str) -> Record:
    """Suite and case of a benchmark, from pytest's name for it."""
    file, _, case = nodeid.partition("::")
    return {"suite": file.removeprefix("benchmarks/").removesuffix(".py"), "case": case}


def describe_machine(device: torch.device) -> Record:
    """The device, the versions and the commit that figures belong to."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else describe_processor(),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)},
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }


def describe_processor() -> str:
    """Model, cores and instruction set: ratios are not to be compared where one differs. Not the machine's own name."""
    from satn_fast.frontend import supported_isas

    return f"{processor_model()}, {_usable_cores()} cores, {supported_isas()[-1]}"


def write(folder: Path, results: Results) -> Path:
    """Writes <date>-<device>.json and .csv, each whole or not at all, and returns the first's path.

    Where that holds benchmarks which this run did not do, it stays, and this run is kept beside it as a part.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", results.device).strip("-").lower()
    path = folder / f"{results.machine['date']}-{name}.json"
    if path.is_file() and set(map(key, read(path).records)) - set(map(key, results.records)):
        path = path.with_stem(path.stem + PART)
    content = {
        "machine": results.machine,
        "records": results.records,
        "skipped": results.skipped,
        "failed": results.failed,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    columns = list(dict.fromkeys(name for record in results.records for name in record))
    with (
        atomic_write(path.with_suffix(".csv")) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in record.items()} for record in results.records)
    return path


def read(path: Path) -> Results:
    """Reads a results file.

    Raises:
        ValueError: It is none; the message says what is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        machine, records = content["machine"], content["records"]
        for name in ("device", "versions", "commit", "date"):
            machine[name]
        for record in records:
            key(record)
        lists = {name: content.get(name, []) for name in ("skipped", "failed")}
        for entry in [*lists["skipped"], *lists["failed"]]:
            key(entry), entry["reason"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: is no results file of the benchmarks ({type(error).__name__}: {error}); "
            "write one with: satn-fast bench --keep"
        ) from error
    return Results(machine, records, **lists, path=path)


def read_all(folder: Path = RESULTS) -> list[Results]:
    """Every kept file, the oldest first; parts are left out."""
    return [read(path) for path in sorted(folder.glob("*.json")) if not path.stem.endswith(PART)]


def latest(kept: Sequence[Results], device: str) -> Results | None:
    """The last kept results of a device."""
    return max((found for found in kept if found.device == device), key=_date, default=None)


def latest_of_each(kept: Sequence[Results]) -> list[Results]:
    """The last kept results of every device, by the device's name."""
    devices = sorted({results.device for results in kept})
    return [found for device in devices if (found := latest(kept, device)) is not None]


def _date(results: Results) -> str:
    return str(results.machine["date"])


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value


def processor_model(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name; where that does not tell one model from another, with the numbers that do."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    # Of the first core: the others' lines follow.
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    name = fields.get("model name") or platform.processor() or platform.machine()
    if any(character.isdigit() for character in name.partition("@")[0].replace("x86_64", "").replace("aarch64", "")):
        return name
    numbers = {"cpu family": "family", "model": "model", "stepping": "stepping", "CPU implementer": "implementer"}
    numbers |= {"CPU part": "part", "CPU revision": "revision"}
    said = [f"{short} {fields[long]}" for long, short in numbers.items() if long in fields]
    return f"{name} ({', '.join(said)})" if said else name


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _commit() -> str | None:
    """The commit, from git or, where there is only a copy of the tree, from the environment."""
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(describe, cwd=RESULTS.parent, capture_output=True, text=True)
    except FileNotFoundError:
        return os.environ.get("SATN_FAST_COMMIT")
    return done.stdout.strip() or os.environ.get("SATN_FAST_COMMIT")

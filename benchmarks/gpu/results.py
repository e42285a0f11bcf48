"""Results that are kept: one JSON file and one CSV file for each run of the suite."""

import csv
import datetime
import importlib.metadata
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parents[1] / "results"


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The device, the versions and the commit that figures belong to."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "triton", "numpy") if _installed(name)}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU (dry run)",
        "cuda": torch.version.cuda,
        "versions": versions,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }


def write(folder: Path, machine: dict[str, Any], records: list[dict[str, Any]]) -> Path:
    """Writes <date>-<device>.json and .csv, each whole or not at all, and returns the first's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", machine["device"]).strip("-").lower()
    path = folder / f"{machine['date']}-{name}.json"
    _replace(path, json.dumps({"machine": machine, "records": records}, indent=1) + "\n")
    columns = list(dict.fromkeys(key for record in records for key in record))
    table = path.with_suffix(".csv.part")
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)
    os.replace(table, path.with_suffix(".csv"))
    return path


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".json.part")
    part.write_text(text)
    os.replace(part, path)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _commit() -> str | None:
    """The commit, from git or, where there is only a copy of the tree, from the environment."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS.parent, capture_output=True, text=True)
    return done.stdout.strip() or os.environ.get("SATN_FAST_COMMIT")

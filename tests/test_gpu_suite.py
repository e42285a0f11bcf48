"""The benchmark suite for a GPU runs to its end and keeps its results; here with small shapes on the CPU."""

import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPERATIONS = {"causal_conv1d", "self_attention", "attention_transfer_loss", "attentive_pool", "model"}


def test_dry_run_keeps_a_record_of_every_race(tmp_path):
    suite = [sys.executable, "-m", "pytest", "--benchmark", "benchmarks/gpu", "--gpu-dry-run", "-q"]
    done = subprocess.run([*suite, f"--gpu-results={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    (path,) = tmp_path.glob("*.json")
    kept = json.loads(path.read_text())
    assert {record["benchmark"] for record in kept["records"]} == OPERATIONS
    assert kept["machine"]["device"] == "CPU (dry run)"
    assert kept["machine"]["versions"]["torch"]
    with path.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(kept["records"])
    assert all(float(row["speedup"]) > 0 for row in rows)


def test_a_wrong_result_is_not_timed(tmp_path):
    broken = tmp_path / "test_broken.py"
    broken.write_text(
        "import torch\n"
        "from benchmarks.gpu.conftest import *\n"
        "def test_broken(race):\n"
        "    exact = torch.ones(3, dtype=torch.float64)\n"
        "    race(lambda: torch.zeros(3), {'eager': lambda: torch.ones(3)}, exact=[exact], dtype=torch.float32)\n"
    )
    settings = ["--rootdir", ROOT, "-c", ROOT / "pyproject.toml", "-p", "conftest"]
    command = [sys.executable, "-m", "pytest", *settings, "--benchmark", broken, "--gpu-dry-run", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "errs by 1.00e+00" in done.stdout

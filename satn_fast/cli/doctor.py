"""`satn-fast doctor`: what this machine has, and which backend each operation will use."""

import json
import os
import platform
import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from rich.table import Table

from satn_fast import __version__
from satn_fast.cli.terminal import output

EXTRAS = {
    "train": ("huggingface_hub", "safetensors", "scikit-learn", "soundfile", "soxr"),
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("ai-edge-litert", "litert-quantizer", "tensorflow-cpu"),
    "demo": ("espeakng-loader", "jinja2"),
    "bench": ("pytest-benchmark",),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Tell what this machine has, which extras are installed, and which backend each operation will use.

    **Examples**

        satn-fast doctor

        satn-fast doctor --json
    """
    report = examine()
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    for title, rows in report.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows.items():
            table.add_row(name, str(value))
        output.print(table)


def examine() -> dict[str, dict[str, Any]]:
    """Everything that `doctor` shows, by section."""
    return {
        "machine": _machine(),
        "extras": {extra: _installed(packages) for extra, packages in EXTRAS.items()},
        "operations": _operations(),
    }


def _machine() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "satn-fast": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": ", ".join(gpus) or "none",
        "front end": _front_end(),
    }


def _front_end() -> str:
    try:
        from satn_fast.frontend import LogMel, supported_isas

        isa = LogMel().isa
    except (ImportError, ValueError) as error:
        return f"not usable: {error}"
    return f"uses {isa} of {', '.join(supported_isas())} (SATN_FAST_ISA chooses)"


def _installed(packages: tuple[str, ...]) -> str:
    versions, missing = [], []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        versions.append(f"missing: {', '.join(missing)}")
    return ", ".join(versions)


def _operations() -> dict[str, str]:
    return {
        "causal_conv1d": "PyTorch: channels_last convolution",
        "self_attention": "PyTorch: scaled_dot_product_attention, tiled where there is a window",
        "attention_transfer_loss": "PyTorch: builds both attention maps",
        "attentive_pool": "PyTorch",
    }

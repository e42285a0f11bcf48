"""`satn-fast doctor`: what this machine has, and which backend each operation will use."""

import json
import os
import platform
import sys
from dataclasses import asdict
from importlib import metadata
from typing import Annotated, Any

import typer
from rich.table import Table

from satn_fast import __version__
from satn_fast.cli.terminal import bar, output, progress_bars, results, warn

EXTRAS = {
    "train": ("huggingface_hub", "safetensors", "scikit-learn", "soundfile", "soxr"),
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("ai-edge-litert", "litert-quantizer", "tensorflow-cpu"),
    "demo": ("espeakng-loader", "jinja2"),
    "bench": ("pytest-benchmark",),
    "triton": ("triton",),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    architectures: Annotated[
        str | None,
        typer.Option(
            "--compile", metavar="ARCH,...", help="Instead, compile every GPU kernel for sm_80, sm_90, gfx942, ..."
        ),
    ] = None,
) -> None:
    """Tell what this machine has, which extras are installed, and which backend each operation will use.

    With --compile, compile every GPU kernel ahead of time for the named architectures (no GPU needed), and tell the
    registers, shared memory and spills of each. Exit code 1 if a kernel spills or needs too much shared memory.

    **Examples**

        satn-fast doctor

        satn-fast doctor --json

        satn-fast doctor --compile sm_80,sm_86,sm_90
    """
    if architectures is not None:
        _compile(architectures.split(","), as_json)
        return
    report = examine()
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    for title, rows in report.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows.items():
            table.add_row(name, str(value))
        output.print(table)


def _compile(architectures: list[str], as_json: bool) -> None:
    from satn_fast.kernels.compile_check import compile_all

    with progress_bars() as bars:
        compiled = compile_all(architectures, bar(bars, "compiling kernels"))
    if as_json:
        rows = [{**asdict(resources), "problem": resources.problem} for resources in compiled]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        table = results("kernel", "GPU", "registers", "shared memory", "spills")
        for resources in compiled:
            numbers = (resources.registers, resources.shared_memory, resources.spilled)
            table.add_row(resources.kernel, resources.architecture, *map(str, numbers))
        output.print(table)
    problems = [resources for resources in compiled if resources.problem]
    for resources in problems:
        warn(f"{resources.kernel} on {resources.architecture}: {resources.problem}")
    if problems:
        raise typer.Exit(1)


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


def _backend_of(on_torch: str) -> str:
    """What an operation with Triton kernels will use on the GPU, or on the CPU where there is none, and why."""
    import torch

    from satn_fast.kernels.backend import backend
    from satn_fast.kernels.triton_runtime import why_not

    reason = why_not("cuda" if torch.cuda.is_available() else "cpu", torch.float32)
    if backend() == "torch":
        return f"{on_torch} (backend 'torch' is chosen)"
    if reason is None and (backend() == "triton" or torch.cuda.is_available()):
        return "Triton kernels"
    if backend() == "triton":
        return f"fails, backend 'triton' is chosen, but {reason}"
    return f"{on_torch} (no Triton kernels: {reason or 'interpreted only where chosen'})"


def _operations() -> dict[str, str]:
    return {
        "causal_conv1d": _backend_of("PyTorch: channels_last convolution"),
        "self_attention": _backend_of("PyTorch: scaled_dot_product_attention, tiled where there is a window"),
        "attention_transfer_loss": _backend_of("PyTorch: builds both attention maps"),
        "attentive_pool": _backend_of("PyTorch"),
    }

"""Compiles every kernel ahead of time, for GPUs that need not be there, and reports what the compiler made of it.

Each operation with kernels lists its cases in `compile_cases.py`: the launches that it would make, on tensors without
memory. So what is checked here is what runs.
"""

import functools
import importlib
import importlib.util
import multiprocessing
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.triton_runtime import INTERPRETED, Architecture, Launch, architecture

OPERATIONS = ("causal_conv1d", "self_attention", "attention_transfer", "attentive_pool")

_TYPES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
}
# Fewer cases are compiled before another process has started.
_WORTH_PROCESSES = 8
# What to look for in the assembly, to see that a kernel is on the fast path of its architecture.
_INSTRUCTIONS = {
    "wgmma": r"wgmma\.mma_async",
    "mma": r"mma\.sync",
    "tma": r"cp\.async\.bulk\.tensor",
    "cp.async": r"cp\.async\.c[ag]",
    "mfma": r"v_mfma",
}


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel uses.

    Args:
        kernel: Name of the case.
        architecture: Name of the architecture.
        registers: Registers of a thread.
        shared_memory: Bytes of shared memory of a program.
        spilled: Bytes (AMD: registers) that did not fit into registers.
        shared_memory_limit: Bytes that a program may have.
        instructions: Which of wgmma, mma, tma, cp.async, mfma occur.
    """

    kernel: str
    architecture: str
    registers: int
    shared_memory: int
    spilled: int
    shared_memory_limit: int
    instructions: tuple[str, ...]

    @property
    def problem(self) -> str | None:
        """What is wrong with it, or `None`."""
        if self.spilled:
            return f"spills {self.spilled}"
        if self.shared_memory > self.shared_memory_limit:
            return f"needs {self.shared_memory} bytes of shared memory, has {self.shared_memory_limit}"
        return None


def compile_all(names: list[str], progress: Callable[[int, int], None] | None = None) -> list[Resources]:
    """Compiles every case of every operation for the named architectures, on all processors.

    Args:
        names: Architectures, such as `sm_80`, `sm_90`, `gfx942`.
        progress: Told how many cases are done, and how many there are.

    Raises:
        ValueError: A name is no architecture that the kernels support.
        RuntimeError: Triton interprets in this process.
        ImportError: Triton is not installed.
    """
    if importlib.util.find_spec("triton") is None:
        raise ImportError('compiling kernels needs Triton: pip install "satn-fast[triton]"')
    if INTERPRETED:
        raise RuntimeError("TRITON_INTERPRET=1 is set, and an interpreted kernel cannot be compiled; unset it")
    cases = [(name, launch, target) for target in map(architecture, names) for name, launch in cases_of(target)]
    if len(cases) < _WORTH_PROCESSES:
        return _collected((examine(*case) for case in cases), len(cases), progress)
    numbers = [
        (target.name, number) for target, group in groupby(cases, itemgetter(2)) for number, _ in enumerate(group)
    ]
    # New processes instead of forked ones: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return _collected(pool.map(_examine_numbered, *zip(*numbers, strict=True)), len(cases), progress)


def _collected(
    examined: Iterator[Resources], total: int, progress: Callable[[int, int], None] | None
) -> list[Resources]:
    compiled = []
    for resources in examined:
        compiled.append(resources)
        if progress:
            progress(len(compiled), total)
    return compiled


@functools.cache
def _cases_of(architecture_name: str) -> list[tuple[str, Launch]]:
    return list(cases_of(architecture(architecture_name)))


def _examine_numbered(architecture_name: str, number: int) -> Resources:
    """A launch cannot be sent to another process; its number can."""
    return examine(*_cases_of(architecture_name)[number], architecture(architecture_name))


def cases_of(target: Architecture) -> Iterator[tuple[str, Launch]]:
    """The names and launches that are compiled for an architecture."""
    for operation in OPERATIONS:
        yield from importlib.import_module(f"satn_fast.kernels.{operation}.compile_cases").compile_cases(target)


def examine(name: str, launch: Launch, target: Architecture) -> Resources:
    """Compiles one launch and reads the compiler's reports."""
    kernel = compile_launch(launch, target)
    if target.backend == "hip":
        assembly = kernel.asm["amdgcn"]
        registers, spilled = (_number(rf"\.{key}:\s+(\d+)", assembly) for key in ("vgpr_count", "vgpr_spill_count"))
    else:
        assembly = kernel.asm["ptx"]
        usage = _nvidia_usage(kernel.asm["cubin"])
        registers, spilled = (_number(rf"{key}:(\d+)", usage) for key in ("REG", "STACK"))
    found = tuple(name for name, pattern in _INSTRUCTIONS.items() if re.search(pattern, assembly))
    return Resources(
        name, target.name, registers, kernel.metadata.shared, spilled, target.shared_memory, instructions=found
    )


def compile_launch(launch: Launch, target: Architecture) -> Any:
    """Compiles the kernel for the types of its arguments; pointers are taken as aligned, as PyTorch allocates them."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
            continue
        signature[parameter.name] = _type_of(value)
        if isinstance(value, Tensor):
            attributes[(index,)] = [["tt.divisibility", 16]]
        elif isinstance(value, tuple):
            attributes.update({(index, item): [["tt.divisibility", 16]] for item in range(len(value))})
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    if target.backend == "hip":
        gpu = GPUTarget("hip", target.name, 64)
    else:
        gpu = GPUTarget("cuda", int(target.name.removeprefix("sm_")), 32)
    return triton.compile(source, target=gpu, options=launch.options)


def _type_of(value: Any) -> str | tuple[Any, ...]:
    """The type of an argument in Triton's notation; of a tuple of tensors, one each."""
    if isinstance(value, tuple):
        return tuple(map(_type_of, value))
    if isinstance(value, Tensor):
        return f"*{_TYPES[value.dtype]}"
    if isinstance(value, int):
        return "i32"
    if isinstance(value, float):
        return "fp32"
    block = ",".join(map(str, value.block_shape))
    return f"tensordesc<{_TYPES[value.base.dtype]}[{block}]>"


def _nvidia_usage(cubin: bytes) -> str:
    """Registers, stack and shared memory as `cuobjdump`, which comes with Triton, reports them."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True)
    return report.stdout + report.stderr


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"the compiler's report has no {pattern!r}:\n{text[:500]}")
    return int(match[1])

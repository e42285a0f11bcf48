"""What Triton needs to know about a machine, and how a kernel is launched.

Importing this needs neither Triton nor a GPU. Triton itself is imported by the `triton_*.py` files of the
operations, and those only when a kernel is about to be launched or compiled.
"""

import contextlib
import functools
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# The interpreter runs kernels on the CPU, without compiling them. It must be chosen before Triton is imported.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
OLDEST_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Architecture:
    """A GPU architecture as far as tile sizes depend on it.

    Args:
        backend: `"cuda"` or `"hip"`.
        name: `"sm_90"`, `"gfx942"`; `"interpreter"` for Triton's interpreter.
        shared_memory: Bytes of shared memory that one program may use.
        descriptors: Whether it copies tiles by tensor descriptors (the bulk copy engine of Hopper and later).
    """

    backend: str
    name: str
    shared_memory: int
    descriptors: bool

    @property
    def family(self) -> str:
        """The row of the tables of tile sizes that suits it."""
        if self.name == "interpreter":
            return "interpreter"
        if self.backend == "hip":
            return "amd"
        # Blackwell of the workstations has descriptors, but the shared memory of the small Amperes.
        return "hopper" if self.descriptors and self.shared_memory > 200_000 else "ampere"


INTERPRETER = Architecture("cuda", "interpreter", 2**31, descriptors=False)

# Triton uses all but 1 KB of what the hardware lets a program have.
_SHARED_MEMORY = {80: 166_912, 86: 101_376, 87: 166_912, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}


@functools.cache
def architecture(name: str) -> Architecture:
    """Looks an architecture up by its name, `sm_XY` or `gfxNNN`.

    Raises:
        ValueError: The name is of neither form, or the GPU is older than the kernels support.

    Example:
        >>> architecture("sm_90").descriptors
        True
    """
    if name.startswith("gfx"):
        return Architecture("hip", name, 65_536, descriptors=False)
    number = name.removeprefix("sm_")
    if not name.startswith("sm_") or not number.isdigit():
        raise ValueError(f"architecture is {name!r}; give sm_80, sm_86, sm_90, ... or gfx942")
    version = int(number)
    if divmod(version, 10) < OLDEST_CAPABILITY:
        raise ValueError(f"architecture is {name!r}; the kernels need sm_80 or newer")
    known = max(v for v in _SHARED_MEMORY if v <= version)
    return Architecture("cuda", name, _SHARED_MEMORY[known], descriptors=version >= 90)


@functools.cache
def architecture_of(device: torch.device) -> Architecture:
    """The architecture of a tensor's device."""
    if INTERPRETED:
        return INTERPRETER
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return architecture(properties.gcnArchName.split(":")[0])
    return architecture(f"sm_{properties.major}{properties.minor}")


@functools.cache
def n_processors(device: torch.device) -> int:
    """How many programs of a large tile the device runs side by side."""
    # In the interpreter: enough for small tests to share work out.
    return 16 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def why_not(device_type: str, dtype: torch.dtype) -> str | None:
    """Why the Triton kernels cannot compute with such tensors here; `None` where they can."""
    if importlib.util.find_spec("triton") is None:
        return 'Triton is not installed (pip install "satn-fast[triton]")'
    if dtype not in DTYPES:
        return f"the kernels compute in float32, float16 and bfloat16, not in {str(dtype).removeprefix('torch.')}"
    if INTERPRETED:
        return None
    if device_type != "cuda":
        return f"the tensors are on the {device_type}, and Triton runs on a GPU (TRITON_INTERPRET=1 interprets there)"
    if not torch.version.hip and torch.cuda.get_device_capability() < OLDEST_CAPABILITY:
        return f"{torch.cuda.get_device_name()} is older than compute capability 8.0"
    return None


def float32_precision() -> str:
    """How `tl.dot` multiplies float32: exactly, or in TF32 where PyTorch's own matrix products may do so."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def arithmetic(dtype: torch.dtype) -> str:
    """The column of the tables of tile sizes that suits a dtype: `"half"`, `"tf32"` or `"ieee"`."""
    return float32_precision() if dtype == torch.float32 else "half"


def descriptor(tensor: Tensor, block: Sequence[int]) -> Any:
    """A tensor descriptor for copies of `block`; what lies outside of the tensor reads as zero."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    return TensorDescriptor.from_tensor(tensor, list(block))


def fits_descriptor(*tensors: Tensor | None) -> bool:
    """Whether descriptors can address these contiguous tensors: everything aligned to 16 bytes."""
    return all(
        tensor.data_ptr() % 16 == 0 and tensor.shape[-1] * tensor.element_size() % 16 == 0
        for tensor in tensors
        if tensor is not None
    )


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """The tensor as kernels read it that take no strides."""
    return None if tensor is None else tensor.contiguous()


@dataclass(frozen=True)
class Launch:
    """One kernel launch, complete: what is run is also what `compile_check` compiles ahead of time.

    Args:
        kernel: The `triton.jit` function.
        grid: Number of programs.
        arguments: Every parameter by name: tensors, descriptors, numbers, compile-time constants.
        tuning: `num_warps` and `num_stages`.
    """

    kernel: Any
    grid: int
    arguments: dict[str, Any]
    tuning: dict[str, int]

    @property
    def options(self) -> dict[str, int | bool]:
        """All compile options. Multiply-add in one rounding is what PyTorch's kernels do; Triton wants it said."""
        return {**self.tuning, "enable_fp_fusion": True}

    def run(self, device: torch.device) -> None:
        """Launches on the current stream of the device."""
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            self.kernel[(self.grid,)](**self.arguments, **({} if INTERPRETED else self.options))


def ceil_div(numerator: int, denominator: int) -> int:
    """The quotient rounded up.

    Example:
        >>> ceil_div(7, 3)
        3
    """
    return -(-numerator // denominator)


def block_size(size: int, largest: int, smallest: int = 16) -> int:
    """The tile size for a dimension: the next power of two, within what `tl.dot` takes and what is fast.

    Example:
        >>> block_size(40, 128), block_size(300, 128), block_size(3, 128)
        (64, 128, 16)
    """
    return max(smallest, min(largest, 1 << (size - 1).bit_length()))

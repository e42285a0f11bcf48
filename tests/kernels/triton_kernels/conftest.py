"""The tests in this folder run the Triton kernels: on the GPU, or in the interpreter (`tests/kernels/test_triton.py`).

Without either they are not collected.
"""

import pytest
import torch

from satn_fast.kernels.backend import set_backend
from satn_fast.kernels.triton_runtime import INTERPRETED

collect_ignore_glob = [] if INTERPRETED or torch.cuda.is_available() else ["test_*.py"]

if INTERPRETED:
    from .interpreter_fix import round_bfloat16_correctly

    round_bfloat16_correctly()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not INTERPRETED:
        for item in items:
            if "triton_kernels" in item.path.parts:
                item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cpu" if INTERPRETED else "cuda")


@pytest.fixture(autouse=True)
def _triton():
    with set_backend("triton"):
        yield


@pytest.fixture(autouse=True)
def _poisoned_memory():
    """Every new tensor is full of NaN, so that an element that no kernel wrote is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)

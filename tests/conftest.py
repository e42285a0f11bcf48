"""Fixtures and set-up that every test shares."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

# Two cores are shared by everything: a slow machine is no failure, and a failure must be repeatable.
hypothesis.settings.register_profile("satn_fast", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("satn_fast")

# The models of the tests are tiny: a second thread would only wait for the first.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(0)


@pytest.fixture
def cuda() -> torch.device:
    """The GPU; tests that need it are marked `gpu` and skipped where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session")
def real_speech() -> Path:
    """The folder of real recordings; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SATN_FAST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "polish-emotions").is_dir():
        pytest.skip(f"no real speech at {folder}; set SATN_FAST_DATA to its folder")
    return folder

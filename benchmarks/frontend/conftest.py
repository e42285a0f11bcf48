"""Peers on one thread, unless a benchmark gives them more."""

import pytest
import torch
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):  # the threads of numpy's matrix products would go on spinning into our turn
        yield
    torch.set_num_threads(threads)

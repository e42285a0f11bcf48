"""Floors are below what is measured, and count what cannot be avoided."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.memory import peak_memory
from benchmarks.roofline import Work, model, visible_pairs
from satn_fast import SATNConfig, reference
from satn_fast.kernels.self_attention.reference import visible_keys
from satn_fast.timing import compare_in_turn


@given(st.integers(1, 40), st.none() | st.integers(1, 50))
def test_pairs_are_those_that_the_reference_lets_see_each_other(frames, window):
    q = torch.zeros(1, frames, 1, 1)
    assert visible_pairs(frames, window) == visible_keys(q, None, window).broadcast_to(1, 1, frames, frames).sum()


def test_a_product_and_a_copy_are_not_faster_than_their_floors():
    a, b = torch.randn(2, 300, 300)
    product = Work(2 * 300**3, 0)
    copy, target = torch.ones(2**20), torch.empty(2**20)
    measured = compare_in_turn(lambda: a @ b, lambda: target.copy_(copy), rounds=3)
    cpu = torch.device("cpu")
    # Ceilings are the best of several sizes and rounds; half as much again is for what else this machine may do.
    assert measured.ours > product.floors(cpu, torch.float32)["arithmetic"] / 1.5
    assert measured.peer > Work(0, 2**23).floors(cpu, torch.float32)["memory"] / 1.5


def test_model_counts_the_products_that_pytorch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    # The fast model multiplies in place, which the counter does not see.
    plain = reference.SATN(SATNConfig.preset("base")).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(torch.randn(2, 50, plain.config.n_features))
    counted = model(plain.config, [50, 50]).operations
    # The weighted sum of pooling is in neither; the classifier's few products are in one.
    assert abs(counted / counter.get_total_flops() - 1) < 0.02


def test_share_is_of_what_takes_longer():
    cpu, small = torch.device("cpu"), 1e3
    found = Work(1e12, small).share(1e3, cpu, torch.float32)
    assert (found["bound"], found["operations"], found["bytes"]) == ("arithmetic", 1e12, small)
    assert found["roofline_share"] == Work(1e12, small).floors(cpu, torch.float32)["arithmetic"] / 1e3
    assert Work(small, 1e12).share(1e3, cpu, torch.float32)["bound"] == "memory"


def test_parts_of_a_batch_are_added():
    config = SATNConfig.preset("edge")
    assert model(config, [30, 500]).operations == (model(config, [30]) + model(config, [500])).operations


def test_peak_memory_is_that_of_what_lives_at_once():
    def run():
        first = torch.ones(2**20)
        del first
        return torch.ones(2**20) + torch.ones(2**20)

    assert 3 * 2**22 <= peak_memory(run) < 4 * 2**22

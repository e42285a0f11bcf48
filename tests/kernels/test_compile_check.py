"""What the compiler makes of the kernels, without a GPU."""

import dataclasses

import pytest
import torch

pytest.importorskip("triton")

from satn_fast.kernels import compile_check
from satn_fast.kernels.attention_transfer import tiles as transfer_tiles
from satn_fast.kernels.attention_transfer import triton_backend as transfer
from satn_fast.kernels.attention_transfer.settings import Settings as TransferSettings
from satn_fast.kernels.attentive_pool import tiles as pool_tiles
from satn_fast.kernels.attentive_pool import triton_backend as pool
from satn_fast.kernels.causal_conv1d import tiles, triton_backend
from satn_fast.kernels.causal_conv1d.settings import Settings
from satn_fast.kernels.triton_runtime import INTERPRETED, architecture

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled", allow_module_level=True)


@pytest.mark.parametrize(
    ("name", "case", "fast"),
    [
        ("sm_90", "conv forward, bfloat16", {"wgmma", "tma"}),
        ("sm_90", "conv backward input, bfloat16", {"wgmma", "tma"}),
        ("sm_90", "conv backward weight, bfloat16", {"wgmma", "cp.async"}),
        ("sm_90", "conv forward, bfloat16, 100 channels", {"wgmma", "cp.async"}),
        ("sm_80", "conv forward, bfloat16", {"mma", "cp.async"}),
        ("sm_90", "transfer forward, bfloat16, 64 a head", {"wgmma", "cp.async"}),
        ("sm_90", "transfer backward query, bfloat16, 64 a head", {"wgmma", "cp.async"}),
        ("sm_90", "transfer backward key, bfloat16, 64 a head", {"wgmma", "cp.async"}),
        ("sm_90", "pool forward, bfloat16, 512 channels", {"wgmma", "cp.async"}),
        ("sm_90", "pool backward, bfloat16, 128 hidden", {"wgmma", "cp.async"}),
        ("sm_90", "pool forward, bfloat16, 128 channels", {"wgmma"}),
        ("sm_90", "pool forward, bfloat16, 6 layers of 64, deviation", {"wgmma", "cp.async"}),
        ("sm_90", "pool backward, bfloat16, 6 layers of 64, deviation", {"wgmma", "cp.async"}),
        ("sm_90", "pool forward, bfloat16, 9 layers of 256, deviation, 128 hidden", {"wgmma", "cp.async"}),
        ("sm_90", "pool backward, bfloat16, 9 layers of 256, deviation, 128 hidden", {"wgmma", "cp.async"}),
    ],
)
def test_kernels_use_what_their_architecture_has(name, case, fast):
    target = architecture(name)
    resources = compile_check.examine(case, dict(compile_check.cases_of(target))[case], target)
    assert set(resources.instructions) == fast
    assert resources.problem is None
    assert 0 < resources.registers < 256


@pytest.mark.parametrize("name", ["sm_80", "sm_86", "sm_90", "sm_120", "gfx942"])
def test_every_entry_of_the_tables_is_compiled(name):
    target = architecture(name)
    launches = [launch for _, launch in compile_check.cases_of(target)]
    compiled = [(launch.tuning, launch.arguments.get("BLOCK_ROWS")) for launch in launches]
    for table in (transfer_tiles.FORWARD, transfer_tiles.BACKWARD_QUERY, transfer_tiles.BACKWARD_KEY):
        for tile in (tile for sizes in table[target.family].values() for tile in sizes.values()):
            assert any(launch.tuning == tile.tuning and is_tile(launch, tile) for launch in launches), tile
    pools = [(is_of_statistics(launch), launch) for launch in launches if "HIDDEN" in launch.arguments]
    for of_statistics, tables in (
        (False, (pool_tiles.FORWARD, pool_tiles.BACKWARD)),
        (True, (pool_tiles.FORWARD_STATISTICS, pool_tiles.BACKWARD_STATISTICS)),
    ):
        found = [(pool.tuning, pool.arguments["BLOCK_TIME"]) for kind, pool in pools if kind == of_statistics]
        for tile in (tile for table in tables for sizes in table[target.family].values() for tile in sizes.values()):
            assert (tile.tuning, tile.frames) in found
    for table in (tiles.FORWARD, tiles.BACKWARD_INPUT, tiles.BACKWARD_WEIGHT):
        for tile in table[target.family].values():
            assert (tile.tuning, tile.rows) in compiled


def is_of_statistics(launch):
    return launch.arguments.get("tile_spread") is not None or launch.arguments.get("DEVIATION", False)


def is_tile(launch, tile):
    return [launch.arguments.get(f"BLOCK_{side}") for side in ("QUERIES", "KEYS")] == [tile.queries, tile.keys]


def test_what_spills_or_does_not_fit_is_a_problem():
    good = compile_check.Resources("k", "sm_90", 100, 1000, 0, 2000, ())
    assert good.problem is None
    assert dataclasses.replace(good, spilled=8).problem == "spills 8"
    assert "has 2000" in dataclasses.replace(good, shared_memory=2001).problem


@pytest.mark.parametrize("name", ["sm_75", "sm_", "H100", ""])
def test_unknown_architectures_are_refused(name):
    with pytest.raises(ValueError, match="sm_80"):
        architecture(name)


def test_a_new_length_batch_or_dilation_compiles_nothing():
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    target, backend = architecture("sm_90"), make_backend(GPUTarget("cuda", 90, 32))

    def keys(batch, n_frames, dilation):
        x, weight = (
            torch.empty(shape, dtype=torch.float16, device="meta") for shape in ((batch, n_frames, 128), (3, 128, 128))
        )
        settings = Settings(dilation, relu=True, dropout_p=0.1 if dilation == 1 else 0.9)
        launches = (
            triton_backend.forward_launch(x, weight, None, None, None, None, x, None, settings, target),
            triton_backend.backward_epilogue_launch(x, x, None, None, None, x, x, settings),
            triton_backend.backward_input_launch(x, x, weight, None, x, 1.0, settings, target),
            triton_backend.backward_weight_launch(x, x, x, None, None, weight.shape, 1.0, settings, target, 132),
        )
        for launch in (*launches, *transfer_launches(target, batch, n_frames, dilation), *pool_launches(target, x)):
            bind = create_function_from_signature(launch.kernel.signature, launch.kernel.params, backend)
            yield launch.kernel.fn.__name__, bind(**launch.arguments)[1]

    expected = list(keys(32, 1000, 1))
    for numbers in [(1, 1, 1), (1, 16, 16), (16, 1, 2), (1, 17, 1000), (3, 4096, 64), (512, 40000, 3)]:
        assert list(keys(*numbers)) == expected


def numbers(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def transfer_launches(target, batch, n_frames, window):
    """Of a projection of queries and keys in one, which T and the batch give other strides."""
    q, k = numbers(batch, n_frames, 2, 4, 32, dtype=torch.float16).unbind(2)
    inputs = transfer.Inputs(q, k, q, k, None)
    settings = TransferSettings("at", window, 0.5, 0.5)
    rows, maps, loss = numbers(6, batch * 4, n_frames), numbers(2, batch * 4), numbers()
    forward = transfer.forward_launch(inputs, rows, settings, target)
    yield forward
    yield transfer.combine_launch(forward.arguments["sums"], None, loss, maps, q.shape, settings)
    yield transfer.backward_query_launch(inputs, rows, maps, loss, q, settings, target)
    yield transfer.backward_key_launch(inputs, rows, maps, loss, q, settings, target)


def pool_launches(target, h):
    weights, mean, vector = numbers(*h.shape[:2]), numbers(h.shape[0]), numbers(64, dtype=h.dtype)
    yield pool.backward_mean_launch(weights, weights, None, mean)
    for layers, deviation in (([h], False), ([h] * 3, True)):
        channels = len(layers) * h.shape[2]
        weight, pooled = numbers(64, channels, dtype=h.dtype), numbers(h.shape[0], (1 + deviation) * channels)
        forward = pool.forward_launch(layers, weight, vector, vector, None, deviation, target)
        yield forward
        yield pool.combine_launch(forward, pooled, weights)
        gradients = (weights, pooled, pooled, weights, mean, layers)
        yield pool.backward_launch(layers, weight, vector, vector, None, *gradients, target)


def test_cases_have_names_of_their_own():
    names = [name for name, _ in compile_check.cases_of(architecture("sm_90"))]
    assert len(set(names)) == len(names)

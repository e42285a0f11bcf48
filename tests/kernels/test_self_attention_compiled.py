"""What the compiler makes of the kernels of self-attention, without a GPU."""

import pytest
import torch

pytest.importorskip("triton")

from satn_fast.kernels import compile_check
from satn_fast.kernels.self_attention import compile_cases, tiles, triton_backend
from satn_fast.kernels.triton_runtime import INTERPRETED, architecture

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled", allow_module_level=True)

TABLES = {
    "forward": tiles.FORWARD,
    "dq": tiles.BACKWARD_QUERY,
    "dk dv": tiles.BACKWARD_KEY_VALUE,
}


@pytest.mark.parametrize("kernel", TABLES)
@pytest.mark.parametrize(("name", "products"), [("sm_90", "wgmma"), ("sm_80", "mma")])
def test_kernels_use_what_their_architecture_has(name, products, kernel):
    target, case = architecture(name), f"attention {kernel}, bfloat16, D=64"
    resources = compile_check.examine(case, dict(compile_cases.compile_cases(target))[case], target)
    assert set(resources.instructions) == {products, "cp.async"}
    assert resources.problem is None
    assert 0 < resources.registers < 256


@pytest.mark.parametrize("name", ["sm_80", "sm_86", "sm_90", "sm_120", "gfx942"])
def test_every_entry_of_the_tables_is_compiled(name):
    target = architecture(name)
    cases = list(compile_cases.compile_cases(target))
    assert len({case for case, _ in cases}) == len(cases)
    for kernel, table in TABLES.items():
        compiled = [
            (launch.tuning, launch.arguments["BLOCK_QUERIES"], launch.arguments["BLOCK_KEYS"])
            for case, launch in cases
            if case.startswith(f"attention {kernel},")
        ]
        for entries in table[target.family].values():
            for tile in entries.values():
                assert (tile.tuning, tile.queries, tile.keys) in compiled


def test_a_new_length_batch_window_or_layout_compiles_nothing():
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    target, backend = architecture("sm_90"), make_backend(GPUTarget("cuda", 90, 32))

    def keys(q, window):
        o, rows = q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=torch.float32)
        launches = (
            triton_backend.forward_launch(q, q, q, None, o, rows, window, 0.1, target),
            triton_backend.backward_query_launch(o, q, q, q, o, rows, None, o, rows, window, 0.1, target),
            triton_backend.backward_key_value_launch(o, q, q, q, rows, rows, None, o, o, window, 0.1, target),
        )
        for launch in launches:
            bind = create_function_from_signature(launch.kernel.signature, launch.kernel.params, backend)
            yield bind(**launch.arguments)[1]

    def views(batch, n_frames, columns):
        return torch.empty(batch, n_frames, columns, 4, 32, dtype=torch.float16, device="meta")[:, :, 0]

    expected = list(keys(views(32, 1000, 1), 100))
    for batch, n_frames, columns, window in [(1, 1, 1, 1), (1, 16, 3, 16), (16, 17, 2, 2), (512, 40000, 3, 5000)]:
        assert list(keys(views(batch, n_frames, columns), window)) == expected

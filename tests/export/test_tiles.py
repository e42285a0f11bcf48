"""How windowed attention is cut: every frame in one tile, with all the keys that its window holds."""

import numpy as np
import pytest

from satn_fast.export import to_onnx
from satn_fast.export.tiles import Tiles
from tests.export import speechlike


@pytest.mark.parametrize("window", [1, 2, 3, 16, 17, 50, 100, 101, 200, 5000])
def test_tile_holds_the_window_of_each_of_its_queries(window):
    tiles = Tiles.of_window(window)
    assert tiles.keys % 16 == 0
    assert tiles.history == window - 1
    assert 16 <= tiles.queries < 80
    sees = tiles.in_window()
    assert sees.shape == tiles
    np.testing.assert_array_equal(sees.sum(1), window)
    newest = [np.flatnonzero(row)[-1] for row in sees]
    np.testing.assert_array_equal(newest, np.arange(tiles.queries) + tiles.history)


def test_opening_a_file_with_a_long_window_builds_no_table_of_all_its_tiles(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = speechlike.untrained(attention_window=5000)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(to_onnx(model, tmp_path / "model.onnx"), options, ["CPUExecutionProvider"])
    assert (tmp_path / "opened.onnx").stat().st_size < 5e6

"""The folder that export writes: complete or not at all, with a manifest that tells the truth."""

import hashlib
import json

import numpy as np
import pytest
import torch

from satn_fast.export import Manifest, ToleranceError, Tolerances, export, exporter
from satn_fast.export.cost import arena_bytes, macs_per_second
from satn_fast.export.names import UTTERANCE
from satn_fast.reference import SATN
from tests.export import speechlike
from tests.export.conftest import FILES


def test_folder_holds_the_files_of_the_manifest(exported):
    names = sorted(path.name for path in exported.folder.iterdir())
    assert names == sorted((*FILES, "manifest.json", "README.md"))
    assert [entry.name for entry in exported.manifest.files] == list(FILES)
    for entry in exported.manifest.files:
        content = (exported.folder / entry.name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_manifest_is_plain_json_and_reads_back(exported):
    content = json.loads((exported.folder / "manifest.json").read_text())
    assert list(content) == ["labels", "front_end", "utterance_seconds", "files", "tools", "left_out", "sha256"]
    assert content["labels"] == list(speechlike.LABELS)
    assert content["front_end"] == exported.model.config.front_end
    assert {"torch", "onnxruntime", "ai-edge-litert"} <= set(content["tools"])
    micro = content["files"][-1]
    assert [port["dtype"] for port in micro["inputs"] + micro["outputs"]] == ["int8"] * (2 * len(micro["inputs"]) - 1)
    for state, next_state in zip(micro["inputs"][2:], micro["outputs"][1:], strict=True):
        assert all(state[key] == next_state[key] for key in ("shape", "scale", "zero_point"))
    assert 10_000 < micro["arena_bytes"] < 128 * 1024
    for entry in content["files"][:-1]:
        assert entry["inputs"][0] == {"name": "features", "shape": [1, None, 48], "dtype": "float32"}
        assert entry["outputs"][0] == {"name": "logits", "shape": [1, 3], "dtype": "float32"}
        n_states = 2 + 2 * 3 + 2 + 3 if ".stream." in entry["name"] else 0
        assert len(entry["inputs"]) == len(entry["outputs"]) == 1 + n_states
        assert (entry["arena_bytes"] is None) == entry["name"].endswith(".onnx")
    assert Manifest.read(exported.folder) == exported.manifest


def test_figures_are_those_of_the_verification(exported):
    assert [report.name for report in exported.manifest.reports] == list(FILES)
    for entry, report in zip(exported.manifest.files, exported.manifest.reports, strict=True):
        assert report.ok
        assert entry.max_logit_error == report.max_logit_error is not None
        assert entry.agreement == report.agreement >= 0.95
        assert entry.ua == pytest.approx(report.ua)
        assert entry.ua_loss == pytest.approx(exported.manifest.files[0].ua - entry.ua)
        assert entry.ua > 0.8


def test_progress_reaches_its_total(exported):
    done, totals, what = zip(*exported.progress, strict=True)
    assert set(totals) == {len(FILES) + len(exported.features)}
    assert list(done) == [*range(len(FILES)), *range(len(FILES) + 1, totals[0] + 1)]
    assert what[: len(FILES)] == FILES


def test_model_that_cannot_be_streamed_has_no_stream_files(exported, tmp_path):
    model = speechlike.untrained(attention_window=None)
    sets = {"calibration": exported.calibration[:2], "evaluation": exported.features[:2]}
    export(model, tmp_path / "new", **sets, tolerances=None)
    assert not list((tmp_path / "new").glob("*.stream.*"))


def test_files_of_a_former_export_do_not_stay_beside_those_of_another_model(exported, tmp_path):
    folder, sets = tmp_path / "new", {"calibration": exported.calibration[:2], "evaluation": exported.features[:2]}
    export(exported.model, folder, **sets, batched=True, tolerances=None)
    (folder / "notes.txt").write_text("mine")
    export(speechlike.untrained(attention_window=None), folder, **sets, tolerances=None)
    names = {path.name for path in folder.iterdir()}
    assert names == {*UTTERANCE, "manifest.json", "README.md", "notes.txt"}


def test_failed_conversion_leaves_nothing(exported, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the converter broke")

    monkeypatch.setattr(exporter, "_tflite", fail)
    with pytest.raises(RuntimeError, match="the converter broke"):
        export(exported.model, tmp_path / "new", calibration=exported.calibration[:2], evaluation=exported.features[:2])
    assert not list(tmp_path.iterdir())


def test_missed_tolerance_leaves_the_former_export(copied, exported, monkeypatch):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    monkeypatch.setattr(exporter, "_tflite", lambda *_, **__: (exported.folder / "model.int8.tflite").read_bytes())
    with pytest.raises(ToleranceError, match=r"^model\.tflite: a logit is off by") as caught:
        export(
            exported.model,
            copied,
            calibration=exported.calibration[:4],
            evaluation=exported.features[:4],
            tolerances=Tolerances(int8_agreement=0.0),
        )
    assert {report.name for report in caught.value.reports if not report.ok} == {"model.tflite"}
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def test_empty_sets_are_refused_before_any_work(exported, tmp_path):
    with pytest.raises(ValueError, match="calibration is empty"):
        export(exported.model, tmp_path / "new", calibration=[], evaluation=exported.features)
    with pytest.raises(ValueError, match="features is empty"):
        export(exported.model, tmp_path / "new", calibration=exported.calibration, evaluation=[])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize(("overrides", "n_frames"), [({}, 300), (speechlike.STATISTICS, 75)])
def test_macs_are_those_that_torch_counts(window, overrides, n_frames):
    from torch.utils.flop_counter import FlopCounterMode

    model = SATN(speechlike.config(**overrides | {"attention_window": window})).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, n_frames, 48))
    counted = counter.get_total_flops() / 2 / 3.0
    if window is not None:  # the reference builds the whole T x T map
        pairs = n_frames * 20 - 20 * 19 // 2
        counted -= 2 * 32 * (n_frames**2 - pairs) / 3.0
    assert macs_per_second(model.config, 3.0) == pytest.approx(counted, rel=0.02)


def test_arena_of_a_window_grows_with_the_utterance_and_not_with_its_square(exported):
    path = exported.folder / "model.tflite"
    short, long = (arena_bytes(path, (n_frames, 48)) for n_frames in (1000, 4000))
    assert short >= 1000 * 4 * (48 + 32)
    assert 3.5 * short < long < 4.5 * short
    assert exported.manifest.files[2].arena_bytes == arena_bytes(path, (300, 48))
    assert np.log10(exported.manifest.files[2].arena_bytes) < 6

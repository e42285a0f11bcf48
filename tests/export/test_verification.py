"""Verification finds what is wrong with an exported folder, and export writes nothing that fails it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from satn_fast import SATN
from satn_fast.export import ExportError, Manifest, Tolerances, to_micro, to_onnx, to_tflite, verify
from satn_fast.export.manifest import sha256
from satn_fast.export.names import MODEL_FILES
from satn_fast.export.verification import unweighted_accuracy
from tests.export import speechlike
from tests.export.conftest import FILES


def check(folder, exported, model=None, **arguments):
    model = model or exported.model
    return {report.name: report for report in verify(folder, model, exported.features[:12], **arguments)}


def with_config(model, **overrides):
    twin = SATN(speechlike.config(**overrides)).eval()
    twin.load_state_dict(model.state_dict())
    return twin


def test_sound_folder_has_no_complaint(exported):
    reports = check(exported.folder, exported, truth=exported.truth[:12])
    assert list(reports) == list(FILES)
    for name, report in reports.items():
        assert report.ok
        assert report.complaint == ""
        assert report.milliseconds > 0
        assert report.float_milliseconds > 0
        assert (report.max_logit_error < 1e-4) == ("int8" not in name and "mcu" not in name)
        assert 0 <= report.mean_logit_error <= report.max_logit_error


def test_every_file_that_can_be_written_is_verified(spoken):
    reports = verify(spoken.folder, spoken.model, spoken.features[:2], audio=spoken.audio[:2])
    assert [report.name for report in reports] == list(MODEL_FILES)
    assert all(report.ok for report in reports)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_one_flipped_bit_of_any_file_is_found(spoken, tmp_path, name):
    folder = shutil.copytree(spoken.folder, tmp_path / "copy")
    content = bytearray((folder / name).read_bytes())
    content[np.random.default_rng(len(content)).integers(len(content))] ^= 1
    (folder / name).write_bytes(content)
    reports = verify(folder, spoken.model, spoken.features[:1], audio=spoken.audio[:1])
    complaints = [report.complaint for report in reports if not report.ok]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{name}: is not the file of the manifest")


def is_intact(folder):
    try:
        return Manifest.read(folder).intact
    except ExportError:
        return False


def test_every_flipped_bit_of_the_manifest_is_found(copied):
    path = copied / "manifest.json"
    sound = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in (0, len(sound) - 1, *generator.integers(len(sound), size=300)):
        content = bytearray(sound)
        content[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(content)
        assert not is_intact(copied)


def test_manifest_that_was_changed_is_found(copied, exported):
    path = copied / "manifest.json"
    content = json.loads(path.read_text())
    content["files"][0]["max_logit_error"] = 0.0
    path.write_text(json.dumps(content, indent=2))
    complaints = [report.complaint for report in check(copied, exported).values() if not report.ok]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{path}: was changed since it was written")


def test_file_of_a_former_export_is_found(copied, exported):
    shutil.copyfile(copied / "model.onnx", copied / "model.batch.onnx")
    reports = check(copied, exported)
    assert [report.complaint for report in reports.values() if not report.ok] == [
        "model.batch.onnx: is not in the manifest; remove it, or export the model again"
    ]


def test_missing_file_is_found(copied, exported):
    (copied / "model.int8.tflite").unlink()
    reports = check(copied, exported)
    assert [report.name for report in reports.values() if not report.ok] == ["model.int8.tflite"]
    assert "is missing" in reports["model.int8.tflite"].complaint


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"labels": ("calm", "angry", "tense")}, "labels are"),
        ({"front_end": {"preset": "htk", "sample_rate": 16000, "n_mels": speechlike.N_MELS}}, "front end is"),
    ],
)
def test_labels_or_front_end_of_another_checkpoint_are_found(exported, overrides, message):
    reports = check(exported.folder, exported, with_config(exported.model, **overrides))
    assert list(reports) == ["manifest.json", *FILES]
    assert all(not report.ok and message in report.complaint for report in reports.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": tuple(reversed(speechlike.LABELS))}, "its labels are"),
        ({"front_end": speechlike.FRONT_END | {"preset": "htk"}}, "its front end is"),
    ],
)
def test_manifest_that_disagrees_with_its_files_is_found(copied, exported, changes, message):
    (copied / "manifest.json").write_text(replace(exported.manifest, **changes).to_json())
    complaints = [report.complaint for report in check(copied, exported).values() if not report.ok]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{copied / 'manifest.json'}: {message}")


@pytest.mark.parametrize("name", [name for name in FILES if "stream" not in name])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"labels": tuple(reversed(speechlike.LABELS))}, "its labels are"),
        ({"front_end": speechlike.FRONT_END | {"preset": "htk"}}, "its front end is"),
    ],
)
def test_file_that_disagrees_with_its_manifest_is_found(copied, exported, name, overrides, message):
    """A file of another model that took the place of the right one, and its digest with it."""
    other = with_config(exported.model, **overrides)
    quantized = {"int8": True, "calibration": exported.calibration[:4]} if "int8" in name else {}
    if "mcu" in name:
        to_micro(other, copied / name, exported.calibration[:4])
    else:
        (to_onnx if name.endswith(".onnx") else to_tflite)(other, copied / name, **quantized)
    changed = {"bytes": (copied / name).stat().st_size, "sha256": sha256(copied / name)}
    files = [replace(entry, **changed) if entry.name == name else entry for entry in exported.manifest.files]
    (copied / "manifest.json").write_text(replace(exported.manifest, files=tuple(files)).to_json())
    complaints = [report.complaint for report in check(copied, exported).values() if not report.ok]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{name}: {message}")


def test_files_of_other_weights_are_found_and_the_complaint_says_by_how_much(exported):
    other = with_config(exported.model)
    with torch.no_grad():
        other.classifier.bias += torch.tensor([0.0, 0.25, 0.0])
    reports = check(exported.folder, exported, other)
    assert reports["model.onnx"].max_logit_error == pytest.approx(0.25, abs=1e-3)
    assert reports["model.onnx"].complaint == "model.onnx: a logit is off by 0.25, 0.001 is allowed"
    with torch.no_grad():
        other.classifier.bias += torch.tensor([0.0, 0.0, 100.0])
    reports = check(exported.folder, exported, other, truth=exported.truth[:12])
    assert "decides like the checkpoint on 33.3% of the utterances" in reports["model.int8.tflite"].complaint


def test_loss_of_unweighted_accuracy_is_found(exported):
    reports = check(exported.folder, exported, truth=exported.truth[:12], tolerances=Tolerances(ua_loss=-2.0))
    # One utterance of twelve is always allowed: 1/4 of a class, 1/12 of the unweighted accuracy.
    assert all(report.ok for report in reports.values())
    few = verify(exported.folder, exported.model, exported.features[:3], [0, 1, 2], tolerances=Tolerances(ua_loss=-2.0))
    assert all("of unweighted accuracy, -2.000 is allowed" in report.complaint for report in few)


def test_damaged_manifest_is_refused(copied, exported):
    path = copied / "manifest.json"
    sound = json.loads(path.read_text())
    first, *others = exported.manifest.files
    outside = replace(exported.manifest, files=(replace(first, name="../model.onnx"), *others)).to_json()
    for text in ("", "[]", "{}", "\\ud800", json.dumps(sound | {"files": [{}]}), outside):
        path.write_text(text)
        with pytest.raises(ExportError, match=r"manifest\.json: "):
            check(copied, exported)
    path.unlink()
    with pytest.raises(ExportError, match=r"manifest\.json: cannot be read"):
        check(copied, exported)


def test_evaluation_set_must_fit(exported):
    with pytest.raises(ValueError, match="features is empty"):
        verify(exported.folder, exported.model, [])
    with pytest.raises(ValueError, match="truth has 1 entries, features has 2"):
        verify(exported.folder, exported.model, exported.features[:2], [0])
    with pytest.raises(ValueError, match=r"outside of 0\.\.2"):
        verify(exported.folder, exported.model, exported.features[:2], [0, 3])


def test_unweighted_accuracy_is_the_average_recall_of_the_classes_present():
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    for n_labels in (1, 2, 5):
        truth, decision = generator.integers(0, n_labels, 40), generator.integers(0, 6, 40)
        expected = sklearn.recall_score(truth, decision, labels=np.unique(truth), average="macro", zero_division=0)
        assert unweighted_accuracy(truth, decision) == pytest.approx(expected)

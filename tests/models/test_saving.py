import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from satn_fast import SATN, SourceModel, reference
from satn_fast.hub import CheckpointError

from .test_reference import small_config


@pytest.fixture
def saved(tmp_path):
    model = SATN(small_config(labels=("calm", "angry"), attention_window=5)).eval()
    model.encoder.normalization.mean.fill_(3.0)
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


def test_round_trip_keeps_configuration_weights_and_statistics(saved):
    model, folder = saved
    again = SATN.from_pretrained(folder)
    features = torch.randn(2, 9, 6)
    assert again.config == model.config
    assert not again.training
    assert torch.equal(again(features).logits, model(features).logits)
    assert torch.equal(again.encoder.normalization.mean, torch.full((6,), 3.0))
    assert torch.allclose(reference.SATN.from_pretrained(folder)(features).logits, model(features).logits)


def test_config_json_holds_labels_and_front_end(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    assert config["labels"] == ["calm", "angry"]
    assert config["front_end"]["preset"] == "kaldi"


def test_source_model_round_trip(tmp_path):
    model = SourceModel(small_config(), ("a", "b"), frames_per_score=2).eval()
    model.save_pretrained(tmp_path)
    again = SourceModel.from_pretrained(tmp_path)
    batch = torch.randn(1, 9, 6), torch.tensor([9])
    assert again.symbols == ("a", "b")
    assert again.config == model.config
    assert torch.equal(again(*batch)[0], model(*batch)[0])


def test_saving_again_replaces_whole_files(saved):
    model, folder = saved
    model.classifier.bias.data.fill_(7.0)
    model.save_pretrained(folder)
    assert torch.equal(SATN.from_pretrained(folder).classifier.bias, torch.full((2,), 7.0))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_others_may_read_what_is_published(saved):
    _, folder = saved
    (folder / "usual").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(folder / "usual").stat().st_mode}


def test_a_model_card_that_somebody_wrote_stays(saved):
    model, folder = saved
    (folder / "README.md").write_text("By hand.")
    model.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "By hand."


def test_failed_saving_leaves_the_old_checkpoint(saved, monkeypatch):
    model, folder = saved
    before = (folder / "model.safetensors").read_bytes()

    def full_disk(self, directory):
        (directory / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SATN, "_save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    SATN.from_pretrained(folder)


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def lie_about_the_header(folder):
    path = folder / "model.safetensors"
    path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:])


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def replace_by_a_pickle(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Hostile(folder / "executed")))


def change_the_configuration(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"channels": 16}))


def spoil_a_value(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_heads": "two"}))


def spoil_the_json(folder):
    (folder / "config.json").write_text("{")


def json_of_another_kind(folder):
    (folder / "config.json").write_text("[1, 2]")


def remove_the_weights(folder):
    # A pickle beside it must not be taken instead.
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lie_about_the_header,
        replace_by_a_pickle,
        change_the_configuration,
        spoil_a_value,
        spoil_the_json,
        json_of_another_kind,
        remove_the_weights,
    ],
)
def test_damaged_checkpoints_are_refused_by_name(saved, damage):
    _, folder = saved
    damage(folder)
    with pytest.raises(CheckpointError, match="model") as error:
        SATN.from_pretrained(folder)
    assert str(folder) in str(error.value)
    assert not (folder / "executed").exists()


def test_source_checkpoint_is_no_emotion_model(tmp_path):
    SourceModel(small_config(), ("a", "b")).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError):
        SATN.from_pretrained(tmp_path)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        SATN.from_pretrained(tmp_path / "nowhere")

import errno
import os
import pickle

import pytest
import torch

from satn_fast.files import atomic_write
from satn_fast.hub import CheckpointError
from satn_fast.training.checkpoint import SafetensorsCheckpointIO

WRITER = SafetensorsCheckpointIO()


def a_checkpoint():
    shared = torch.randn(3, 4)
    return {
        "epoch": 3,
        "state_dict": {"weight": shared, "same": shared, "part": shared[:, 1]},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(5)}}, "lr": 1e-3}],
        "callbacks": {"best": (None, True, float("inf"), ["a", ()])},
        "empty": {},
        "dtypes": [torch.arange(3), torch.tensor(True), torch.randn(2).to(torch.bfloat16)],
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_everything_comes_back_as_it_was(tmp_path):
    checkpoint = a_checkpoint()
    WRITER.save_checkpoint(checkpoint, tmp_path / "new" / "last.ckpt")
    assert same(checkpoint, WRITER.load_checkpoint(tmp_path / "new" / "last.ckpt"))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["last.ckpt"]
    WRITER.remove_checkpoint(tmp_path / "new" / "last.ckpt")
    assert not list((tmp_path / "new").iterdir())


def test_what_cannot_be_kept_safely_is_refused_and_the_old_file_stays(tmp_path):
    WRITER.save_checkpoint(a_checkpoint(), tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(TypeError, match=r"checkpoint\['callbacks'\]\[1\] is a module"):
        WRITER.save_checkpoint({"callbacks": [1, os]}, tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    WRITER.save_checkpoint(a_checkpoint(), tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("satn_fast.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        WRITER.save_checkpoint(a_checkpoint(), tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [lambda c: c[:100], lambda c: c[:-1], lambda c: b"", lambda c: b"\x80" + c])
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / "last.ckpt"
    WRITER.save_checkpoint(a_checkpoint(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"last.ckpt: is no checkpoint.*start anew"):
        WRITER.load_checkpoint(path)


def test_a_pickle_is_not_opened(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "opened"),)

    for name, write in (("torch", torch.save), ("plain", lambda x, file: pickle.dump(x, file))):
        with atomic_write(tmp_path / name) as temporary, open(temporary, "wb") as file:
            write(Hostile(), file)
        with pytest.raises(CheckpointError):
            WRITER.load_checkpoint(tmp_path / name)
    assert not (tmp_path / "opened").exists()

import errno
import os

import pytest

from satn_fast.files import atomic_folder, atomic_write


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_written_file_takes_its_name_and_leaves_nothing_else(tmp_path):
    with atomic_write(tmp_path / "new" / "a.csv") as temporary:
        assert temporary.suffix == ".csv"
        assert temporary.parent == tmp_path / "new"
        temporary.write_bytes(b"1")
        assert not (tmp_path / "new" / "a.csv").exists()
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"1"
    assert names(tmp_path) == ["new", "new/a.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_keeps_the_old_file_and_leaves_no_debris(tmp_path, error):
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")

    def write():
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("writer", [atomic_write, atomic_folder])
def test_a_full_disk_is_said_with_the_name_of_what_was_to_be_written(tmp_path, writer):
    def write():
        with writer(tmp_path / "a"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device") as caught:
        write()
    assert caught.value.filename == str(tmp_path / "a")
    assert names(tmp_path) == []


def test_a_failed_rename_leaves_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"), atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.csv"]


def test_writing_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_write(path):
        pass
    assert path.read_bytes() == b"old"


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"), atomic_write(tmp_path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_decides_who_may_read_whatever_the_writer_chose(tmp_path, umask):
    def write(path):
        path.touch(mode=0o600)
        path.chmod(0o600)

    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a") as temporary:
            write(temporary)
        with atomic_folder(tmp_path / "model") as temporary:
            (temporary / "sub").mkdir()
            write(temporary / "sub" / "b")
    finally:
        os.umask(before)
    for path in (tmp_path / "a", tmp_path / "model" / "sub" / "b"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert names(tmp_path) == ["a", "model", "model/sub", "model/sub/b"]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_a_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"new"


def test_the_longest_file_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 250 + ".csv")
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"1")
    assert path.read_bytes() == b"1"


def test_a_folder_receives_its_files_and_keeps_others(tmp_path):
    target = tmp_path / "model"
    (target / "sub").mkdir(parents=True)
    (target / "other").write_bytes(b"kept")
    (target / "sub" / "b").write_bytes(b"old")
    with atomic_folder(target) as temporary:
        (temporary / "a").write_bytes(b"1")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_bytes(b"new")
    assert names(tmp_path) == ["model", "model/a", "model/other", "model/sub", "model/sub/b"]
    assert (target / "other").read_bytes() == b"kept"
    assert (target / "sub" / "b").read_bytes() == b"new"


def test_a_failure_leaves_the_folder_as_it_was(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_bytes(b"old")

    def write():
        with atomic_folder(target) as temporary:
            (temporary / "a").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == ["model", "model/a"]
    assert (target / "a").read_bytes() == b"old"


def test_the_file_that_completes_a_set_is_gone_while_others_move_and_comes_last(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.json").write_bytes(b"old")
    moved = []
    replace = os.replace

    def record(source, destination):
        moved.append(destination.name)
        assert (target / "a.json").exists() is False
        replace(source, destination)

    monkeypatch.setattr(os, "replace", record)
    with atomic_folder(target, last="a.json") as temporary:
        for name in ("z", "a.json", "b"):
            (temporary / name).write_bytes(b"new")
    assert moved == ["b", "z", "a.json"]
    assert (target / "a.json").read_bytes() == b"new"


def test_a_set_without_its_last_file_changes_nothing(tmp_path):
    target = tmp_path / "model"
    with (
        pytest.raises(FileNotFoundError, match=r"config\.json"),
        atomic_folder(target, last="config.json") as temporary,
    ):
        (temporary / "a").write_bytes(b"1")
    assert names(tmp_path) == []


def test_a_file_does_not_replace_a_folder(tmp_path):
    target = tmp_path / "model"
    (target / "b").mkdir(parents=True)

    def write():
        with atomic_folder(target) as temporary:
            (temporary / "a").write_bytes(b"1")
            (temporary / "b").write_bytes(b"1")

    with pytest.raises(NotADirectoryError, match="compete"):
        write()
    assert names(tmp_path) == ["model", "model/b"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="is a file"), atomic_folder(tmp_path / "model"):
        pass

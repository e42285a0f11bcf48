"""A killed export and a full disk leave no half file: every file there is whole, and a manifest vouches for all."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from satn_fast.export import Manifest
from satn_fast.export.names import MODEL_FILES
from tests.conftest import REPOSITORY
from tests.export.prepared import VARIANTS

WORKER = [sys.executable, "-m", "tests.export.prepared"]


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_export_killed_at_any_moment_leaves_whole_files(spoken, tmp_path):
    target = tmp_path / "export"
    whole = {
        name: {digest((spoken.folder / name).read_bytes() + variant) for variant in VARIANTS} for name in MODEL_FILES
    }
    manifests = 0
    command = [*WORKER, "until-killed", spoken.folder, target]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=REPOSITORY) as worker:
        for delay in np.random.default_rng(0).uniform(0.01, 0.4, 16):
            worker.stdin.write(f"{delay}\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "killed\n"
            found = {path.name: path for path in target.iterdir()} if target.exists() else {}
            for name in found.keys() & whole.keys():
                assert digest(found[name].read_bytes()) in whole[name], name
            assert found.keys() <= {*MODEL_FILES, "manifest.json", "README.md"}
            if "manifest.json" in found:
                manifests += 1
                for entry in Manifest.read(target).files:
                    assert digest(found[entry.name].read_bytes()) == entry.sha256
        worker.stdin.close()
    assert manifests > 3, "the export must have been finished, too"


def test_full_disk_leaves_the_former_export(spoken, tmp_path):
    own_mounts = ["unshare", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*own_mounts, "mount"], capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    command = [*own_mounts, *WORKER, "full-disk", spoken.folder, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 5
    former = sorted(["export", *(f"export/{name}" for name in (*MODEL_FILES, "manifest.json", "README.md"))])
    for reason, filename, names, sound in lines:
        assert (reason, filename) == ("No space left on device", str(tmp_path / "export"))
        assert names == former
        assert sound

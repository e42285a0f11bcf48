"""`import satn_fast` and its models need numpy and torch alone; the front end needs numpy alone."""

import re
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest


def closure(names: list[str]) -> set[str]:
    """Distributions and everything they require on this machine, without extras."""
    found: set[str] = set()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # a requirement of another platform
        found.add(name)
        names += [re.match(r"[\w.-]+", line).group() for line in requirements if "extra ==" not in line]
    return found


def environment_of(folder: Path, distributions: list[str]) -> Path:
    """A new virtual environment that holds these distributions (as links) and nothing else."""
    venv.create(folder, symlinks=True, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in distributions:
        files = [file for file in metadata.files(name) if ".." not in file.parts]
        for top in {file.parts[0] for file in files} - {"__pycache__"}:
            # The folder or module beside its distribution, wherever that is installed.
            (site / top).symlink_to(Path(metadata.distribution(name).locate_file(top)))
    return folder / "bin" / "python"


def run(python: Path, code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([python, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def numpy_and_torch(tmp_path_factory):
    return environment_of(tmp_path_factory.mktemp("torch") / "env", [*closure(["torch", "numpy"]), "satn-fast"])


@pytest.fixture(scope="module")
def numpy_alone(tmp_path_factory):
    return environment_of(tmp_path_factory.mktemp("numpy") / "env", ["numpy", "satn-fast"])


def test_model_runs_with_numpy_and_torch_alone(numpy_and_torch, tmp_path):
    result = run(
        numpy_and_torch,
        """
import satn_fast, torch, numpy
config = satn_fast.SATNConfig.preset("micro")
front_end = satn_fast.LogMel(**config.front_end)
features = torch.from_numpy(front_end(numpy.random.default_rng(0).normal(size=16000) / 10))
model = satn_fast.SATN(config).eval()
print(tuple(model(features[None]).logits.shape))
try:
    import typer
except ModuleNotFoundError:
    print("nothing else")
""",
        tmp_path,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["(1, 4)", "nothing else"]


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("satn_fast.SATN(satn_fast.SATNConfig()).save_pretrained('model')", "train"),
        ("satn_fast.SATN.from_pretrained('.')", "train"),
        ("satn_fast.export.load('model.onnx')", "onnx"),
        ("satn_fast.export.load('model.tflite')", "tflite"),
        ("satn_fast.data.render_corpus('corpus')", "demo"),
    ],
)
def test_what_is_missing_says_which_extra_to_install(numpy_and_torch, tmp_path, code, extra):
    for name in ("model.onnx", "model.tflite"):
        (tmp_path / name).write_bytes(b"anything")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    result = run(numpy_and_torch, f"import satn_fast\n{code}", tmp_path)
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError"), result.stderr
    assert f'pip install "satn-fast[{extra}]"' in last_line


def test_command_line_says_which_extra_to_install(numpy_and_torch, tmp_path):
    result = run(numpy_and_torch, "from satn_fast.cli import main\nmain(['doctor'])", tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().count("\n") == 0
    assert 'pip install "satn-fast[train]"' in result.stderr


def test_front_end_runs_with_numpy_alone(numpy_alone, tmp_path):
    result = run(
        numpy_alone,
        "import satn_fast, numpy, sys\nprint(satn_fast.LogMel()(numpy.ones(16000) / 2).shape, 'torch' in sys.modules)",
        tmp_path,
    )
    assert result.stderr == ""
    assert result.stdout == "(98, 120) False\n"


def test_importing_is_light():
    code = "import sys, satn_fast; print({'torch', 'tensorflow', 'onnxruntime', 'sklearn'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"

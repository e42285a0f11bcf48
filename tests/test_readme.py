"""What the README and the documents show works as it stands there."""

import importlib.util
import re
import shlex

import pytest
from typer.testing import CliRunner

from satn_fast.cli.app import app

from .conftest import REPOSITORY

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
README = DOCUMENTS[0].read_text(encoding="utf-8")

# Tools that documents compare with; the extra `bench` or `dev` brings them.
PEERS = ("kaldi_native_fbank", "librosa", "opensmile", "python_speech_features", "pytorch_tcn")


def commands(text):
    return re.findall(r"^satn-fast .*", text, flags=re.MULTILINE)


def python_blocks():
    for path in DOCUMENTS:
        blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        yield from (pytest.param(code, path.name, id=f"{path.name}-{i}") for i, code in enumerate(blocks))


@pytest.mark.parametrize(("code", "name"), list(python_blocks()))
def test_python_block_runs(code, name):
    for peer in PEERS:
        if re.search(rf"\b(import|from)\b.*\b{peer}\b", code) and importlib.util.find_spec(peer) is None:
            pytest.skip(f"{peer} is not installed (extra dev)")
    exec(compile(code, name, "exec"), {})


def test_links_lead_somewhere():
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md"), *REPOSITORY.glob("kernels/*/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("line", sorted({line for path in DOCUMENTS for line in commands(path.read_text("utf-8"))}))
def test_commands_and_options_exist(line):
    words = shlex.split(line, comments=True)[1:]
    help_text = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200"}).output
    for option in (word for word in words if word.startswith("--")):
        assert option in help_text


def test_every_command_is_shown():
    shown = {line.split()[1] for line in commands(README)} | {"demo"}
    assert shown == {command.callback.__name__ for command in app.registered_commands}


def test_make_targets_exist():
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)

"""What the README shows works as it stands there."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from satn_fast.cli.app import app

from .conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^satn-fast .*", README, flags=re.MULTILINE)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code):
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_options_exist(line):
    words = shlex.split(line, comments=True)[1:]
    help_text = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200"}).output
    for option in (word for word in words if word.startswith("--")):
        assert option in help_text


def test_every_command_is_shown():
    shown = {line.split()[1] for line in COMMANDS} | {"demo"}
    assert shown == {command.callback.__name__ for command in app.registered_commands}


def test_make_targets_exist():
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)

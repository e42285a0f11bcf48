"""Turns a class of settings into options of a command, and a YAML file into their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from satn_fast.training.settings import Help, Settings


def takes(settings: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command every setting as an option, and itself the settings as the argument `settings`.

    The command may have parameters of its own, which come first.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
        own_hints = {name: hint for name, hint in get_type_hints(command, include_extras=True).items()}
        options = [_option(settings, name) for name in (field.name for field in fields(settings))]

        def run(**values: Any) -> None:
            chosen = {option.name: values.pop(option.name) for option in options}
            command(settings=settings.read(chosen), **values)

        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: own_hints[p.name] for p in own} | {p.name: p.annotation for p in options}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _option(settings: type[Settings], name: str) -> inspect.Parameter:
    hint, explained = get_args(get_type_hints(settings, include_extras=True)[name])
    assert isinstance(explained, Help), f"{name} has no help"
    default = next(field.default for field in fields(settings) if field.name == name)
    option = typer.Option(help=explained.text, rich_help_panel=explained.panel)
    annotation = Annotated[hint, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def read_configuration(context: typer.Context, path: Path | None) -> Path | None:
    """Makes what a YAML file says the defaults of the command line.

    Raises:
        ValueError: The file is no YAML with known settings; the message names it.
    """
    if path is None or context.resilient_parsing:
        return path
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: must name settings, such as: epochs: 20")
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    if unknown := sorted(set(map(str, values)) - known):
        raise ValueError(
            f"{path}: {', '.join(unknown)}: no such setting; there are {', '.join(sorted(map(str, known)))}"
        )
    # A setting without a value is one that is left as it is.
    context.default_map = {name: value for name, value in values.items() if value is not None}
    return path


ConfigurationFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="YAML",
        is_eager=True,
        callback=read_configuration,
        help="Settings by their long names; options on the command line go first.",
    ),
]

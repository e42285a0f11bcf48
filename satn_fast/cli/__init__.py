"""The command line `satn-fast`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `satn-fast`; ends the process with an exit code.

    0: all is well. 1: bad input, the message says what. 2: wrong usage. 3: an exported file missed its tolerance, or a
    benchmark its former speed-up.

    Args:
        arguments: The command line without the program's name; `None` takes the process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        from satn_fast.cli.app import app
    except ModuleNotFoundError as error:
        if debug:
            raise
        sys.exit(f'satn-fast: {error.name} is not installed; the command line needs: pip install "satn-fast[train]"')
    try:
        app(words, prog_name="satn-fast")
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, ArithmeticError, OSError, ImportError, RuntimeError) as error:
        if debug:
            raise
        sys.exit(f"satn-fast: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__

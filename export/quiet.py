"""Keeps the tools' chatter off the terminal.

TensorFlow, absl and LiteRT write progress notes straight to file descriptor 2, past Python's logging.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block nothing that native code writes to the standard error stream reaches the terminal.

    The stream belongs to the whole process: what other threads write there meanwhile is lost as well.
    Exceptions are not touched.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        kept = os.dup(2)
    except OSError:  # there is no such stream, so nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)

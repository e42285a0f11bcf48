"""How exported graphs cut time for windowed attention."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tiles(NamedTuple):
    """How time is cut for windowed attention: tiles of `queries` frames, each with the `keys` frames it may look at.

    The last key of a tile is its last query. Wide tiles look at more keys in vain, narrow ones repeat keys more often.
    """

    queries: int
    keys: int

    @property
    def history(self) -> int:
        """Frames before a tile that belong to its keys; `W - 1`."""
        return self.keys - self.queries

    @classmethod
    def of_window(cls, window: int) -> "Tiles":
        """The cut that was fastest in ONNX Runtime for a window of 100 frames, and nearly so for 50 to 400.

        ONNX Runtime computes rows whose length is a multiple of 16 up to a third faster.
        """
        keys = window - 1 + min(max(16, (window - 1) // 4), 64)
        keys += -keys % 16
        return cls(keys - (window - 1), keys)

    def in_window(self) -> NDArray[np.bool_]:
        """(queries, keys): whether a query sees a key, as far as the window goes."""
        query, key = np.ogrid[: self.queries, : self.keys]
        in_window: NDArray[np.bool_] = (key >= query) & (key <= query + self.history)
        return in_window

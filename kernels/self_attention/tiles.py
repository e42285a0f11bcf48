"""Tile sizes of self-attention's kernels for each family of architectures.

Chosen by the registers, shared memory and spills that the compiler reports (`satn-fast doctor --compile`), for as many
warps side by side on a processor as large tiles allow. Not yet measured on a GPU.

The columns say how numbers are multiplied: "half" (float16 and bfloat16), "tf32" and "ieee" (float32); the key of an
entry is the largest head size that it is for.
"""

from typing import NamedTuple


class Tiles(NamedTuple):
    """Tile sizes of one kernel, and how Triton shall compile it.

    Args:
        queries: Query frames of a tile: rows of a map.
        keys: Key frames of a tile: columns of a map.
        num_warps: Warps of a program.
        num_stages: How many steps the copies run ahead.
    """

    queries: int
    keys: int
    num_warps: int
    num_stages: int

    @property
    def tuning(self) -> dict[str, int]:
        """What a launch hands to Triton's compiler."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


Table = dict[str, dict[str, dict[int, Tiles]]]

LARGEST_HEAD_SIZE = 128

# Small, so that small tests cross tile borders; unequal, as elsewhere.
_INTERPRETER = {arithmetic: {128: Tiles(64, 32, 4, 2)} for arithmetic in ("half", "tf32", "ieee")}
_INTERPRETER_KEY_VALUE = {arithmetic: {128: Tiles(32, 64, 4, 2)} for arithmetic in ("half", "tf32", "ieee")}

# Exact float32 has no matrix unit anywhere: larger tiles spill, and take the compiler a minute.
_IEEE = {64: Tiles(32, 16, 4, 2), 128: Tiles(32, 16, 4, 2)}
_IEEE_QUERY = {64: Tiles(32, 32, 8, 2), 128: Tiles(32, 16, 4, 2)}
_IEEE_KEY_VALUE = {64: Tiles(16, 32, 8, 2), 128: Tiles(16, 16, 4, 2)}

FORWARD: Table = {
    "hopper": {
        "half": {64: Tiles(128, 64, 8, 3), 128: Tiles(128, 64, 8, 3)},
        "tf32": {64: Tiles(64, 32, 4, 2), 128: Tiles(64, 32, 8, 2)},
        "ieee": _IEEE,
    },
    "ampere": {
        "half": {64: Tiles(128, 64, 8, 2), 128: Tiles(128, 64, 8, 2)},
        "tf32": {64: Tiles(64, 32, 4, 2), 128: Tiles(64, 32, 8, 2)},
        "ieee": _IEEE,
    },
    "amd": {
        "half": {64: Tiles(128, 64, 8, 2), 128: Tiles(64, 64, 4, 2)},
        "tf32": {64: Tiles(64, 32, 4, 2), 128: Tiles(64, 32, 8, 2)},
        "ieee": _IEEE,
    },
    "interpreter": _INTERPRETER,
}

BACKWARD_QUERY: Table = {
    "hopper": {
        "half": {64: Tiles(128, 64, 8, 2), 128: Tiles(128, 64, 8, 2)},
        "tf32": {64: Tiles(64, 32, 4, 2), 128: Tiles(64, 32, 4, 2)},
        "ieee": _IEEE_QUERY,
    },
    "ampere": {
        "half": {64: Tiles(128, 32, 8, 2), 128: Tiles(128, 32, 8, 2)},
        "tf32": {64: Tiles(32, 32, 4, 2), 128: Tiles(32, 16, 4, 2)},
        "ieee": _IEEE_QUERY,
    },
    "amd": {
        "half": {64: Tiles(128, 32, 8, 2), 128: Tiles(64, 32, 4, 2)},
        "tf32": {64: Tiles(32, 32, 4, 2), 128: Tiles(32, 32, 4, 2)},
        "ieee": _IEEE_QUERY,
    },
    "interpreter": _INTERPRETER,
}

BACKWARD_KEY_VALUE: Table = {
    "hopper": {
        "half": {32: Tiles(32, 128, 8, 2), 64: Tiles(32, 64, 4, 2), 128: Tiles(32, 128, 8, 2)},
        "tf32": {64: Tiles(32, 64, 4, 2), 128: Tiles(32, 32, 4, 2)},
        "ieee": _IEEE_KEY_VALUE,
    },
    "ampere": {
        "half": {64: Tiles(32, 128, 8, 2), 128: Tiles(32, 64, 8, 2)},
        "tf32": {64: Tiles(32, 32, 4, 2), 128: Tiles(32, 32, 8, 2)},
        "ieee": _IEEE_KEY_VALUE,
    },
    "amd": {
        "half": {64: Tiles(32, 64, 4, 2), 128: Tiles(32, 64, 4, 2)},
        "tf32": {64: Tiles(32, 32, 4, 2), 128: Tiles(16, 32, 4, 2)},
        "ieee": _IEEE_KEY_VALUE,
    },
    "interpreter": _INTERPRETER_KEY_VALUE,
}


def choose(table: Table, family: str, arithmetic: str, head_size: int) -> Tiles:
    """The entry for a head size."""
    entries = table[family][arithmetic]
    return entries[min(size for size in entries if size >= head_size)]

"""Tile sizes of the attentive-pooling kernels for each family of architectures.

Chosen by the registers, shared memory and spills that the compiler reports (`satn-fast doctor --compile`). Not yet
measured on a GPU.

The columns say how numbers are multiplied: "half" (float16 and bfloat16), "tf32" and "ieee" (float32); then the largest
hidden size that a tile suits.
"""

from typing import NamedTuple


class Tiles(NamedTuple):
    """Tile sizes of one kernel, and how Triton shall compile it.

    Args:
        frames: Frames of a tile.
        channels: Channels of a tile.
        num_warps: Warps of a program.
        num_stages: How many steps the copies run ahead.
    """

    frames: int
    channels: int
    num_warps: int
    num_stages: int

    @property
    def tuning(self) -> dict[str, int]:
        """What a launch hands to Triton's compiler."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


Table = dict[str, dict[str, dict[int, Tiles]]]

LARGEST_HIDDEN = 512

# Exact products of float32 take no matrix units.
_EXACT = {128: Tiles(32, 32, 8, 2), 256: Tiles(16, 32, 8, 2), 512: Tiles(16, 16, 8, 2)}
# Small, so that small tests cross tile borders.
_INTERPRETER = {arithmetic: {512: Tiles(32, 32, 4, 2)} for arithmetic in ("half", "tf32", "ieee")}

FORWARD: Table = {
    "hopper": {
        # Up to 256 channels the tile of h stays on the chip.
        "half": {128: Tiles(64, 256, 4, 3), 256: Tiles(64, 64, 8, 3), 512: Tiles(64, 32, 8, 2)},
        "tf32": {128: Tiles(64, 64, 4, 3), 256: Tiles(64, 32, 8, 3), 512: Tiles(32, 32, 8, 2)},
        "ieee": _EXACT,
    },
    "ampere": {
        "half": {128: Tiles(64, 64, 8, 3), 256: Tiles(32, 64, 8, 2), 512: Tiles(32, 16, 8, 2)},
        "tf32": {128: Tiles(32, 32, 4, 3), 256: Tiles(32, 32, 8, 2), 512: Tiles(16, 16, 8, 2)},
        "ieee": _EXACT,
    },
    "amd": {
        "half": {128: Tiles(64, 64, 4, 1), 256: Tiles(32, 32, 8, 1), 512: Tiles(16, 32, 8, 1)},
        "tf32": {128: Tiles(32, 32, 4, 1), 256: Tiles(32, 32, 8, 1), 512: Tiles(16, 16, 8, 1)},
        "ieee": {128: Tiles(32, 32, 4, 1), 256: Tiles(32, 32, 8, 1), 512: Tiles(16, 16, 8, 1)},
    },
    "interpreter": _INTERPRETER,
}

_HOPPER_HALF = {128: Tiles(64, 64, 4, 3), 256: Tiles(64, 64, 8, 3), 512: Tiles(32, 32, 8, 2)}
_HOPPER_TF32 = {**FORWARD["hopper"]["tf32"], 512: Tiles(32, 16, 8, 2)}
BACKWARD: Table = {**FORWARD, "hopper": {"half": _HOPPER_HALF, "tf32": _HOPPER_TF32, "ieee": _EXACT}}

# Several layers, or deviations: no tile of h stays on the chip, and backward keeps one more in registers.
FORWARD_STATISTICS: Table = {
    **BACKWARD,
    "ampere": {**BACKWARD["ampere"], "half": {**BACKWARD["ampere"]["half"], 128: Tiles(32, 64, 4, 3)}},
}
_AMD_NARROW = {256: Tiles(16, 32, 8, 1)}
BACKWARD_STATISTICS: Table = {
    **BACKWARD,
    "hopper": {**BACKWARD["hopper"], "tf32": {**_HOPPER_TF32, 128: Tiles(64, 32, 4, 3)}},
    "ampere": {
        **BACKWARD["ampere"],
        "tf32": {**BACKWARD["ampere"]["tf32"], 256: Tiles(32, 16, 8, 2)},
        "ieee": {**_EXACT, 512: Tiles(16, 16, 8, 1)},
    },
    "amd": {
        **BACKWARD["amd"],
        "tf32": {**BACKWARD["amd"]["tf32"], **_AMD_NARROW},
        "ieee": {**BACKWARD["amd"]["ieee"], **_AMD_NARROW},
    },
}


def tile_for(table: Table, family: str, arithmetic: str, hidden: int) -> Tiles:
    """The tile sizes for a hidden size."""
    sizes = table[family][arithmetic]
    return sizes[min(size for size in sizes if size >= hidden)]

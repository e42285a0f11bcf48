"""Tile sizes of the causal convolution's kernels for each family of architectures.

Chosen among a few by the registers, shared memory and spills that Triton 3.6 and 3.9 report (`satn-fast doctor
--compile`): none spills. Not yet measured on a GPU. On Hopper, 128 x 256 channels would halve the traffic of the weight
but takes all 255 registers with dropout and residual.

The columns say how numbers are multiplied: "half" (float16 and bfloat16), "tf32" and "ieee" (float32).
"""

from typing import NamedTuple


class Tiles(NamedTuple):
    """Tile sizes of one kernel, and how Triton shall compile it.

    Args:
        rows: Frames of a tile.
        out_channels: Output channels of a tile.
        in_channels: Input channels of a tile.
        num_warps: Warps of a program.
        num_stages: How many steps the copies run ahead.
        descriptors: Copy by tensor descriptors where the tensors are aligned for it.
    """

    rows: int
    out_channels: int
    in_channels: int
    num_warps: int
    num_stages: int
    descriptors: bool = False

    @property
    def tuning(self) -> dict[str, int]:
        """What a launch hands to Triton's compiler."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


Table = dict[str, dict[str, Tiles]]

# Small, so that small tests cross tile borders.
_INTERPRETER = {arithmetic: Tiles(32, 32, 16, 4, 2) for arithmetic in ("half", "tf32", "ieee")}

FORWARD: Table = {
    "hopper": {
        "half": Tiles(128, 128, 64, 8, 3, descriptors=True),
        "tf32": Tiles(128, 128, 32, 8, 3, descriptors=True),
        "ieee": Tiles(64, 64, 32, 8, 3),
    },
    "ampere": {
        "half": Tiles(128, 128, 32, 8, 4),
        "tf32": Tiles(64, 64, 32, 4, 3),
        "ieee": Tiles(64, 64, 32, 8, 3),
    },
    "amd": {
        "half": Tiles(128, 128, 32, 8, 2),
        "tf32": Tiles(64, 64, 32, 4, 2),
        "ieee": Tiles(64, 64, 32, 8, 2),
    },
    "interpreter": _INTERPRETER,
}

BACKWARD_INPUT: Table = {
    "hopper": {
        "half": Tiles(128, 64, 128, 8, 3, descriptors=True),
        "tf32": Tiles(128, 32, 64, 8, 3, descriptors=True),
        "ieee": Tiles(64, 32, 64, 8, 3),
    },
    "ampere": {
        "half": Tiles(128, 32, 128, 8, 3),
        "tf32": Tiles(64, 32, 64, 4, 3),
        "ieee": Tiles(64, 32, 64, 8, 3),
    },
    "amd": {
        "half": Tiles(128, 32, 128, 8, 2),
        "tf32": Tiles(64, 32, 64, 4, 2),
        "ieee": Tiles(64, 32, 64, 8, 2),
    },
    "interpreter": _INTERPRETER,
}

BACKWARD_WEIGHT: Table = {
    "hopper": {
        "half": Tiles(64, 128, 128, 8, 3),
        "tf32": Tiles(32, 64, 64, 4, 3),
        "ieee": Tiles(32, 64, 64, 8, 2),
    },
    "ampere": {
        "half": Tiles(32, 128, 128, 8, 3),
        "tf32": Tiles(32, 64, 64, 4, 3),
        "ieee": Tiles(32, 64, 64, 8, 2),
    },
    "amd": {
        "half": Tiles(32, 128, 128, 8, 2),
        "tf32": Tiles(32, 64, 64, 4, 2),
        "ieee": Tiles(32, 64, 64, 8, 2),
    },
    "interpreter": {arithmetic: Tiles(16, 32, 32, 4, 2) for arithmetic in ("half", "tf32", "ieee")},
}

# How many tiles of rows are looked at together when the real ones are listed.
LISTED_TOGETHER = 1024

# This one multiplies nothing: elements that pass through it.
BACKWARD_EPILOGUE = Tiles(16, 128, 0, 4, 1)

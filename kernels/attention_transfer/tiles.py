"""Tile sizes of the attention-transfer kernels for each family of architectures.

Chosen by the registers, shared memory and spills that the compiler reports (`satn-fast doctor --compile`). Not yet
measured on a GPU.

The columns say how numbers are multiplied: "half" (float16 and bfloat16), "tf32" and "ieee" (float32); then the largest
head size that a tile suits.
"""

from satn_fast.kernels.self_attention.tiles import Table, Tiles

LARGEST_HEAD = 256

_ARITHMETIC = ("half", "tf32", "ieee")
# Small, so that small tests cross tile borders; unlike, so that queries and keys are not taken for each other.
_INTERPRETER = {arithmetic: {256: Tiles(32, 16, 4, 2)} for arithmetic in _ARITHMETIC}

# Exact products of float32 take no matrix units; small tiles, so that their operands stay in registers.
_EXACT = {64: Tiles(64, 32, 8, 2), 128: Tiles(32, 32, 8, 2), 256: Tiles(16, 16, 8, 2)}

FORWARD: Table = {
    "hopper": {
        # At 64, two programs fit on a processor: one takes exponentials while the other multiplies.
        "half": {64: Tiles(128, 32, 8, 3), 128: Tiles(128, 64, 8, 2), 256: Tiles(64, 32, 8, 2)},
        "tf32": {64: Tiles(64, 64, 4, 2), 128: Tiles(64, 32, 8, 2), 256: Tiles(32, 32, 8, 2)},
        "ieee": _EXACT,
    },
    "ampere": {
        "half": {64: Tiles(128, 32, 8, 2), 128: Tiles(64, 32, 4, 2), 256: Tiles(32, 32, 4, 2)},
        "tf32": {64: Tiles(64, 32, 4, 2), 128: Tiles(32, 32, 4, 2), 256: Tiles(16, 16, 4, 2)},
        "ieee": _EXACT,
    },
    "amd": {
        "half": {64: Tiles(64, 32, 4, 1), 128: Tiles(64, 16, 4, 1), 256: Tiles(16, 16, 4, 1)},
        "tf32": {64: Tiles(32, 32, 4, 1), 128: Tiles(32, 16, 4, 1), 256: Tiles(16, 16, 4, 2)},
        "ieee": {64: Tiles(32, 32, 4, 1), 128: Tiles(32, 16, 4, 1), 256: Tiles(16, 16, 4, 2)},
    },
    "interpreter": _INTERPRETER,
}

BACKWARD_QUERY: Table = FORWARD


def _transposed(sizes: dict[int, Tiles]) -> dict[int, Tiles]:
    """A program of the keys' gradient owns keys and loops over queries."""
    return {size: tile._replace(queries=tile.keys, keys=tile.queries) for size, tile in sizes.items()}


BACKWARD_KEY: Table = {
    family: {arithmetic: _transposed(sizes) for arithmetic, sizes in columns.items()}
    for family, columns in FORWARD.items()
}


def tile_for(table: Table, family: str, arithmetic: str, head_size: int) -> Tiles:
    """The tile sizes for heads of a size (the larger one of student and source)."""
    sizes = table[family][arithmetic]
    return sizes[min(size for size in sizes if size >= head_size)]

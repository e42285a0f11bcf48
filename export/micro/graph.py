"""A graph of TFLite Micro's integer operators.

`Graph.run` computes it in float with numpy, which is what calibration looks at; `file` turns it into a TFLite file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from satn_fast.export.micro.operators import DICTATED, KINDS
from satn_fast.export.weights import Dense

Values = NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
        name: Its name in the file.
        shape: Its shape.
        dtype: In the file: `"int8"`, `"int16"`, or `"int32"` and `"int64"` (biases, and constants that are not
            quantized).
        constant: The value of a constant, in float where it is quantized.
        quantization: Scale and zero point, where they are not left to calibration.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    constant: Values | None = None
    quantization: tuple[float, int] | None = None


@dataclass(frozen=True)
class Operator:
    """One operator; `kind` is its name in TFLite's schema."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, Any]


class State(NamedTuple):
    """An input, and the output that the host copies to it before the next step. Before the first it is all zero."""

    input: str
    output: str


@dataclass
class Graph:
    """Tensors by name; operators in the order of computing; inputs and outputs in the order of the file.

    Of the tensors in `channel_axes`, calibration finds the range of every channel, along that axis.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    channel_axes: dict[str, int] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Computes every tensor in float."""
        values = {name: tensor.constant for name, tensor in self.tensors.items() if tensor.constant is not None}
        values |= inputs
        for operator in self.operators:
            arguments = (values[name] for name in operator.inputs)
            values[operator.output] = KINDS[operator.kind].compute(operator.options, *arguments)
        return values

    def initial_state(self) -> dict[str, Values]:
        """The state before the first frame."""
        return {state.input: np.zeros(self.tensors[state.input].shape, np.float32) for state in self.states}

    def input(self, name: str, shape: Sequence[int], **properties: Any) -> str:
        """Adds an input."""
        self.inputs.append(name)
        return self._add(Tensor(name, tuple(shape), **properties))

    def constant(self, name: str, value: Values, dtype: str) -> str:
        """Adds a constant, unless it is there."""
        return name if name in self.tensors else self._add(Tensor(name, value.shape, dtype, value))

    def indices(self, *numbers: int) -> str:
        """Adds a constant of whole numbers: a shape, axes."""
        return self.constant("indices_" + "_".join(map(str, numbers)), np.array(numbers, np.int32), "int32")

    def apply(
        self, kind: str, output: str, *inputs: str, options: Mapping[str, Any] | None = None, **properties: Any
    ) -> str:
        """Adds an operator and the tensor that it makes."""
        operator = Operator(kind, inputs, output, options or {})
        examples = (self._example(name) for name in inputs)
        shape = KINDS[kind].compute(operator.options, *examples).shape
        self.operators.append(operator)
        dtype = properties.get("dtype", self.tensors[inputs[0]].dtype)
        quantization = DICTATED.get((kind, dtype))
        return self._add(Tensor(output, shape, **({"dtype": dtype, "quantization": quantization} | properties)))

    def dense(self, name: str, x: str, dense: Dense, *, relu: bool = False) -> str:
        """Adds a dense layer: (c, Cin) to (c, Cout), or (c, K, Cin) to (c, Cout) with the weights of K frames."""
        return self.apply(
            "FULLY_CONNECTED",
            name,
            x,
            self.constant(f"{name}_weight", np.ascontiguousarray(dense.weight.T), "int8"),
            self.constant(f"{name}_bias", dense.bias, "int64" if self.tensors[x].dtype == "int16" else "int32"),
            options={"relu": relu},
        )

    def product(self, name: str, x: str, y: str, **properties: Any) -> str:
        """Adds a product of int16 matrices, (..., m, n) and (..., k, n) to (..., m, k).

        The right one is given transposed: TFLite Micro would transpose it in memory of its own.
        """
        return self.apply("BATCH_MATMUL", name, x, y, options={"adj_y": True}, **properties)

    def wide(self, x: str) -> str:
        """The same in int16."""
        return self.apply("QUANTIZE", f"{x}_wide", x, dtype="int16")

    def history(self, name: str, frames: str, length: int, axis: int) -> str:
        """Puts the last `length` frames before the new ones, along `axis`, and keeps the last for the next step."""
        joined = self.apply(
            "CONCATENATION",
            f"{name}_joined",
            self._state_input(name, frames, length, axis),
            frames,
            options={"axis": axis},
        )
        self.outputs.append(self._last(f"{name}_next", joined, length, axis))
        return joined

    def window(self, name: str, frames: str, length: int, axis: int) -> str:
        """The last `length` frames, the new ones included, along `axis`; what they are is what is kept."""
        kept = self._state_input(name, frames, length, axis)
        older = self._last(f"{name}_kept", kept, length - self.tensors[frames].shape[axis], axis)
        self.outputs.append(self.apply("CONCATENATION", f"{name}_next", older, frames, options={"axis": axis}))
        return self.outputs[-1]

    def _state_input(self, name: str, frames: str, length: int, axis: int) -> str:
        like = self.tensors[frames]
        shape = (*like.shape[:axis], length, *like.shape[axis + 1 :])
        self.states.append(State(name, f"{name}_next"))
        return self.input(name, shape, dtype=like.dtype)

    def _last(self, output: str, x: str, length: int, axis: int) -> str:
        shape = self.tensors[x].shape
        begin = [shape[axis] - length if i == axis else 0 for i in range(len(shape))]
        size = [length if i == axis else n for i, n in enumerate(shape)]
        return self.apply("SLICE", output, x, self.indices(*begin), self.indices(*size))

    def _add(self, tensor: Tensor) -> str:
        assert tensor.name not in self.tensors, f"two tensors are called {tensor.name}"
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _example(self, name: str) -> Values:
        tensor = self.tensors[name]
        return np.zeros(tensor.shape, np.float32) if tensor.constant is None else tensor.constant

"""What all operations do alike when they become `torch.ops.satn_fast.*`."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

from satn_fast.kernels import triton_runtime


def register_gradients(
    name: str,
    op: Any,
    backward_op: Any,
    *,
    backward: Callable[..., Any],
    setup_context: Callable[..., None],
) -> None:
    """Lets autograd compute an operation's gradients by its backward operation, which has none of its own.

    Args:
        name: The operation's name, for the message that refuses second-order gradients.
        op: The operation, as `torch.library.custom_op` made it.
        backward_op: What `backward` calls.
        backward: Gets the context and the gradients of the results, gives those of the arguments.
        setup_context: Keeps in the context what `backward` needs.
    """

    def refuse_second_order(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError(
            f"satn_fast::{name} has no second-order gradients; "
            'compute them with satn_fast.set_backend("torch") or satn_fast.reference'
        )

    op.register_autograd(backward, setup_context=setup_context)
    backward_op.register_autograd(refuse_second_order)


def implementation_for(x: Tensor, triton_backend: ModuleType, torch_backend: ModuleType) -> Any:
    """The module whose `forward` and `backward` compute on the device and in the dtype of `x`."""
    return torch_backend if triton_runtime.why_not(x.device.type, x.dtype) else triton_backend

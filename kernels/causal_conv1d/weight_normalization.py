"""Weight normalisation in one kernel: normalise, scale, pack for the convolution, cast.

`torch.ops.satn_fast.weight_norm` gives a (Cout, Cin, K) weight that is stored as (K, Cin, Cout), the order in which the
convolution's kernels read it: no copy in between, forward or backward.
"""

from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels import triton_runtime
from satn_fast.kernels.triton_runtime import Launch, block_size, ceil_div


def weight_norm(v: Tensor, g: Tensor) -> Tensor:
    """Gives the weight `g * v / ||v||`, the norm taken per output channel (Salimans & Kingma 2016).

    Args:
        v: (Cout, Cin, K) directions.
        g: (Cout, 1, 1) lengths.

    Returns:
        (Cout, Cin, K) in the dtype of `v`, or autocast's where that is on.

    Example:
        >>> weight_norm(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[10.0]]])).tolist()
        [[[6.0, 8.0]]]
    """
    device_type = v.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else v.dtype
    weight: Tensor = _weight_norm(v, g, dtype)
    return weight


@torch.library.custom_op("satn_fast::weight_norm", mutates_args=())
def _weight_norm(v: Tensor, g: Tensor, dtype: torch.dtype) -> Tensor:
    if triton_runtime.why_not(v.device.type, v.dtype):
        norm = torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)
        packed: Tensor = (g * v / norm).to(dtype).permute(2, 1, 0).contiguous()
        return packed.permute(2, 1, 0)
    weight = v.new_empty(v.shape[::-1], dtype=dtype)
    forward_launch(v.contiguous(), g.contiguous(), weight).run(v.device)
    return weight.permute(2, 1, 0)


@_weight_norm.register_fake
def _(v: Tensor, g: Tensor, dtype: torch.dtype) -> Tensor:
    return v.new_empty(v.shape[::-1], dtype=dtype).permute(2, 1, 0)


@torch.library.custom_op("satn_fast::weight_norm_backward", mutates_args=())
def _weight_norm_backward(dweight: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    v, g = v.contiguous(), g.contiguous()
    if triton_runtime.why_not(v.device.type, v.dtype):
        norm = torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)
        dweight = dweight.to(v.dtype)
        along = (dweight * v).sum((1, 2), keepdim=True) / norm
        return (g / norm * (dweight - v * (along / norm))).contiguous(), along
    dv, dg = torch.empty_like(v), torch.empty_like(g)
    backward_launch(dweight.permute(2, 1, 0).contiguous(), v, g, dv, dg).run(v.device)
    return dv, dg


@_weight_norm_backward.register_fake
def _(dweight: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), g.new_empty(g.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: Any, dweight: Tensor) -> tuple[Tensor, Tensor, None]:
    dv, dg = _weight_norm_backward(dweight, *ctx.saved_tensors)
    return dv, dg, None


def _refuse_second_order(ctx: Any, *_: Tensor) -> None:
    raise RuntimeError(
        "satn_fast::weight_norm has no second-order gradients; "
        'compute them with satn_fast.set_backend("torch") or satn_fast.reference'
    )


_weight_norm.register_autograd(_backward, setup_context=_setup_context)
_weight_norm_backward.register_autograd(_refuse_second_order)


def forward_launch(v: Tensor, g: Tensor, weight: Tensor) -> Launch:
    """The forward kernel on contiguous tensors; `weight` is packed."""
    from satn_fast.kernels.causal_conv1d.triton_weight_norm import weight_norm_forward_kernel

    return _launch(weight_norm_forward_kernel, v, {"v": v, "g": g, "weight": weight})


def backward_launch(dweight: Tensor, v: Tensor, g: Tensor, dv: Tensor, dg: Tensor) -> Launch:
    """The backward kernel on contiguous tensors; `dweight` is packed."""
    from satn_fast.kernels.causal_conv1d.triton_weight_norm import weight_norm_backward_kernel

    return _launch(weight_norm_backward_kernel, v, {"dweight": dweight, "v": v, "g": g, "dv": dv, "dg": dg})


def _launch(kernel: Any, v: Tensor, tensors: dict[str, Tensor]) -> Launch:
    n_out, n_in, taps = v.shape
    block_out = 16
    sizes = {"IN": n_in, "OUT": n_out, "TAPS": taps, "BLOCK_OUT": block_out, "BLOCK_FAN": block_size(n_in * taps, 128)}
    return Launch(kernel, ceil_div(n_out, block_out), {**tensors, **sizes}, {"num_warps": 4, "num_stages": 2})

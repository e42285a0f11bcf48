"""The operations of SATN, one folder each.

`reference.py` is the specification in plain PyTorch; `torch_backend.py`, where there is one, computes the
same faster with PyTorch's own kernels, `triton_backend.py` with ours; `op.py` checks the arguments and chooses. The
public names are in `satn_fast.functional`. README.md tells how an operation is put together.
"""

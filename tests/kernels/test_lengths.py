import pytest
import torch

from satn_fast.kernels.lengths import check_lengths, frame_mask, zero_padded


def test_zero_padded_blocks_nan_forward_and_backward():
    x = torch.full((2, 3, 2), float("nan"))
    x[0, :2] = 1.0
    x.requires_grad_()
    y = zero_padded(x, torch.tensor([2, 0]))
    y.sum().backward()
    assert y.tolist() == [[[1, 1], [1, 1], [0, 0]], [[0, 0]] * 3]
    assert x.grad.tolist() == [[[1, 1], [1, 1], [0, 0]], [[0, 0]] * 3]


def test_frame_mask_of_empty_and_full_rows():
    assert frame_mask(torch.tensor([0, 2]), 2).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("lengths", "complaint"),
    [
        ([1, 2], "integer tensor"),
        (torch.tensor([1.0, 2.0]), "integer tensor"),
        (torch.tensor([True, False]), "integer tensor"),
        (torch.tensor([1]), "batch size 2"),
        (torch.tensor([1, 4]), r"within 0\.\.3"),
        (torch.tensor([-1, 2]), r"within 0\.\.3"),
    ],
)
def test_unfit_lengths_are_named(lengths, complaint):
    with pytest.raises(ValueError, match=complaint) as error:
        check_lengths(lengths, torch.zeros(2, 3, 1))
    assert "lengths" in str(error.value)

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.functional import attention_transfer_loss
from satn_fast.kernels.self_attention.reference import attention_map

from .cases import batches, draw_lengths, frames, poison_padding, seeds

losses = pytest.mark.parametrize("loss", ["mse", "kl", "at"])


def by_definition(student, source, lengths, loss):
    """The table of kernels/attention_transfer/README.md, written as loops over maps and rows."""
    per_row, per_map = [], []
    for b, length in enumerate(lengths):
        for h in range(student.shape[1]):
            p, s = student[b, h, :length, :length], source[b, h, :length, :length]
            if length:
                per_map.append(((p / p.norm() - s / s.norm()) ** 2).sum())
            for row in range(length):
                if loss == "mse":
                    per_row.append(((p[row] - s[row]) ** 2).sum())
                else:
                    seen = s[row] > 0
                    per_row.append((s[row][seen] * (s[row][seen] / p[row][seen]).log()).sum())
    terms = per_map if loss == "at" else per_row
    return sum(terms) / len(terms) if terms else torch.tensor(0.0).double()


@losses
@given(data=st.data(), batch=batches, n_frames=frames.filter(lambda n: n < 32), seed=seeds)
def test_follows_the_definition_with_nan_in_padding(loss, data, batch, n_frames, seed):
    torch.manual_seed(seed)
    lengths = draw_lengths(data, batch, n_frames)
    window = data.draw(st.sampled_from([None, 3]))
    q, k, q_source, k_source = torch.randn(4, batch, n_frames, 2, 3).double()
    student, source = (attention_map(*pair, window=window, lengths=lengths) for pair in ((q, k), (q_source, k_source)))
    expected = by_definition(student, source, [n_frames] * batch if lengths is None else lengths.tolist(), loss)
    poisoned = [poison_padding(x, lengths) for x in (q, k, q_source, k_source)]
    result = attention_transfer_loss(*poisoned, lengths=lengths, window=window, loss=loss)
    assert math.isclose(float(result), float(expected), rel_tol=1e-9, abs_tol=1e-12)


@losses
@pytest.mark.parametrize("window", [None, 2])
def test_gradients_pass_gradcheck_and_stop_at_the_source(loss, window):
    lengths = torch.tensor([5, 3, 0])
    q, k = (torch.randn(3, 5, 2, 3).double().requires_grad_() for _ in range(2))
    source = [torch.randn(3, 5, 2, 4).double().requires_grad_() for _ in range(2)]

    def function(q, k):
        return attention_transfer_loss(q, k, *source, lengths=lengths, window=window, loss=loss)

    assert torch.autograd.gradcheck(function, (q, k))
    function(q, k).backward()
    assert source[0].grad is None
    assert source[1].grad is None


@losses
def test_descending_makes_the_maps_agree(loss):
    q, k = (torch.randn(1, 8, 2, 4, requires_grad=True) for _ in range(2))
    q_source, k_source = torch.randn(2, 1, 8, 2, 4)
    optimizer = torch.optim.Adam([q, k], lr=0.1)
    values = []
    for _ in range(200):
        value = attention_transfer_loss(q, k, q_source, k_source, loss=loss)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.05 * values[0]


@losses
def test_equal_maps_cost_nothing_and_no_frames_cost_nothing(loss):
    q, k = torch.randn(2, 2, 6, 2, 4)
    assert attention_transfer_loss(q, k, q, k, loss=loss).item() == pytest.approx(0.0, abs=1e-6)
    lengths = torch.tensor([0, 0])
    assert attention_transfer_loss(q, k, k, q, lengths=lengths, loss=loss).item() == 0.0
    assert attention_transfer_loss(q[:, :0], k[:, :0], q[:, :0], k[:, :0], loss=loss).item() == 0.0


def test_unknown_loss_and_unlike_heads_are_named():
    q = torch.zeros(1, 3, 2, 4)
    with pytest.raises(ValueError, match="loss is 'cosine'"):
        attention_transfer_loss(q, q, q, q, loss="cosine")
    with pytest.raises(ValueError, match="q_source"):
        attention_transfer_loss(q, q, q[:, :, :1], q[:, :, :1])

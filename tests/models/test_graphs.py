"""Buckets, buffers and invalidation on any machine, with a recorder that computes anew; CUDA graphs where there are."""

import threading
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast import SATN, graphed, reference
from satn_fast.graphs import Graphed, bucket_sizes

from .test_reference import small_config


class Recorder:
    """Repeats a computation by computing it again, into the same tensor."""

    device_type = "cpu"

    def __init__(self, device):
        self.inside = False

    def record(self, compute):
        result = compute()

        def replay():
            assert self.inside
            result.copy_(compute())

        return replay, result

    @contextmanager
    def in_order(self):
        assert not self.inside
        self.inside = True
        yield
        self.inside = False

    def close(self):
        assert not self.inside


def small_model(**changes):
    return SATN(small_config(**changes)).eval()


def on_cpu(model, buckets=(4, 8, 16), max_batch=3):
    return Graphed(model, Recorder, buckets, max_batch)


def exact(model, features, lengths=None):
    with torch.no_grad():
        return model(features, lengths).logits


@given(
    changes=st.sampled_from(
        [{}, {"normalization": "running", "attention_window": 4}, {"normalization": "global", "n_blocks": 4}]
    ),
    calls=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 16), st.booleans()), min_size=1, max_size=5),
    seed=st.integers(0, 2**31),
)
def test_results_are_those_of_the_model_whatever_came_before(changes, calls, seed):
    torch.manual_seed(seed)
    model = small_model(**changes)
    fast = on_cpu(model)
    for batch, n_frames, with_lengths in calls:
        features = torch.randn(batch, n_frames, 6)
        lengths = torch.randint(0, n_frames + 1, (batch,)) if with_lengths else None
        torch.testing.assert_close(fast(features, lengths).logits, exact(model, features, lengths))


def test_padding_left_by_an_earlier_call_is_inert():
    model = small_model()
    fast, features = on_cpu(model), torch.randn(1, 5, 6)
    fast(torch.full((1, 8, 6), torch.nan))
    torch.testing.assert_close(fast(features).logits, exact(model, features))


def test_each_batch_size_bucket_and_dtype_is_recorded_once():
    fast = on_cpu(small_model())
    for n_frames in (1, 4, 5, 8, 3):
        fast(torch.randn(1, n_frames, 6))
    fast(torch.randn(2, 8, 6))
    assert fast.recorded == ((1, 4), (1, 8), (2, 8))
    fast.reset()
    assert fast.recorded == ()


def test_warming_up_records_every_bucket():
    fast = on_cpu(small_model())
    fast.warm_up(batch_sizes=(1, 2))
    assert sorted(fast.recorded) == [(1, 4), (1, 8), (1, 16), (2, 4), (2, 8), (2, 16)]


def test_results_belong_to_the_caller():
    fast = on_cpu(small_model())
    first = fast(torch.randn(1, 8, 6)).logits
    kept = first.clone()
    fast(torch.randn(1, 8, 6))
    assert torch.equal(first, kept)
    assert not first.requires_grad


@pytest.mark.filterwarnings("error")
def test_what_is_too_large_runs_the_model_and_says_so_once():
    model = small_model()
    fast = on_cpu(model)
    long, wide = torch.randn(1, 17, 6), torch.randn(4, 8, 6)
    with pytest.warns(UserWarning, match="1 x 17 frames runs without a graph, like all beyond 3 x 16"):
        torch.testing.assert_close(fast(long).logits, exact(model, long))
    torch.testing.assert_close(fast(wide).logits, exact(model, wide))
    assert fast.recorded == ()


def test_weights_for_inspection_come_from_the_model():
    model, features = small_model(), torch.randn(1, 5, 6)
    output = on_cpu(model)(features, return_weights=True)
    assert output.attention.shape == (1, 2, 5, 5)
    assert output.pooling.shape == (1, 5)


def change_in_place(model):
    with torch.no_grad():
        model.encoder.tcn.blocks[0].conv1.weight_v.mul_(torch.linspace(0.5, 2.0, 6)[:, None])


def train(model):
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.5)
    model(torch.randn(2, 5, 6)).logits.square().sum().backward()
    optimizer.step()
    model.eval()


def exchange(model):
    model.classifier.weight = torch.nn.Parameter(torch.randn(4, 8))


def load_by_assignment(model):
    model.load_state_dict({k: v.clone() + 0.1 for k, v in model.state_dict().items()}, assign=True)


def fit(model):
    model.encoder.normalization.fit([torch.randn(20, 6) * 3 + 1])


@pytest.mark.parametrize("change", [change_in_place, train, exchange, load_by_assignment, fit])
def test_changed_weights_are_recorded_anew(change):
    model, features = small_model(), torch.randn(1, 5, 6)
    fast = on_cpu(model)
    fast.warm_up()
    before = fast(features).logits
    change(model)
    after = fast(features).logits
    assert fast.recorded == ((1, 8),)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, exact(model, features))


def test_weights_of_another_dtype_are_recorded_anew():
    model, features = small_model(), torch.randn(1, 5, 6)
    fast = on_cpu(model)
    single = fast(features).logits
    model.double()
    double = fast(features.double()).logits
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


def test_unchanged_weights_are_not_recorded_again():
    model, features = small_model(), torch.randn(1, 5, 6)
    fast = on_cpu(model)
    for _ in range(2):
        fast(features)
        exact(model, features)
        model(features)
    assert fast.recorded == ((1, 8),)
    recorder = fast._recorder
    fast(features)
    assert fast._recorder is recorder


def test_training_mode_is_refused():
    model = small_model()
    fast = on_cpu(model)
    model.train()
    with pytest.raises(RuntimeError, match=r"call model\.eval\(\)"):
        fast(torch.randn(1, 5, 6))


def test_a_device_without_graphs_is_refused():
    fast = on_cpu(small_model())
    fast.model.to("meta")
    with pytest.raises(RuntimeError, match="the model is on meta"):
        fast(torch.randn(1, 5, 6))


@pytest.mark.parametrize(
    ("features", "lengths", "message"),
    [
        (torch.zeros(1, 5, 7), None, r"expects \(batch, frames, 6\)"),
        (torch.zeros(5, 6), None, r"expects \(batch, frames, 6\)"),
        (torch.zeros(2, 5, 6), torch.tensor([5]), "one length per row"),
        (torch.zeros(1, 5, 6), torch.tensor([6]), r"within 0\.\.5"),
        (torch.zeros(1, 5, 6), torch.tensor([5.0]), "integer"),
    ],
)
def test_bad_input_gets_the_errors_of_the_model(features, lengths, message):
    with pytest.raises(ValueError, match=message):
        on_cpu(small_model())(features, lengths)


def test_threads_take_turns():
    model = small_model()
    fast, inputs = on_cpu(model), [torch.randn(1, n, 6) for n in range(1, 17)]
    results = {}

    def run(i):
        for _ in range(5):
            results[i] = fast(inputs[i]).logits

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, features in enumerate(inputs):
        torch.testing.assert_close(results[i], exact(model, features))


def test_default_buckets_waste_less_than_half():
    sizes = bucket_sizes()
    assert sizes[0] == 32
    assert sizes[-1] == 2048
    assert all(after <= 1.5 * before for before, after in zip(sizes, sizes[1:], strict=False))


@pytest.mark.parametrize(("options", "message"), [({"buckets": ()}, "buckets is"), ({"buckets": (0, 4)}, "buckets is"),
                                                  ({"max_batch": 0}, "max_batch is 0")])  # fmt: skip
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        on_cpu(small_model(), **options)


def test_only_a_satn_is_taken():
    with pytest.raises(TypeError, match="model is a Linear"):
        graphed(torch.nn.Linear(2, 2))


def test_without_a_gpu_the_error_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="graphed needs a CUDA device"):
        graphed(small_model())


@pytest.mark.gpu
class TestOnGpu:
    @pytest.mark.parametrize("cls", [SATN, reference.SATN])
    @pytest.mark.parametrize("window", [None, 4])
    def test_replays_give_what_the_model_gives(self, cuda, cls, window):
        model = cls(small_config(attention_window=window)).eval().to(cuda)
        fast = graphed(model, buckets=(4, 8, 16))
        fast.warm_up(batch_sizes=(1, 2))
        for batch, n_frames in ((1, 5), (2, 16), (1, 1), (2, 7), (1, 8)):
            features = torch.randn(batch, n_frames, 6, device=cuda)
            lengths = torch.randint(1, n_frames + 1, (batch,), device=cuda)
            torch.testing.assert_close(
                fast(features, lengths).logits, exact(model, features, lengths), rtol=1e-4, atol=1e-5
            )
        assert len(fast.recorded) == 6

    def test_changed_weights_are_recorded_anew(self, cuda):
        model, features = small_model().to(cuda), torch.randn(1, 5, 6, device=cuda)
        fast = graphed(model, buckets=(8,))
        fast(features)
        change_in_place(model)
        torch.testing.assert_close(fast(features).logits, exact(model, features), rtol=1e-4, atol=1e-5)
        model, features = model.half(), features.half()
        torch.testing.assert_close(fast(features).logits, exact(model, features), rtol=1e-2, atol=1e-2)

    def test_features_may_come_from_the_cpu(self, cuda):
        model, features = small_model().to(cuda), torch.randn(1, 5, 6)
        result = graphed(model, buckets=(8,))(features).logits
        torch.testing.assert_close(result, exact(model, features.to(cuda)), rtol=1e-4, atol=1e-5)

    def test_streams_take_turns(self, cuda):
        model = small_model().to(cuda)
        fast, inputs = graphed(model, buckets=(16, 32)), [torch.randn(1, n, 6, device=cuda) for n in range(1, 33)]
        fast.warm_up()
        torch.cuda.synchronize()
        streams, results = [torch.cuda.Stream() for _ in range(4)], []
        for i, features in enumerate(inputs):
            with torch.cuda.stream(streams[i % 4]):
                results.append(fast(features).logits)
        torch.cuda.synchronize()
        for features, result in zip(inputs, results, strict=True):
            torch.testing.assert_close(result, exact(model, features), rtol=1e-4, atol=1e-5)

    def test_a_model_on_the_cpu_is_refused(self, cuda):
        with pytest.raises(ValueError, match="model is on cpu"):
            graphed(small_model())

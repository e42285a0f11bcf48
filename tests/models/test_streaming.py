"""A stream equals the whole utterance, however the frames are cut."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast import SATN, LogMel, SATNConfig, Stream, reference
from satn_fast.streaming import LONGEST_STEP, StreamState, initial_state, stream_step

from .test_reference import SPECTRAL, small_config

ALLOWED = {torch.float32: 1e-4, torch.float64: 1e-10}


def streamable(cls=SATN, dtype=torch.float32, **changes):
    """A small model with random statistics; scaled up, so that pooling and attention prefer some frames clearly."""
    torch.manual_seed(1)
    model = cls(small_config(**({"attention_window": 4, "normalization": "running"} | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    normalization = model.encoder.normalization
    normalization.mean.copy_(torch.randn_like(normalization.mean))
    normalization.std.copy_(torch.rand_like(normalization.std) + 0.5)
    if model.embedding_norm is not None:
        model.embedding_norm.running_mean.copy_(torch.randn(model.config.embedding_size))
        model.embedding_norm.running_var.copy_(torch.rand(model.config.embedding_size) + 0.5)
    return model.to(dtype).eval()


def features_of(model, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, model.config.n_features, generator=generator, dtype=torch.float64)
    return (3 * x + 1).to(model.classifier.weight.dtype)


@torch.no_grad()
def offline(model, features):
    return model(features).logits


def tensors(state):
    return [tensor for part in state for tensor in (part if isinstance(part, tuple) else (part,))]


def memory(stream):
    """Shape and bytes held of every tensor: a view would keep a whole chunk alive."""
    return [(tensor.shape, tensor.dtype, tensor.untyped_storage().nbytes()) for tensor in tensors(stream.state)]


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=ALLOWED[expected.dtype])


@given(
    changes=st.fixed_dictionaries(
        {
            "normalization": st.sampled_from(["global", "running", "running_level"]),
            "pooling": st.sampled_from(["mean", "statistics"]),
            "pooling_layers": st.sampled_from(["last", "all"]),
            "embedding_norm": st.booleans(),
            "spectral_channels": st.sampled_from([0, 2]),
            "front_end": st.just(SPECTRAL["front_end"]),
            "attention_window": st.sampled_from([1, 2, 5, 40]),
            "kernel_size": st.integers(1, 4),
            "n_blocks": st.integers(1, 4),
        }
    ),
    cls=st.sampled_from([SATN, reference.SATN]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    chunks=st.lists(st.integers(0, 60), max_size=12),
    ones=st.integers(0, 5),
    batch_size=st.integers(1, 3),
)
def test_any_chunking_equals_the_whole(changes, cls, dtype, chunks, ones, batch_size):
    model = streamable(cls, dtype, **changes)
    chunks = [*chunks, *[1] * ones]
    features = features_of(model, batch_size, sum(chunks))
    stream, heard = Stream(model, batch_size), 0
    for chunk in features.split(chunks, dim=1) if chunks else ():
        logits = stream.push(chunk)
        heard += chunk.shape[1]
        if heard:
            close(logits, offline(model, features[:, :heard]))
    assert stream.frames == (heard if batch_size == 1 else [heard] * batch_size)


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("preset", ["edge", "micro"])
def test_presets_equal_the_whole_one_frame_at_a_time(preset, dtype):
    model = SATN(SATNConfig.preset(preset)).eval().to(dtype)
    features, stream = features_of(model, 1, 170), Stream(model)
    for t in range(170):
        logits = stream.push(features[:, t : t + 1])
        if t in (0, 1, 49, 50, 99, 100, 124, 169):
            close(logits, offline(model, features[:, : t + 1]))


@pytest.mark.parametrize("n_frames", [1, 2, LONGEST_STEP - 1, LONGEST_STEP, LONGEST_STEP + 1, 3 * LONGEST_STEP + 7])
def test_one_push_equals_the_whole(n_frames):
    model = SATN(SATNConfig.preset("micro")).eval()
    features = features_of(model, 1, n_frames)
    close(Stream(model).push(features), offline(model, features))


@pytest.mark.parametrize("dtype", ALLOWED)
def test_ten_minutes_equal_the_whole_with_the_same_memory(dtype):
    model = SATN(SATNConfig.preset("micro")).eval().to(dtype)
    features, stream = features_of(model, 1, 60_000), Stream(model)
    at_the_start = memory(stream)
    for chunk in features.split(7001, dim=1):
        logits = stream.push(chunk)
        assert memory(stream) == at_the_start
    assert stream.frames == 60_000
    close(logits, offline(model, features))


def test_sums_do_not_drift_in_float32():
    """Hours of single frames, simulated by a state that has heard them: the next frame still counts."""
    model = streamable(normalization="running")
    state = initial_state(model)
    n_frames = 2**25
    state = state._replace(
        frames=state.frames + n_frames,
        feature_sum=state.feature_sum + n_frames,
        largest_score=torch.full_like(state.largest_score, 10.0),
        normalizer=state.normalizer + n_frames,
    )
    _, after = stream_step(model, features_of(model, 1, 1), state)
    assert (after.feature_sum != state.feature_sum).all()
    assert (after.normalizer > state.normalizer).all()


def test_scores_far_apart_leave_pooling_finite():
    model = streamable(dtype=torch.float64)
    with torch.no_grad():
        model.pooling.context.mul_(1e4)
    features, stream = features_of(model, 1, 40), Stream(model)
    for chunk in features.split(3, dim=1):
        logits = stream.push(chunk)
    close(logits, offline(model, features))


@given(data=st.data(), normalization=st.sampled_from(["global", "running"]), window=st.sampled_from([1, 3, 20]))
def test_a_batch_equals_single_streams_that_advance_as_they_like(data, normalization, window):
    model = streamable(dtype=torch.float64, normalization=normalization, attention_window=window)
    batch = Stream(model, 3)
    singles = [Stream(model) for _ in range(3)]
    for turn in range(data.draw(st.integers(1, 5))):
        n_frames = data.draw(st.sampled_from([1, 2, 7, 30, LONGEST_STEP + 5]))
        lengths = data.draw(st.lists(st.integers(0, n_frames), min_size=3, max_size=3))
        chunk = features_of(model, 3, n_frames, seed=turn)
        for row, length in enumerate(lengths):
            chunk[row, length:] = torch.nan
            singles[row].push(chunk[row, :length])
        logits = batch.push(chunk, lengths)
        assert batch.frames == [single.frames for single in singles]
        for row, single in enumerate(singles):
            if single.frames:
                close(logits[row], single.logits[0])
            elif logits is not None:
                close(logits[row], model.classifier.bias.detach())


@pytest.mark.parametrize("rows", [1, [1], (-2,)])
def test_reset_of_a_row_leaves_the_others(rows):
    model = streamable(dtype=torch.float64)
    features, stream = features_of(model, 3, 30), Stream(model, 3)
    before = stream.push(features[:, :20])
    stream.reset(rows)
    assert stream.frames == [20, 0, 20]
    assert torch.equal(stream.logits[[0, 2]], before[[0, 2]])
    assert torch.equal(stream.logits[1], model.classifier.bias)
    after = stream.push(features[:, 20:])
    close(after[[0, 2]], offline(model, features)[[0, 2]])
    close(after[1], offline(model, features[1:2, 20:])[0])


def test_reset_begins_anew():
    model = streamable()
    features, stream = features_of(model, 1, 20), Stream(model)
    assert stream.logits is None
    first = stream.push(features)
    stream.reset()
    assert (stream.frames, stream.logits) == (0, None)
    assert torch.equal(stream.push(features), first)
    stream.reset(0)
    assert (stream.frames, stream.logits) == (0, None)


def test_reset_of_a_row_that_is_not_there():
    stream = Stream(streamable(), 2)
    with pytest.raises(IndexError, match="rows 0 to 1"):
        stream.reset(2)


def test_no_frames_change_nothing():
    model = streamable()
    features, stream = features_of(model, 1, 9), Stream(model)
    assert stream.push(features[:, :0]) is None
    logits = stream.push(features)
    assert torch.equal(stream.push(features[:, :0]), logits)
    assert stream.frames == 9


BAD = {
    "NaN": (lambda x: x.index_fill(1, torch.tensor(300), torch.nan), "NaN or infinity"),
    "minus infinity": (lambda x: x.index_fill(1, torch.tensor(300), -torch.inf), "NaN or infinity"),
    "a value out of all bounds": (lambda x: x.index_fill(1, torch.tensor(300), 3e38), "far too large"),
    "another width": (lambda x: x[..., :5], r"\(1, frames, 6\)"),
    "another batch size": (lambda x: x.expand(2, -1, -1), r"\(1, frames, 6\)"),
    "a single frame without its dimension": (lambda x: x[0, 0], r"\(1, frames, 6\)"),
    "integers": (lambda x: x.long(), "floating point"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_leaves_the_stream_as_it_was(case):
    spoil, message = BAD[case]
    model = streamable()
    features, stream = features_of(model, 1, 340), Stream(model)
    stream.push(features[:, :20])
    state, logits = stream.state, stream.logits
    with pytest.raises(ValueError, match=message):
        stream.push(spoil(features))
    assert stream.state is state
    assert stream.logits is logits
    close(stream.push(features[:, 20:]), offline(model, features))


@pytest.mark.parametrize("lengths", [[3], [-1, 2], [2, 5], [1.0, 2.0]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    model = streamable()
    stream = Stream(model, 2)
    with pytest.raises(ValueError, match="lengths"):
        stream.push(features_of(model, 2, 4), lengths)
    assert stream.frames == [0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_window": None}, "attention_window=100"),
        ({"normalization": "utterance"}, 'normalization="running_level" or "running"'),
    ],
)
def test_models_that_need_the_whole_utterance_are_refused_with_the_remedy(changes, message):
    model = streamable(**changes)
    with pytest.raises(ValueError, match=message):
        Stream(model)
    with pytest.raises(ValueError, match=message):
        initial_state(model)


def test_training_mode_half_precision_and_other_models_are_refused():
    with pytest.raises(ValueError, match="eval"):
        Stream(streamable().train())
    with pytest.raises(ValueError, match="float"):
        Stream(streamable(dtype=torch.bfloat16))
    with pytest.raises(TypeError, match="Linear"):
        Stream(torch.nn.Linear(2, 2))
    for batch_size in (0, True, 1.5):
        with pytest.raises(ValueError, match="batch_size"):
            Stream(streamable(), batch_size)


def test_a_model_that_changes_under_a_stream():
    model = streamable()
    features, stream = features_of(model, 1, 9), Stream(model)
    stream.push(features)
    model.train()
    with pytest.raises(ValueError, match="eval"):
        stream.push(features)
    model.eval().double()
    for attempt in (lambda: stream.push(features), lambda: stream.reset(0)):
        with pytest.raises(RuntimeError, match=r"reset\(\)"):
            attempt()
    stream.reset()
    close(stream.push(features), offline(model, features.double()))


def test_new_weights_are_used_from_the_next_step_on():
    model = streamable()
    features, stream = features_of(model, 1, 9), Stream(model)
    stream.push(features)
    with torch.no_grad():
        model.encoder.tcn.blocks[0].conv1.weight_g.mul_(1.5)
    stream.reset()
    close(stream.push(features), offline(model, features))


@pytest.mark.parametrize("fork", [copy.copy, copy.deepcopy])
def test_a_copy_forks_the_stream(fork):
    model = streamable()
    features, stream = features_of(model, 1, 30), Stream(model)
    stream.push(features[:, :10])
    other = fork(stream)
    assert other.model is model
    close(stream.push(features[:, 10:]), offline(model, features))
    assert (stream.frames, other.frames) == (30, 10)
    close(other.push(features[:, 10:20]), offline(model, features[:, :20]))


def test_pickled_streams_go_on():
    model = streamable()
    features, stream = features_of(model, 1, 30), Stream(model)
    stream.push(features[:, :10])
    again = pickle.loads(pickle.dumps(stream))
    assert torch.equal(again.push(features[:, 10:]), stream.push(features[:, 10:]))


def test_a_step_is_a_pure_function_that_compiles_and_has_gradients():
    model = streamable(reference.SATN, torch.float64)
    features, state = features_of(model, 2, 6), initial_state(model, 2)
    copies = [tensor.clone() for tensor in tensors(state)]
    logits, after = stream_step(model, features, state)
    assert isinstance(after, StreamState)
    assert all(torch.equal(a, b) for a, b in zip(copies, tensors(state), strict=True))
    close(logits.detach(), offline(model, features))
    assert all(g is not None for g in torch.autograd.grad(logits.sum(), list(model.parameters()), allow_unused=True))
    torch._dynamo.reset()
    compiled = torch.compile(stream_step, fullgraph=True, backend="eager")
    close(compiled(model, features, state)[0].detach(), logits.detach())


def test_a_step_with_float32_sums_equals_the_whole():
    model = streamable()
    features, state = features_of(model, 1, 60), initial_state(model, accumulator=torch.float32)
    for chunk in features.split(10, dim=1):
        logits, state = stream_step(model, chunk, state)
    assert {tensor.dtype for tensor in tensors(state)} == {torch.float32, torch.int64}
    close(logits.detach(), offline(model, features))


def test_audio_in_pieces_ends_like_the_whole_file():
    front_end = LogMel()
    model = SATN(SATNConfig.preset("micro", front_end=front_end.describe())).eval()
    audio = np.random.default_rng(0).normal(size=16000).astype(np.float32) / 10
    rows, stream = front_end.stream(), Stream(model)
    for start in range(0, 16000, 700):
        stream.push(rows.push(audio[start : start + 700]))
    logits = stream.push(rows.finish())
    close(logits, offline(model, torch.from_numpy(front_end(audio))[None]))


def test_autocast_and_lists_change_nothing():
    model = streamable()
    features = features_of(model, 1, 9)
    expected = Stream(model).push(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Stream(model).push(features), expected)
    assert torch.equal(Stream(model).push(features[0].tolist()), expected)
    assert torch.equal(Stream(model).push(features.double().requires_grad_()), expected)
    assert not expected.requires_grad


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ALLOWED)
def test_on_a_gpu(cuda, dtype):
    model = SATN(SATNConfig.preset("edge")).eval().to(cuda, dtype)
    features, stream = features_of(model, 2, 700), Stream(model, 2)
    for chunk in features.split([1, 9, 390, 300], dim=1):
        logits = stream.push(chunk)
    assert logits.device.type == "cuda"
    expected = SATN(model.config).eval().double()
    expected.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits.cpu().double(), offline(expected, features.double()), rtol=0, atol=ALLOWED[dtype])

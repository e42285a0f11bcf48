"""A SATN that listens: features come in chunks, and after every chunk there are the logits of all that was heard.

`initial_state` and `stream_step` are the whole computation, as pure functions: tensors in, tensors out, nothing changed
in place. `Stream` wraps them for use. What a step keeps of the past is what the next frames can still see:

    running normalisation   the sum of all frames
    every convolution       its last (K-1) * dilation input frames
    windowed attention      keys and values of the last W-1 frames
    attentive pooling       the largest score, and relative to it the sum of weights, the weighted sum and, for the
                            deviation, the weighted sum of squares

So the state has the same size however long the utterance, a step of `c` frames costs the same at its beginning and
after an hour, and the logits equal those of the whole utterance at once.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from satn_fast import reference
from satn_fast.config import SPECTRAL_FRAMES, STREAMABLE_NORMALIZATIONS, SATNConfig
from satn_fast.kernels.attentive_pool import DEVIATION_FLOOR
from satn_fast.kernels.lengths import check_lengths, frame_mask, zero_padded

# Attention of c frames at once builds c * (W-1+c) scores; longer chunks are cut, so that cost and memory stay linear.
LONGEST_STEP = 256


class StreamState(NamedTuple):
    """What a stream remembers; shapes depend on the configuration and on the batch, never on the utterance."""

    frames: Tensor
    """(B,) int64, frames heard."""
    feature_sum: Tensor
    """With normalisation "running" the sum of all frames so far (centred on the model's mean), (B, F) float64; with
    "running_level" what adds up to their level, (B, 2); else (B, 0)."""
    convolutions: tuple[Tensor, ...]
    """(B, (K-1) * dilation, Cin) for each convolution, the spectral one and two per block: its last input frames, zero
    before the start."""
    keys: Tensor
    """(B, W-1, H, D), of the last frames; of these, the last `min(frames, W-1)` are real."""
    values: Tensor
    """(B, W-1, H, D)."""
    largest_score: Tensor
    """(B,) float64, the largest pooling score so far; the least number there is before the first frame."""
    weighted_sum: Tensor
    """(B, P) float64, sum of `exp(score - largest_score) * h` of all channels that are pooled."""
    weighted_squares: Tensor
    """(B, P) float64, the same of `h**2`; (B, 0) without the deviation."""
    normalizer: Tensor
    """(B,) float64, sum of `exp(score - largest_score)`."""


def initial_state(
    model: reference.SATN, batch_size: int = 1, *, accumulator: torch.dtype = torch.float64
) -> StreamState:
    """Gives the state before the first frame, on the model's device.

    Args:
        model: The model that is to listen.
        batch_size: Number of streams `B`.
        accumulator: What sums over the whole utterance are kept in. In float32 single-frame steps would lose about
            1e-4 after an hour, and stop counting in the end.

    Raises:
        ValueError: The model's configuration cannot be streamed; the message says what to change.

    Example:
        >>> from satn_fast import SATN, SATNConfig
        >>> state = initial_state(SATN(SATNConfig.preset("micro")), batch_size=3)
        >>> state.keys.shape, [tuple(history.shape) for history in state.convolutions[:3]]
        (torch.Size([3, 49, 2, 16]), [(3, 2, 192), (3, 2, 248), (3, 2, 32)])
    """
    config = model.config
    window = _window(config)
    like = model.encoder.normalization.mean

    def zeros(*shape: int) -> Tensor:
        return like.new_zeros(batch_size, *shape)

    def sums(*shape: int) -> Tensor:
        return like.new_zeros(batch_size, *shape, dtype=accumulator)

    return StreamState(
        frames=like.new_zeros(batch_size, dtype=torch.int64),
        feature_sum=sums(config.running_sums),
        convolutions=tuple(zeros(*shape) for shape in _history_shapes(config)),
        keys=zeros(window - 1, config.n_heads, config.head_size),
        values=zeros(window - 1, config.n_heads, config.head_size),
        # Finite, so that a row without any frame never subtracts infinity from infinity.
        largest_score=sums() + torch.finfo(accumulator).min,
        weighted_sum=sums(config.pooled_channels),
        weighted_squares=sums(config.pooled_channels if config.pooling == "statistics" else 0),
        normalizer=sums(),
    )


def stream_step(
    model: reference.SATN, chunk: Tensor, state: StreamState, lengths: Tensor | None = None
) -> tuple[Tensor, StreamState]:
    """Hears the next frames. A pure function, without dropout, whatever mode the model is in.

    The cost is O(c), but for the attention scores, `c * (W-1+c)`: cut long chunks, as `Stream` does.

    Args:
        model: The model that listens.
        chunk: (B, c, F) features, c from 1, of the state's device and the model's dtype.
        state: From `initial_state`, or from the step before.
        lengths: (B,) integers from 0 to c, how many frames of each row are real; `None` means all. Whatever stands
            in the others changes nothing.

    Returns:
        The logits (B, n_labels) of all frames so far, those of an empty utterance for a row that has none, and the new
        state.

    Example:
        >>> from satn_fast import SATN, SATNConfig
        >>> model = SATN(SATNConfig.preset("micro")).eval()
        >>> features, state = torch.randn(1, 30, 192), initial_state(model)
        >>> for chunk in features.split(7, dim=1):
        ...     logits, state = stream_step(model, chunk, state)
        >>> torch.allclose(logits, model(features).logits, atol=1e-4)
        True
    """
    x, feature_sum = _normalize(model.encoder.normalization, chunk, state, lengths)
    x, convolutions = _find_patterns(model.encoder.spectral, x, state.convolutions, lengths)
    blocks, convolutions_of_blocks = _convolve(model.encoder.tcn, x, state.convolutions[len(convolutions) :], lengths)
    h, keys, values = _attend(model.encoder.attention, blocks[-1], state, lengths)
    embedding, pooling = _pool(model.pooling, model.pooled_layers(blocks, h), state, lengths)
    logits = _score(model, embedding)
    frames = state.frames + (chunk.shape[1] if lengths is None else lengths)
    convolutions += convolutions_of_blocks
    return logits, StreamState(frames, feature_sum, convolutions, keys, values, *pooling)


def _normalize(
    normalization: reference.Normalization, chunk: Tensor, state: StreamState, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Normalised (B, c, F) frames and the new sums."""
    chunk = zero_padded(chunk, lengths)
    centred = zero_padded(chunk - normalization.mean, lengths)
    if normalization.mode == "global":
        return centred / normalization.std, state.feature_sum
    levels = normalization.mode == "running_level"
    # Padded frames stand at the end and add zero.
    added = reference.level_sums(chunk, normalization.loudness_exponent) if levels else centred
    added = zero_padded(added, lengths)
    sums = state.feature_sum[:, None] + added.to(state.feature_sum.dtype).cumsum(1)
    if levels:
        removed = reference.of_bands(reference.level_of(sums), chunk.shape[-1])
    else:
        heard = state.frames[:, None] + torch.arange(1, chunk.shape[1] + 1, device=chunk.device)
        removed = sums / (heard + normalization.prior_frames)[..., None]
    x = (centred - removed.to(chunk.dtype)) / normalization.std
    # A view would keep the whole chunk alive.
    return zero_padded(x, lengths), sums[:, -1].clone()


def _find_patterns(
    spectral: reference.SpectralConvolution | None, x: Tensor, histories: tuple[Tensor, ...], lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(B, c, F) to what the TCN reads, and the new history of the spectral convolution, if there is one."""
    if spectral is None:
        return x, ()
    heard = torch.cat([histories[0], x], 1)
    reach = histories[0].shape[1]
    found = zero_padded(spectral(heard)[:, reach:], lengths)
    return torch.cat([x, found], -1), (_latest(heard, reach, lengths),)


def _convolve(
    tcn: reference.TemporalConvNet, x: Tensor, histories: tuple[Tensor, ...], lengths: Tensor | None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(B, c, F) to the (B, c, C) of every block, and the new histories.

    Padded frames reach no real one, since they stand after them.
    """
    kept: list[Tensor] = []
    outputs: list[Tensor] = []
    for index, block in enumerate(tcn.blocks):
        assert isinstance(block, reference.ResidualBlock)
        residual = x if block.project is None else block.project(x)
        y, first = _causal_conv1d(block.conv1, x, histories[2 * index], lengths)
        y, second = _causal_conv1d(block.conv2, y, histories[2 * index + 1], lengths)
        x = F.relu(y + residual)
        kept += [first, second]
        outputs.append(x)
    return tuple(outputs), tuple(kept)


def _causal_conv1d(
    conv: reference.CausalConv1d, x: Tensor, history: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Convolution and ReLU, (B, c, Cin) to (B, c, Cout), and the new history.

    As one matrix product: at chunks of up to 100 frames, a dilated convolution of PyTorch takes two to four times as
    long (10 frames of 64 channels, PyTorch 2.13, one thread of an x86-64 server: 66 us against 15 us), and on a GPU it
    would round to TF32.
    """
    weight = conv.normalized_weight()
    heard = torch.cat([history, x], 1)
    reach = (weight.shape[2] - 1) * conv.dilation
    taps = heard.unfold(1, reach + 1, 1)[..., :: conv.dilation]  # (B, c, Cin, K)
    return F.relu(F.linear(taps.flatten(2), weight.flatten(1), conv.bias)), _latest(heard, reach, lengths)


def _attend(
    attention: reference.SelfAttention, x: Tensor, state: StreamState, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, c, C) to the attended (B, c, C), and the new keys and values."""
    projections = (attention.query, attention.key, attention.value)
    q, k, v = (projection(x).unflatten(-1, (attention.n_heads, -1)) for projection in projections)
    keys, values = torch.cat([state.keys, k], 1), torch.cat([state.values, v], 1)
    n_kept = state.keys.shape[1]
    query = torch.arange(q.shape[1], device=x.device)[:, None]
    key = torch.arange(keys.shape[1], device=x.device)
    # Key i of the c + W - 1 is frame i - (W - 1) of this chunk: query t sees keys t .. t + W - 1, once there are that
    # many.
    in_window = (key >= query) & (key <= query + n_kept)
    not_before_start = key >= n_kept - state.frames[:, None, None, None]
    attended = F.scaled_dot_product_attention(
        q.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=in_window & not_before_start
    )
    h = attention.norm(x + attention.output(attended.transpose(1, 2).flatten(2)))
    return h, _latest(keys, n_kept, lengths), _latest(values, n_kept, lengths)


def _pool(
    pooling: reference.AttentivePooling, layers: Sequence[Tensor], state: StreamState, lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Pools all frames so far, to (B, P) or (B, 2P); with the new (largest score, weighted sums, normaliser).

    Sums are relative to the largest score so far, and are scaled down when a larger one comes.
    """
    h = torch.cat(list(layers), -1)
    scores = (torch.tanh(pooling.projection(h)) @ pooling.context).to(state.normalizer.dtype)
    if lengths is not None:
        scores = scores.masked_fill(~frame_mask(lengths, h.shape[1]), -torch.inf)
    largest = torch.maximum(state.largest_score, scores.amax(1))
    weights = torch.exp(scores - largest[:, None])
    shrink = torch.exp(state.largest_score - largest)
    wide = zero_padded(h, lengths).to(weights.dtype)
    weighted_sum = state.weighted_sum * shrink[:, None] + torch.einsum("bt,btc->bc", weights, wide)
    normalizer = state.normalizer * shrink + weights.sum(1)
    # The largest score counts as 1, so the normaliser is below 1 only before the first frame.
    total = normalizer.clamp(min=1.0)[:, None]
    mean = weighted_sum / total
    if not pooling.deviation:
        return mean.to(h.dtype), (largest, weighted_sum, state.weighted_squares, normalizer)
    squares = state.weighted_squares * shrink[:, None] + torch.einsum("bt,btc->bc", weights, wide.square())
    # In float64 the difference of squares loses nothing that float32 would show.
    variance = (squares / total - mean.square()).clamp(min=0.0)
    deviation = torch.sqrt(variance + DEVIATION_FLOOR)
    # Before the first frame there is none.
    deviation = torch.where(normalizer[:, None] > 0, deviation, 0.0)
    return torch.cat([mean, deviation], 1).to(h.dtype), (largest, weighted_sum, squares, normalizer)


def _score(model: reference.SATN, embedding: Tensor) -> Tensor:
    """Logits of the pooled vector, with the statistics of training, whatever mode the model is in."""
    norm = model.embedding_norm
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        embedding = F.batch_norm(embedding, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    logits: Tensor = model.classifier(embedding)
    return logits


def _latest(heard: Tensor, n_kept: int, lengths: Tensor | None) -> Tensor:
    """The last `n_kept` real frames of (B, n_kept + c, ...), the first `n_kept` being those from before."""
    if lengths is None:
        return heard[:, heard.shape[1] - n_kept :].clone()  # no view, as above
    index = lengths[:, None] + torch.arange(n_kept, device=heard.device)
    rows = torch.arange(len(heard), device=heard.device)[:, None]
    return heard[rows, index]


def _history_shapes(config: SATNConfig) -> Iterable[tuple[int, int]]:
    if config.spectral_channels:
        yield SPECTRAL_FRAMES - 1, config.n_features
    for block in range(config.n_blocks):
        reach = (config.kernel_size - 1) * 2**block
        yield reach, config.tcn_inputs if block == 0 else config.channels
        yield reach, config.channels


def _window(config: SATNConfig) -> int:
    """The attention window, where the configuration can be streamed."""
    if config.attention_window is None:
        raise ValueError(
            "attention_window is None: every frame attends to the whole utterance, which a stream has not heard yet; "
            "train with attention_window=100, for one (the presets edge and micro have a window)"
        )
    if config.normalization not in STREAMABLE_NORMALIZATIONS:
        raise ValueError(
            f"normalization is {config.normalization!r}, which needs more than what was heard so far; train with "
            'normalization="running_level" or "running" (of the frames so far), or "global"'
        )
    return config.attention_window


class Stream:
    """Listens to one utterance, or to a batch of them, in chunks of any size.

    After every chunk there are the logits of all frames so far; they equal those of `model(features)` on these frames,
    to rounding, however they were cut. Memory stays the same however long a stream. A call that raises leaves the
    stream as it was. `copy.copy` and `copy.deepcopy` fork a stream: both go on from here, with the same model.

    Features come from `satn_fast.LogMel(**model.config.front_end).stream()`, which gives its rows four frames late (the
    deltas look ahead) and the rest when it is finished. A stream is for one thread at a time.

    Args:
        model: A `satn_fast.SATN` or `satn_fast.reference.SATN` in evaluation mode, float32 or float64, on any device.
        batch_size: Number of utterances `B` heard side by side.

    Raises:
        ValueError: The model attends to the whole utterance (`attention_window=None`), normalises with the whole
            utterance, is in training mode, or is in half precision; or `batch_size` is below 1.
        TypeError: `model` is no SATN.

    Example:
        >>> import satn_fast, torch
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro", labels=("calm", "angry"))).eval()
        >>> features, stream = torch.randn(50, 192), satn_fast.Stream(model)
        >>> for chunk in features.split(10):
        ...     logits = stream.push(chunk)
        >>> logits.shape, stream.frames
        (torch.Size([1, 2]), 50)
        >>> with torch.no_grad():
        ...     torch.allclose(logits, model(features[None]).logits, atol=1e-4)
        True
    """

    def __init__(self, model: reference.SATN, batch_size: int = 1) -> None:
        if not isinstance(model, reference.SATN):
            raise TypeError(f"model is a {type(model).__name__}; give a satn_fast.SATN")
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; choose a whole number from 1")
        _window(model.config)
        _check_ready(model)
        self.model = model
        self.batch_size = batch_size
        self._state = initial_state(model, batch_size)
        self._logits: Tensor | None = None

    def push(self, features: Tensor | ArrayLike, lengths: Tensor | Sequence[int] | None = None) -> Tensor | None:
        """Hears the next frames, and scores every label on all frames so far.

        Args:
            features: (c, F) for a single stream, or (B, c, F), with any number c of frames: a tensor or anything that
                `torch.as_tensor` takes. It is converted to the model's dtype and device.
            lengths: (B,) integers from 0 to c, the real frames of each row where streams do not advance alike; `None`
                means all.

        Returns:
            (B, n_labels) logits, or `None` before the first frame of any row. A row that has no frame yet has the
            logits of an empty utterance.

        Raises:
            ValueError: Wrong shape, lengths that do not fit, NaN or infinity in a real frame, features so large that
                logits are not finite, or the model is in training mode by now.
            RuntimeError: The model changed its device or dtype after the stream began.
        """
        _check_ready(self.model)
        self._check_unmoved()
        chunk = self._checked(features)
        counts = None
        if lengths is not None:
            # Values are looked at on the CPU: out of range, they would reach beyond a chunk on an accelerator.
            counts = torch.as_tensor(lengths, device="cpu")
            check_lengths(counts, torch.empty(chunk.shape[:2]), "features")
            counts = counts.to(chunk.device)
        if not bool(torch.isfinite(zero_padded(chunk, counts)).all()):
            raise ValueError("features holds NaN or infinity; check the audio")
        logits, state = self._logits, self._state
        with torch.no_grad(), torch.autocast(chunk.device.type, enabled=False):
            for start in range(0, chunk.shape[1], LONGEST_STEP):
                piece = chunk[:, start : start + LONGEST_STEP]
                n_real = None if counts is None else (counts - start).clamp(0, piece.shape[1])
                logits, state = stream_step(self.model, piece, state, n_real)
        if logits is not None and not bool(torch.isfinite(logits).all()):
            raise ValueError("features lead to logits that are not finite; their values are far too large")
        self._logits, self._state = logits, state
        return self.logits

    @property
    def logits(self) -> Tensor | None:
        """(B, n_labels) logits of all frames so far, or `None` before the first frame of any row."""
        return self._logits if self._logits is not None and bool(self._state.frames.any()) else None

    @property
    def frames(self) -> int | list[int]:
        """Frames heard: a number for a single stream, a list of B numbers for a batch."""
        counts = self._state.frames.tolist()
        return int(counts[0]) if self.batch_size == 1 else [int(count) for count in counts]

    @property
    def state(self) -> StreamState:
        """What the stream remembers, for `stream_step`."""
        return self._state

    def reset(self, rows: int | Sequence[int] | None = None) -> None:
        """Begins new utterances.

        Args:
            rows: Which rows of the batch; the others go on untouched. `None` means all, and takes up a model that was
                moved to another device or dtype.

        Raises:
            IndexError: There is no such row.
            RuntimeError: Single rows are reset after the model changed its device or dtype.
        """
        if rows is None:
            _check_ready(self.model)
            self._state, self._logits = initial_state(self.model, self.batch_size), None
            return
        self._check_unmoved()
        chosen = [rows] if isinstance(rows, int) else list(rows)
        for row in chosen:
            if not -self.batch_size <= row < self.batch_size:
                raise IndexError(f"row {row} does not exist; the batch has rows 0 to {self.batch_size - 1}")
        fresh = torch.zeros(self.batch_size, dtype=torch.bool)
        fresh[chosen] = True
        fresh = fresh.to(self._state.frames.device)

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(fresh.reshape(-1, *([1] * (old.dim() - 1))), new, old)

        self._state = _map(choose, initial_state(self.model, self.batch_size), self._state)
        if self._logits is not None:
            nothing = self._state.weighted_sum.new_zeros(self.batch_size, self.model.config.embedding_size)
            with torch.no_grad():
                self._logits = choose(_score(self.model, nothing.to(self._logits)), self._logits)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Steps change no tensor in place, so both may start from the same ones; the model stays the very same.
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"Stream(batch_size={self.batch_size}, frames={self.frames})"

    def _checked(self, features: Tensor | ArrayLike) -> Tensor:
        """(B, c, F) of the model's dtype and device."""
        chunk = torch.as_tensor(features)
        n_features = self.model.config.n_features
        shape = tuple(chunk.shape)
        if chunk.dim() == 2 and self.batch_size == 1:
            chunk = chunk[None]
        if chunk.dim() != 3 or chunk.shape[0] != self.batch_size or chunk.shape[2] != n_features:
            single = f" or (frames, {n_features})" if self.batch_size == 1 else ""
            raise ValueError(
                f"features has shape {shape}; this stream expects ({self.batch_size}, frames, {n_features}){single}, "
                "from satn_fast.LogMel(**model.config.front_end)"
            )
        if not chunk.is_floating_point():
            raise ValueError(f"features is {chunk.dtype}; give floating point features")
        return chunk.detach().to(self._state.keys)

    def _check_unmoved(self) -> None:
        now, then = self.model.classifier.weight, self._state.keys
        if (now.device, now.dtype) != (then.device, then.dtype):
            raise RuntimeError(
                f"the model is {now.dtype} on {now.device} by now, the stream began with {then.dtype} on "
                f"{then.device}; call reset(), or make another Stream"
            )


def _check_ready(model: reference.SATN) -> None:
    if model.training:
        raise ValueError("model is in training mode; call model.eval() first")
    if model.classifier.weight.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"model is {model.classifier.weight.dtype}; streams need float32 or float64: model.float()")


def _map(function: Callable[[Tensor, Tensor], Tensor], one: StreamState, other: StreamState) -> StreamState:
    """Applies a function to every pair of tensors."""

    def apply(a: Any, b: Any) -> Any:
        return tuple(map(apply, a, b)) if isinstance(a, tuple) else function(a, b)

    return StreamState(*map(apply, one, other))


__all__ = ["Stream", "StreamState", "initial_state", "stream_step"]

"""The low-latency path on a GPU: a SATN captured in CUDA graphs, one for every batch size and length bucket.

At batch 1 a GPU waits for Python most of the time. A CUDA graph replays all kernels of a forward pass in one launch,
for one shape. Padding is inert, so an utterance is padded to the next bucket and gets the result of its own length.
"""

import threading
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from satn_fast import reference
from satn_fast.kernels.lengths import check_lengths
from satn_fast.reference import SATNOutput


def bucket_sizes(longest: int = 2048, shortest: int = 32) -> tuple[int, ...]:
    """Powers of two and the midpoints between them, so that padding is less than half of an utterance.

    Args:
        longest: Frames of the last bucket at most; 2048 are 20 s at a hop of 10 ms.
        shortest: Frames of the first bucket, a power of two.

    Example:
        >>> bucket_sizes(longest=200)
        (32, 48, 64, 96, 128, 192)
    """
    sizes = []
    while shortest <= longest:
        sizes += [shortest, shortest * 3 // 2]
        shortest *= 2
    return tuple(size for size in sizes if size <= longest)


class Recorder(Protocol):
    """What records a computation and can repeat it; the seam between buckets and CUDA."""

    device_type: str

    def record(self, compute: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Gives what repeats the computation, and the tensor that a repetition writes its result to."""

    def in_order(self) -> AbstractContextManager[None]:
        """Keeps what runs inside after what ran inside before, whatever streams the callers are on."""

    def close(self) -> None:
        """Waits until nothing runs any more, so that what was recorded may be freed."""


class CudaGraphRecorder:
    """Records CUDA graphs in one private memory pool.

    Graphs share the memory of what they compute in between. They may: `in_order` lets one run at a time, whatever
    the order, each computes all of it anew, and inputs are outside, results not free.
    """

    device_type = "cuda"

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def record(self, compute: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """See `Recorder`."""
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            # Kernels are compiled, libraries set up and weights folded before, outside of the graph's memory.
            with torch.cuda.stream(stream):
                for _ in range(3):
                    compute()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # What other threads allocate meanwhile is none of this graph's business.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = compute()
        return graph.replay, result

    @contextmanager
    def in_order(self) -> Any:
        """See `Recorder`."""
        with torch.cuda.device(self._device):
            self._done.wait()
            try:
                yield
            finally:
                self._done.record()

    def close(self) -> None:
        """See `Recorder`."""
        torch.cuda.synchronize(self._device)


class _Shape(NamedTuple):
    batch: int
    frames: int
    dtype: torch.dtype


class _Bucket(NamedTuple):
    """One recorded forward pass with the tensors that it reads and writes."""

    features: Tensor
    lengths: Tensor
    replay: Callable[[], None]
    logits: Tensor


class Graphed:
    """A SATN that replays recorded forward passes; made by `graphed`.

    Called like the model: `graphed_model(features, lengths)`. `features` may be in the memory of the CPU; a result is
    always a tensor of its own, on the model's device.

    Threads may share it, on any CUDA streams: calls run one after another. Autocast has no say inside; give the
    model the dtype it should run in. The weights may change in place, be loaded or moved: what was recorded is then
    recorded anew. PyTorch does not count changes made through `.data`: change parameters under `torch.no_grad()`.
    After exchanging modules of the model, call `reset`.
    """

    def __init__(
        self,
        model: reference.SATN,
        recorder: Callable[[torch.device], Recorder],
        buckets: Iterable[int],
        max_batch: int,
    ) -> None:
        self.model = model
        self.buckets = tuple(sorted(set(buckets)))
        self.max_batch = max_batch
        if not self.buckets or self.buckets[0] < 1:
            raise ValueError(f"buckets is {self.buckets}; give at least one number of frames, from 1")
        if max_batch < 1:
            raise ValueError(f"max_batch is {max_batch}; choose a whole number from 1")
        self._make_recorder = recorder
        self._lock = threading.Lock()
        self._warned = False
        self._recorder: Recorder | None = None
        self.reset()

    def __call__(self, features: Tensor, lengths: Tensor | None = None, *, return_weights: bool = False) -> SATNOutput:
        """Scores every label, without gradients; see `satn_fast.reference.SATN.forward`.

        Inputs longer than the last bucket, larger than `max_batch` or empty, and calls with `return_weights`, run the
        model itself; the first time that an input is too long or too large, a warning says so.

        Raises:
            ValueError: Wrong feature width, or lengths that do not fit.
            RuntimeError: The model is in training mode, or was moved to a device without CUDA graphs.
        """
        self._check_model()
        bucket = self._bucket_of(features)
        if return_weights or bucket is None:
            device = self._parameters()[0].device
            with torch.no_grad():
                on_device = None if lengths is None else lengths.to(device)
                output: SATNOutput = self.model(features.to(device), on_device, return_weights=return_weights)
            return output
        check_lengths(lengths, features, "features")
        with self._lock:
            return self._replay(_Shape(len(features), bucket, features.dtype), features, lengths)

    def warm_up(self, batch_sizes: Iterable[int] = (1,), dtype: torch.dtype | None = None) -> None:
        """Records every bucket now, so that no later call has to.

        Args:
            batch_sizes: Batch sizes to record for.
            dtype: Of the features to come; by default that of the model.
        """
        self._check_model()
        dtype = dtype or self._parameters()[0].dtype
        for batch in batch_sizes:
            # The largest first: the smaller ones then find room in its memory.
            for frames in reversed(self.buckets):
                self(torch.zeros(batch, frames, self.model.config.n_features, dtype=dtype))

    def reset(self) -> None:
        """Forgets what was recorded."""
        with self._lock:
            self._forget()

    @property
    def recorded(self) -> tuple[tuple[int, int], ...]:
        """(batch size, frames) of every recorded forward pass."""
        return tuple((shape.batch, shape.frames) for shape in self._recorded)

    def _forget(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._recorder = None
        self._recorded: dict[_Shape, _Bucket] = {}
        # Where the parameters and buffers are found: looking them up by module and name also finds exchanged ones.
        self._places = [
            (tensors, name)
            for module in self.model.modules()
            for tensors in (module._parameters, module._buffers)
            for name, tensor in tensors.items()
            if tensor is not None
        ]
        self._state = self._current_state()

    def _parameters(self) -> list[Tensor]:
        return [tensor for tensors, name in self._places if (tensor := tensors.get(name)) is not None]

    def _current_state(self) -> list[tuple[Tensor, int, int]]:
        """Changes when a parameter is exchanged, moved or changed in place.

        A graph reads most parameters where they are, but convolution weights as they were folded before it was
        recorded. The tensors are kept, so that their memory cannot become another's.
        """
        return [(t, t.data_ptr(), 0 if t.is_inference() else t._version) for t in self._parameters()]

    def _is_changed(self) -> bool:
        state = self._current_state()
        return len(state) != len(self._state) or any(
            now is not then or pointer != then_pointer or version != then_version
            for (now, pointer, version), (then, then_pointer, then_version) in zip(state, self._state, strict=True)
        )

    def _check_model(self) -> None:
        if self.model.training:
            raise RuntimeError("the model is in training mode, which a graph cannot replay; call model.eval()")

    def _bucket_of(self, features: Tensor) -> int | None:
        """The frames to pad to, or `None` where the model itself must run, if only to refuse the input."""
        if features.dim() != 3 or 0 in features.shape or features.shape[2] != self.model.config.n_features:
            return None
        batch, frames, _ = features.shape
        if batch <= self.max_batch and frames <= self.buckets[-1]:
            return self.buckets[bisect_left(self.buckets, frames)]
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"a batch of {batch} x {frames} frames runs without a graph, like all beyond {self.max_batch} x "
                f"{self.buckets[-1]}; give graphed larger buckets or max_batch",
                stacklevel=3,
            )
        return None

    def _replay(self, shape: _Shape, features: Tensor, lengths: Tensor | None) -> SATNOutput:
        if self._is_changed():
            self._forget()
        recorder = self._current_recorder()
        with recorder.in_order(), torch.no_grad():
            if shape not in self._recorded:
                self._recorded[shape] = self._record(recorder, shape)
            bucket = self._recorded[shape]
            frames = features.shape[1]
            # Frames behind the real ones are padding, whatever an earlier call left there.
            bucket.features[:, :frames].copy_(features)
            if lengths is None:
                bucket.lengths.fill_(frames)
            else:
                # On a GPU nobody has looked at the values: none may reach into what an earlier call left.
                bucket.lengths.copy_(lengths).clamp_(0, frames)
            bucket.replay()
            return SATNOutput(bucket.logits.clone())

    def _current_recorder(self) -> Recorder:
        if self._recorder is None:
            self._recorder = self._make_recorder(self._parameters()[0].device)
        return self._recorder

    def _record(self, recorder: Recorder, shape: _Shape) -> _Bucket:
        device = self._parameters()[0].device
        if device.type != recorder.device_type:
            raise RuntimeError(f"the model is on {device}, which has no CUDA graphs; move it back to a GPU")
        features = torch.zeros(
            shape.batch, shape.frames, self.model.config.n_features, dtype=shape.dtype, device=device
        )
        lengths = torch.full((shape.batch,), shape.frames, device=device)

        def compute() -> Tensor:
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                logits: Tensor = self.model(features, lengths).logits
            return logits

        replay, logits = recorder.record(compute)
        return _Bucket(features, lengths, replay, logits)


def graphed(model: reference.SATN, *, buckets: Iterable[int] | None = None, max_batch: int = 4) -> Graphed:
    """Wraps a model for low latency on a GPU: replays CUDA graphs at small batch sizes and any length.

    Args:
        model: A SATN in evaluation mode, on a CUDA device.
        buckets: Numbers of frames to pad to; by default `bucket_sizes()`, up to 2048. Each is recorded when it is
            first needed, or by `Graphed.warm_up`, for each batch size and dtype.
        max_batch: Larger batches run the model itself: they keep a GPU busy without a graph.

    Returns:
        A callable that takes and gives what the model does.

    Raises:
        TypeError: `model` is not a SATN.
        ValueError: The model is in training mode or not on a CUDA device, or buckets are out of range.
        RuntimeError: There is no CUDA device.

    Example:
        >>> from satn_fast import SATN, SATNConfig
        >>> model = SATN(SATNConfig.preset("micro")).eval()
        >>> if torch.cuda.is_available():
        ...     fast = graphed(model.cuda())
        ...     fast.warm_up()
        ...     logits = fast(torch.randn(1, 250, 192)).logits
    """
    if not isinstance(model, reference.SATN):
        raise TypeError(f"model is a {type(model).__name__}; graphed takes a satn_fast.SATN")
    if not torch.cuda.is_available():
        raise RuntimeError("graphed needs a CUDA device, and torch finds none here; call the model itself")
    if model.training:
        raise ValueError("model is in training mode, which a graph cannot replay; call model.eval()")
    device = next(model.parameters()).device
    if device.type != "cuda":
        raise ValueError(f"model is on {device}; move it to a GPU with model.cuda()")
    return Graphed(model, CudaGraphRecorder, bucket_sizes() if buckets is None else buckets, max_batch)

"""What a model costs on a device: multiply-accumulates per second of audio, and activation memory."""

from pathlib import Path
from typing import Any

import numpy as np

from satn_fast.config import FEATURE_ORDERS, SPECTRAL_BANDS, SPECTRAL_FRAMES, SPECTRAL_POOLED, SATNConfig
from satn_fast.export.quiet import quiet

# The utterance that the figures of a manifest are stated for.
UTTERANCE_SECONDS = 3.0


def frames_of(config: SATNConfig, seconds: float) -> int:
    """Frames of that much audio, at least 1.

    Example:
        >>> frames_of(SATNConfig(), 3.0)
        300
    """
    return max(1, round(seconds / config.hop_seconds))


def macs_per_second(config: SATNConfig, seconds: float = UTTERANCE_SECONDS) -> int:
    """Multiply-accumulates of the network per second of audio, in an utterance of `seconds`.

    Counted are matrix products: convolutions, projections, attention scores and their weighted sum, pooling and
    classifier. The attention over a whole utterance grows with its length; with a window, a query is counted with the
    keys that it sees. The front end is not included.

    Example:
        >>> macs_per_second(SATNConfig(channels=64, n_blocks=1, attention_window=1)) // 1_000_000
        6
    """
    n_frames, channels = frames_of(config, seconds), config.channels
    seen = FEATURE_ORDERS * SPECTRAL_BANDS * SPECTRAL_FRAMES
    spectral = config.spectral_channels * config.spectral_places * SPECTRAL_POOLED * seen
    tcn = (config.tcn_inputs * channels + (2 * config.n_blocks - 1) * channels**2) * config.kernel_size
    if config.tcn_inputs != channels:
        tcn += config.tcn_inputs * channels
    pairs = n_frames**2
    if config.attention_window is not None:
        window = min(config.attention_window, n_frames)
        # The first frames of the utterance see fewer keys.
        pairs = n_frames * window - window * (window - 1) // 2
    # The scores, and a weighted sum for the mean and for the deviation.
    pooling = (config.pooled_channels + 1) * config.pooling_size + config.embedding_size
    per_frame = spectral + tcn + 4 * channels**2 + pooling
    macs = n_frames * per_frame + 2 * channels * pairs + config.embedding_size * len(config.labels)
    return round(macs / seconds)


def arena_bytes(path: Path, shape: tuple[int, ...]) -> int:
    """Peak size of the activations that are alive at the same time in a TFLite file, for one size of its input.

    Computed from the operators and tensors of LiteRT's interpreter: a tensor lives from the operator that makes it to
    the last one that reads it. It is the lower bound of an arena: alignment, scratch buffers of the kernels and the
    runtime's own structures come on top. Weights stay in the file and are not counted.

    Args:
        path: A `.tflite` file with one input.
        shape: Of the input without its first axis: `T, F`, or the number of samples.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet():
        interpreter = Interpreter(
            model_content=path.read_bytes(),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    heard = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(heard, [1, *shape])
    interpreter.allocate_tensors()
    interpreter.set_tensor(heard, np.zeros((1, *shape), np.float32))
    # Shapes that depend on values are known after a run only.
    interpreter.invoke()
    operators = interpreter._get_ops_details()
    sizes = {
        tensor["index"]: int(np.prod(tensor["shape"], dtype=np.int64)) * np.dtype(tensor["dtype"]).itemsize
        for tensor in interpreter.get_tensor_details()
    }
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    return _peak(operators, sizes, first=heard, last=outputs)


def _peak(operators: list[dict[str, Any]], sizes: dict[int, int], first: int, last: list[int]) -> int:
    """Largest sum of the sizes of tensors that are alive while one operator runs."""
    born, dies = {first: 0}, {first: 0}
    for step, operator in enumerate(operators):
        for index in operator["outputs"]:
            born.setdefault(index, step)
            dies[index] = step
        for index in operator["inputs"]:
            if index in born:  # else it is a constant
                dies[index] = step
    for index in last:
        dies[index] = len(operators) - 1
    return max(
        sum(sizes[index] for index in born if born[index] <= step <= dies[index]) for step in range(len(operators))
    )

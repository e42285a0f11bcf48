"""One point of a sweep, in a process of its own, so that its memory is its own:

python -m benchmarks.scaling '{"subject": "model", "seconds": 10}'
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from satn_fast import SATN, LogMel, SATNConfig, Stream, reference

# The preset `edge`, whose frames attend to a window of the past, at once and in chunks; the same without a window; and
# the plain reference, which builds attention maps.
SUBJECTS = ("front end", "model", "streaming", "model without a window", "plain reference")
FRAMES_PER_SECOND, CHUNK_FRAMES = 100, 10

# Short work is repeated for about this long.
SECONDS = 0.5

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Point:
    """What is computed.

    Attributes:
        subject: One of `SUBJECTS`.
        seconds: Of audio in each utterance.
        batch: Utterances.
        channels: Of the model; Mel bands of the front end.
        threads: In the process.
        processes: That do the same at the same time.
    """

    subject: str
    seconds: float = 5.0
    batch: int = 1
    channels: int = 64
    threads: int = 1
    processes: int = 1


@dataclass(frozen=True)
class Cost:
    """What it takes.

    Attributes:
        seconds: Median of a call; of the slowest process where there are several.
        memory: Bytes that a process has at its peak beyond what it had before the first call.
    """

    seconds: float
    memory: int


def measure(point: Point) -> Cost:
    """Measures in fresh processes, which begin together."""
    one, root = json.dumps(asdict(replace(point, processes=1))), Path(__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.scaling", one]
    processes = [
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(point.processes)
    ]
    for process in processes:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{point} failed; its messages stand above")
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    costs = [Cost(**json.loads(process.communicate()[0])) for process in processes]
    return Cost(max(cost.seconds for cost in costs), max(cost.memory for cost in costs))


def work(point: Point) -> Callable[[], object]:
    """The call that is measured."""
    generator = np.random.default_rng(0)
    if point.subject == "front end":
        samples = 0.1 * generator.standard_normal((point.batch, round(point.seconds * 16000)), dtype=np.float32)
        front_end = LogMel(n_mels=point.channels)
        return lambda: front_end.batch(list(samples), point.threads)
    config = config_of(point.subject, channels=point.channels)
    torch.manual_seed(0)
    model = (reference.SATN if point.subject == "plain reference" else SATN)(config).eval()
    shape = (point.batch, max(1, round(point.seconds * FRAMES_PER_SECOND)), config.n_features)
    features = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    if point.subject != "streaming":
        return lambda: logits(model, features)
    stream = Stream(model, batch_size=point.batch)

    def listen() -> None:
        stream.reset()
        for start in range(0, features.shape[1], CHUNK_FRAMES):
            stream.push(features[:, start : start + CHUNK_FRAMES])

    return listen


def config_of(subject: str, **changes: int) -> SATNConfig:
    """The configuration of a subject that is a model."""
    window = {"attention_window": None} if subject == "model without a window" else {}
    return SATNConfig.preset("edge", **changes, **window)


@torch.inference_mode()
def logits(model: reference.SATN, features: torch.Tensor) -> torch.Tensor:
    """(B, n_labels) of (B, T, F)."""
    return model(features).logits


def main() -> None:
    """Says that it is ready, waits for a line, measures, and prints the cost as JSON."""
    point = Point(**json.loads(sys.argv[1]))
    torch.set_num_threads(point.threads)
    work(replace(point, seconds=0.1, batch=1))()  # what libraries allocate for themselves is not the point's
    run = work(point)
    before = _forget_peak()
    print("ready", flush=True)
    sys.stdin.readline()
    times = [_timed(run)]
    memory = _peak_memory() - before
    while sum(times) < SECONDS:
        times.append(_timed(run))
    print(json.dumps({"seconds": float(np.median(times)), "memory": memory}))


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _forget_peak() -> int:
    """Bytes in use now. Where the system can, the peak counts from here: inputs took more while they were made."""
    if not _STATUS.exists():
        return _peak_memory()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _peak_memory() -> int:
    """Bytes. On Linux not from getrusage, which goes on counting what the parent had."""
    if _STATUS.exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(name: str) -> int:
    (line,) = [line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()

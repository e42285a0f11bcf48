"""Batches of a whole corpus, features computed and found again: frames per second, parity first."""

import time
import timeit

import numpy as np
import pytest
import torch

from satn_fast import LogMel
from satn_fast.audio import write_wav
from satn_fast.data import Utterance
from satn_fast.training import (
    FeatureCache,
    FeatureDataset,
    LengthBuckets,
    MappedFeatures,
    ResidentFeatures,
    extract_features,
)

BATCH_SIZE = 32


@pytest.fixture(scope="module")
def corpus():
    """An hour of speech, as lengths go: 1 to 10 seconds, 120 features."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(100, 1000, (655,), generator=generator).tolist()
    features = [torch.randn(n, 120, generator=generator) for n in lengths]
    return FeatureDataset(features, [torch.tensor(i % 4) for i in range(len(features))])


def one_pass(data, indices):
    for batch in indices:
        data.batch(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def largest_error(data, plain, indices):
    pairs = ((data.batch(i), plain.batch(i)) for i in indices[:5])
    return float(np.max([(ours.features.cpu() - peer.features).abs().max() for ours, peer in pairs]))


def race(compare, data, plain, benchmark, allowed):
    """One epoch in batches of similar length, against padding the tensors of every utterance."""
    indices = list(LengthBuckets(plain.lengths, BATCH_SIZE))
    compare(
        lambda: one_pass(data, indices),
        lambda: one_pass(plain, indices),
        peer_name="a tensor per utterance and pad_sequence",
        max_error=largest_error(data, plain, indices),
        allowed=allowed,
        device=str(data.device),
    )
    copied = torch.cat(list(plain.features))
    space = torch.empty_like(copied)
    seconds = min(timeit.repeat(lambda: space.copy_(copied), number=1, repeat=9))
    keep_rate(benchmark, sum(plain.lengths), copy_frames_per_second=sum(plain.lengths) / seconds)


def keep_rate(benchmark, n_frames, **further):
    """Frames per second, the median and the best round: other processes disturb what is bound by memory."""
    stats = benchmark.stats.stats
    rates = {"frames_per_second": n_frames / stats.median, "best_frames_per_second": n_frames / stats.min} | further
    benchmark.extra_info.update(rates)
    print("  " + ", ".join(f"{rate / 1e6:.1f} million {name.replace('_', ' ')}" for name, rate in rates.items()))


dtypes = pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 0.0), (torch.float16, 2e-3)])


@dtypes
def test_memory_mapped(compare, benchmark, corpus, tmp_path, dtype, allowed):
    MappedFeatures.write(tmp_path / "corpus.npy", corpus.features, dtype)
    race(compare, MappedFeatures(tmp_path / "corpus.npy", corpus.targets), corpus, benchmark, allowed)


@dtypes
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_resident(compare, benchmark, corpus, device, dtype, allowed):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    race(compare, ResidentFeatures(corpus.features, corpus.targets, device, dtype), corpus, benchmark, allowed)


def test_cached_features(compare, benchmark, tmp_path):
    """Features of audio files found in the cache, against computed."""
    random, front_end = np.random.default_rng(0), LogMel()
    utterances = []
    for index in range(100):
        write_wav(tmp_path / f"{index}.wav", random.uniform(-0.5, 0.5, 16000 * 3).astype(np.float32), 16000)
        utterances.append(Utterance(tmp_path / f"{index}.wav", "sad", "anna"))
    time.sleep(2.5)  # the hashes of files that changed this moment are not remembered
    cache = FeatureCache(tmp_path / "cache", front_end)
    expected = extract_features(utterances, front_end, cache=cache)
    found = extract_features(utterances, front_end, cache=cache)
    compare(
        lambda: extract_features(utterances, front_end, cache=cache),
        lambda: extract_features(utterances, front_end),
        peer_name="reading and computing",
        max_error=float(np.max([(a - b).abs().max() for a, b in zip(found, expected, strict=True)])),
        allowed=0.0,
    )
    keep_rate(benchmark, sum(map(len, found)))

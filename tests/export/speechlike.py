"""Features that behave like those of speech, and a small model that has learned something from them."""

import numpy as np
import torch
import torch.nn.functional as F

from satn_fast import SATN, SATNConfig

LABELS = ("calm", "tense", "angry")
N_MELS = 16
FRONT_END = {"preset": "kaldi", "sample_rate": 16000, "n_mels": N_MELS}

# What the presets have: patterns in the spectrum before the TCN, more pooled than the mean of the last layer, and fewer
# and longer frames.
STATISTICS = {
    "pooling": "statistics",
    "pooling_layers": "all",
    "embedding_norm": True,
    "normalization": "running_level",
    "spectral_channels": 4,
    "front_end": FRONT_END | {"hop_seconds": 0.04, "window_seconds": 0.064},
}


def delta(x):
    """HTK regression over two frames on each side, edges repeated; (T, M) to (T, M)."""
    padded, n = np.pad(x, ((2, 2), (0, 0)), mode="edge"), len(x)
    return 0.1 * (padded[3 : n + 3] - padded[1 : n + 1]) + 0.2 * (padded[4 : n + 4] - padded[:n])


def utterance(generator, n_frames, label=0, hop_seconds=0.01):
    """(T, 3 * N_MELS) float32: a spectral slope, syllables whose rate is the class, pauses, noise."""
    bands, time = np.linspace(0, 1, N_MELS), np.arange(n_frames) * hop_seconds
    rate = (2.0, 4.5, 9.0)[label] * generator.uniform(0.85, 1.15)
    level = 8 + generator.normal() - 5 * bands
    syllables = 2.5 * np.sin(2 * np.pi * rate * time + generator.uniform(0, 6))[:, None] * np.cos(3 * bands)
    pauses = -4 * (np.sin(2 * np.pi * 0.7 * time + generator.uniform(0, 6)) > 0.9)[:, None]
    log_mel = level + syllables + pauses + generator.normal(0, 0.7, (n_frames, N_MELS))
    deltas = delta(log_mel)
    return np.concatenate([log_mel, deltas, delta(deltas)], axis=1).astype(np.float32)


def corpus(seed, count, hop_seconds=0.01):
    """`count` utterances of 40 to 160 frames and their class indices."""
    generator = np.random.default_rng(seed)
    truth = [i % len(LABELS) for i in range(count)]
    return [utterance(generator, int(generator.integers(40, 160)), label, hop_seconds) for label in truth], truth


def waveform(generator, n_samples, label=0):
    """(n_samples,) float32: syllables of a voice over noise, an offset, and a silent end."""
    time = np.arange(n_samples) / 16000
    pitch, rate = generator.uniform(90, 250), (2.0, 4.5, 9.0)[label]
    voice = sum(np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 20))
    loudness = 0.1 * np.maximum(0, np.sin(2 * np.pi * rate * time + generator.uniform(0, 6)))
    audio = loudness * voice + generator.normal(0, 0.002, n_samples) + 0.01
    audio[int(0.9 * n_samples) :] = 0
    return audio.astype(np.float32)


def spoken(seed, count):
    """`count` waveforms."""
    generator = np.random.default_rng(seed)
    return [waveform(generator, int(generator.integers(8000, 20000)), i % 3) for i in range(count)]


def config(**overrides):
    fields = {
        "labels": LABELS,
        "channels": 32,
        "n_blocks": 3,
        "n_heads": 2,
        "pooling_size": 16,
        "attention_window": 20,
        "normalization": "running",
        "front_end": FRONT_END,
    }
    return SATNConfig(**(fields | overrides))


def untrained(**overrides):
    """A model with fitted normalisation and weights that differ from their start in every respect."""
    torch.manual_seed(1)
    model = SATN(config(**overrides)).eval()
    model.encoder.normalization.fit([torch.from_numpy(x) for x in corpus(3, 6)[0]])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight_g") or "norm" in name:
                parameter.mul_(torch.rand_like(parameter) + 0.5)
            if name.endswith(("query.weight", "key.weight", "context")):
                parameter.mul_(2.0)
        if model.embedding_norm is not None:
            model.embedding_norm.running_mean.normal_()
            model.embedding_norm.running_var.uniform_(0.1, 2.0)
    return model


def trained(steps=70, **overrides):
    """A model that tells the classes apart."""
    model = untrained(**overrides).train()
    hop_seconds = model.config.hop_seconds
    generator = np.random.default_rng(7)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        labels = generator.integers(0, len(LABELS), 12)
        batch = torch.from_numpy(np.stack([utterance(generator, 80, label, hop_seconds) for label in labels]))
        loss = F.cross_entropy(model(batch).logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()

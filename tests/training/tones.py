"""A task that a small model learns in seconds: which band is loud, and in which order bands were loud."""

import torch

from satn_fast.training import FeatureDataset


def emotions(count: int, seed: int) -> FeatureDataset:
    """Class = the loud band out of two."""
    generator = torch.Generator().manual_seed(seed)
    features, targets = [], []
    for index in range(count):
        x = torch.randn(int(torch.randint(20, 40, (), generator=generator)), 6, generator=generator)
        x[5:12, index % 2] += 3.0
        features.append(x)
        targets.append(torch.tensor(index % 2))
    return FeatureDataset(features, targets)


def symbols(count: int, seed: int) -> FeatureDataset:
    """Three symbols per utterance; symbol `s` makes band `s - 1` loud for a while."""
    generator = torch.Generator().manual_seed(seed)
    features, targets = [], []
    for _ in range(count):
        x = 0.3 * torch.randn(30, 6, generator=generator)
        target = torch.randint(1, 3, (3,), generator=generator)
        for position, symbol in enumerate(target.tolist()):
            x[10 * position : 10 * position + 6, symbol - 1] += 3.0
        features.append(x)
        targets.append(target)
    return FeatureDataset(features, targets)

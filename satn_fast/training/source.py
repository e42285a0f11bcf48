"""The source tasks: recognising speech with connectionist temporal classification, and rebuilding masked features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.config import SATNConfig
from satn_fast.models import AutoencoderModel, SourceModel
from satn_fast.training.augmentation import fitted
from satn_fast.training.callbacks import Progress
from satn_fast.training.dataset import Batch, Crops, Utterances, batches
from satn_fast.training.loading import Share, Versions, as_versions
from satn_fast.training.options import Hardware, TrainingOptions
from satn_fast.training.settings import SourceSettings
from satn_fast.training.task import EpochRecord, Task, crop_frames, mean_activity
from satn_fast.training.trainer import TrainingResult, fit, with_seed

BLANK = 0

# A phoneme lasts several frames of 10 ms: CTC leaves its all-blank beginning much sooner with fewer scores.
SCORE_SECONDS = 0.03


class CtcTask(Task):
    """CTC loss per symbol (Graves et al. 2006) and activity penalty."""

    model: SourceModel

    def loss(self, features: Tensor, batch: Batch | Crops, share: Share) -> Tensor:
        """See `Task.loss`; utterances with fewer scores than symbols count nothing."""
        assert isinstance(batch, Batch), "symbols are those of whole utterances"
        encoded = self.model.encoder(features, batch.lengths)
        scores, lengths = self.model.score(encoded, batch.lengths)
        loss = F.ctc_loss(
            scores.float().log_softmax(-1).transpose(0, 1),
            batch.targets,
            lengths,
            batch.target_lengths,
            blank=BLANK,
            zero_infinity=True,
        )
        activity = mean_activity(encoded, batch.lengths)
        return share.utterances * loss + share.frames * self.options.activity_penalty * activity

    def count(self, batch: Batch) -> Tensor:
        """(2,) edits and symbols."""
        return torch.tensor(_edits(self.model, batch), dtype=torch.float64, device=batch.features.device)

    def figures(self, counts: Tensor) -> EpochRecord:
        """`error_rate`: edits per symbol."""
        edits, symbols = counts.tolist()
        return {"error_rate": edits / max(symbols, 1)}

    def merit(self, record: EpochRecord) -> tuple[float, ...]:
        """The lowest error rate."""
        return (-record["error_rate"],)


class AutoencoderTask(Task):
    """Squared error of rebuilding the normalised features from the augmented ones, and activity penalty.

    What SpecAugment hides has to be inferred from the rest, without which copying the input would do.
    """

    model: AutoencoderModel

    def loss(self, features: Tensor, batch: Batch | Crops, share: Share) -> Tensor:
        """See `Task.loss`."""
        encoded = self.model.encoder(features, batch.lengths)
        rebuilt = self.model.rebuild(encoded, batch.lengths)
        wanted = self.model.encoder.normalization(batch.features, batch.lengths)
        error: Tensor = (rebuilt - wanted).square().sum()
        if batch.lengths is None:
            error = error / wanted.numel()
        else:
            error = error / (batch.lengths.sum().clamp(min=1) * wanted.shape[-1])
        activity = mean_activity(encoded, batch.lengths)
        return share.frames * (error + self.options.activity_penalty * activity)

    def count(self, batch: Batch) -> Tensor:
        """(2,) summed squared error of unmasked utterances, and values."""
        rebuilt = self.model(batch.features, batch.lengths).double()
        wanted = self.model.encoder.normalization(batch.features, batch.lengths).double()
        n_values = batch.lengths.sum().double() * wanted.shape[-1]
        return torch.stack([(rebuilt - wanted).square().sum(), n_values])

    def figures(self, counts: Tensor) -> EpochRecord:
        """`error`: mean squared error, where 1 is that of guessing the mean."""
        return {"error": float(counts[0] / counts[1])}

    def merit(self, record: EpochRecord) -> tuple[float, ...]:
        """The lowest error."""
        return (-record["error"],)


def train_source(
    config: SATNConfig,
    symbols: tuple[str, ...],
    training: Utterances | Versions,
    validation: Utterances | None,
    options: TrainingOptions | None = None,
    *,
    hardware: Hardware | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainingResult[SourceModel]:
    """Learns to recognise symbols, keeping the epoch with the lowest error rate on `validation`.

    Args:
        config: Of the encoder, the same as the emotion model's.
        symbols: The inventory; targets are `1 + index`, 0 is CTC's blank.
        training: Utterances with symbol indices as targets, in one version or several.
        validation: Utterances of other speakers; `None` keeps the last epoch.
        options: How to train; `None` trains as `satn-fast pretrain` does.
        hardware: On what; `None` takes one device, a GPU where there is one.
        folder: Where a checkpoint and logs are kept; a checkpoint that is there is taken up.
        progress: Told after every step; each epoch's record has `loss` and `error_rate`.

    Returns:
        The model and its history.

    Raises:
        ValueError: There are no utterances, or crops are asked for.
        CheckpointError: The checkpoint in `folder` is damaged.
        FloatingPointError: The loss is not finite.
    """
    versions = as_versions(training, validation)
    options = (options or SourceSettings().training_options(config.front_end)).resolved(len(versions))
    if options.crop_seconds:
        raise ValueError(
            f"crop_seconds is {options.crop_seconds}, but speech recognition needs whole utterances; give 0"
        )
    model = with_seed(options.seed, lambda: SourceModel(config, symbols, frames_per_score(config)))
    model.encoder.normalization.fit(versions.features)
    task = CtcTask(model, _with_styles(options, versions, None))
    return fit(task, model, versions, validation, hardware=hardware, folder=folder, progress=progress)


def frames_per_score(config: SATNConfig) -> int:
    """Frames that share a score of every symbol, so that scores come about every `SCORE_SECONDS`.

    Example:
        >>> frames_per_score(SATNConfig()), frames_per_score(SATNConfig.preset("edge"))
        (3, 1)
    """
    return max(1, round(SCORE_SECONDS / config.hop_seconds))


def train_autoencoder(
    config: SATNConfig,
    training: Utterances | Versions,
    validation: Utterances | None,
    options: TrainingOptions | None = None,
    *,
    hardware: Hardware | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainingResult[AutoencoderModel]:
    """Learns to rebuild features, keeping the epoch with the lowest `error` on `validation`.

    Targets of the utterances play no part. Arguments, result and errors are otherwise those of `train_source`.
    """
    versions = as_versions(training, validation)
    options = options or SourceSettings(task="autoencoder").training_options(config.front_end)
    options = options.resolved(len(versions))
    model = with_seed(options.seed, lambda: AutoencoderModel(config))
    model.encoder.normalization.fit(versions.features)
    n_frames = crop_frames(config, options, versions.lengths)
    task = AutoencoderTask(model, _with_styles(options, versions, n_frames), n_frames)
    return fit(task, model, versions, validation, hardware=hardware, folder=folder, progress=progress)


def _with_styles(options: TrainingOptions, versions: Versions, n_frames: int | None) -> TrainingOptions:
    return replace(options, augmentation=fitted(options.augmentation, versions.features, n_frames=n_frames))


@torch.no_grad()
def phoneme_error_rate(model: SourceModel, dataset: Utterances, batch_size: int = 32) -> float:
    """Edits per symbol between the greedy transcription and the truth (0 is perfect)."""
    model.eval()
    counts = [_edits(model, batch) for batch in batches(dataset, batch_size)]
    return sum(edits for edits, _ in counts) / max(sum(symbols for _, symbols in counts), 1)


def _edits(model: SourceModel, batch: Batch) -> tuple[int, int]:
    """Edits of the greedy transcriptions of a batch, and its symbols."""
    edits = symbols = 0
    scores, lengths = model(batch.features, batch.lengths)
    best = scores.argmax(-1)
    for row in range(len(best)):
        heard = collapse(best[row, : lengths[row]].tolist())
        spoken = batch.targets[row, : batch.target_lengths[row]].tolist()
        edits += edit_distance(heard, spoken)
        symbols += len(spoken)
    return edits, symbols


def collapse(path: list[int]) -> list[int]:
    """Turns a CTC path into symbols: repetitions become one, blanks vanish."""
    return [symbol for i, symbol in enumerate(path) if symbol != BLANK and (i == 0 or path[i - 1] != symbol)]


def edit_distance(a: list[int], b: list[int]) -> int:
    """Fewest insertions, deletions and substitutions that turn `a` into `b` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]

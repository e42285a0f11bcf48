"""The source task: recognising phonemes with connectionist temporal classification (Graves et al. 2006)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.config import SATNConfig
from satn_fast.models import SourceModel
from satn_fast.training.dataset import Batch, Utterances, batches
from satn_fast.training.loop import (
    EpochProgress,
    EpochRecord,
    TrainingOptions,
    TrainingResult,
    fit,
    mean_activity,
    seeded,
)

BLANK = 0


def train_source(
    config: SATNConfig,
    symbols: tuple[str, ...],
    training: Utterances,
    validation: Utterances,
    options: TrainingOptions | None = None,
    progress: EpochProgress | None = None,
) -> TrainingResult[SourceModel]:
    """Learns to recognise symbols, keeping the epoch with the lowest error rate on `validation`.

    Args:
        config: Of the encoder, the same as the emotion model's.
        symbols: The inventory; targets are `1 + index`, 0 is CTC's blank.
        training: Utterances with symbol indices as targets.
        validation: Utterances of other speakers.
        options: How to train.
        progress: Called with each epoch's `loss` and `error_rate`.

    Returns:
        The model and its history.

    Raises:
        ValueError: There are no utterances or no epochs.
    """
    options = options or TrainingOptions()
    if not (len(training) and len(validation) and options.epochs > 0):
        raise ValueError("training and validation need at least one utterance each, and options at least one epoch")
    with seeded(options.seed) as generator:
        model = SourceModel(config, symbols)
        model.encoder.normalization.fit(training.features)

        def validate() -> EpochRecord:
            return {"error_rate": phoneme_error_rate(model, validation)}

        return fit(
            model,
            training,
            options,
            generator,
            loss_of=lambda batch: _loss(model, batch, options.activity_penalty),
            validate=validate,
            better=lambda record: (-record["error_rate"],),
            progress=progress,
        )


def _loss(model: SourceModel, batch: Batch, penalty: float) -> Tensor:
    """CTC loss per symbol and activity penalty; utterances with fewer scores than symbols count nothing."""
    encoded = model.encoder(batch.features, batch.lengths)
    scores, lengths = model.score(encoded, batch.lengths)
    loss = F.ctc_loss(
        scores.log_softmax(-1).transpose(0, 1),
        batch.targets,
        lengths,
        batch.target_lengths,
        blank=BLANK,
        zero_infinity=True,
    )
    return loss + penalty * mean_activity(encoded, batch.lengths)


@torch.no_grad()
def phoneme_error_rate(model: SourceModel, dataset: Utterances, batch_size: int = 32) -> float:
    """Edits per symbol between the greedy transcription and the truth (0 is perfect)."""
    model.eval()
    edits = symbols = 0
    for batch in batches(dataset, batch_size):
        scores, lengths = model(batch.features, batch.lengths)
        best = scores.argmax(-1)
        for row in range(len(best)):
            heard = collapse(best[row, : lengths[row]].tolist())
            spoken = batch.targets[row, : batch.target_lengths[row]].tolist()
            edits += edit_distance(heard, spoken)
            symbols += len(spoken)
    return edits / max(symbols, 1)


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

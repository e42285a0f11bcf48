"""The fast models: drop-in replacements of those in `satn_fast.reference`."""

from satn_fast import reference
from satn_fast.config import SATNConfig
from satn_fast.nn import use_fast_modules


class SATN(reference.SATN):
    """Recognises the emotion of an utterance, fast.

    Same constructor, same `state_dict` and same numbers as `satn_fast.reference.SATN`.

    Args:
        config: Hyper-parameters, labels and front-end settings.

    Example:
        >>> import torch
        >>> from satn_fast import SATN, SATNConfig
        >>> model = SATN(SATNConfig.preset("base", labels=("calm", "angry"))).eval()
        >>> features = torch.randn(2, 50, model.config.n_features)
        >>> model(features, lengths=torch.tensor([50, 20])).logits.shape
        torch.Size([2, 2])
    """

    def __init__(self, config: SATNConfig) -> None:
        super().__init__(config)
        use_fast_modules(self)


class SourceModel(reference.SourceModel):
    """Speech recognition for the source task, fast; see `satn_fast.reference.SourceModel`."""

    def __init__(self, encoder_config: SATNConfig, symbols: tuple[str, ...], frames_per_score: int = 3) -> None:
        super().__init__(encoder_config, symbols, frames_per_score)
        use_fast_modules(self)


class AutoencoderModel(reference.AutoencoderModel):
    """An attention autoencoder for the source task, fast; see `satn_fast.reference.AutoencoderModel`."""

    def __init__(self, encoder_config: SATNConfig) -> None:
        super().__init__(encoder_config)
        use_fast_modules(self)

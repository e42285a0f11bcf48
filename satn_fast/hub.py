"""Saving and loading models in the Hugging Face convention: `model.safetensors` and `config.json`.

Built on `huggingface_hub`'s `PyTorchModelHubMixin`. Nothing is ever unpickled, and files appear whole or not at
all. Without `huggingface_hub` the models work; saving and loading say what to install.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Self

from torch import nn

from satn_fast.card import MODEL_CARD, is_edited, model_card, training_record
from satn_fast.config import SATNConfig
from satn_fast.files import atomic_folder, atomic_write

try:
    from huggingface_hub import PyTorchModelHubMixin, constants, hf_hub_download
except ModuleNotFoundError:  # the models themselves need numpy and torch alone

    class PyTorchModelHubMixin:  # type: ignore[no-redef]
        """Stands in where huggingface_hub is not installed: refuses to save or load, and says why."""

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__()

        def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
            """Raises ImportError with the remedy."""
            raise ImportError(_MISSING)

        @classmethod
        def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
            """Raises ImportError with the remedy."""
            raise ImportError(_MISSING)


_MISSING = 'saving and loading needs huggingface_hub and safetensors: pip install "satn-fast[train]"'


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or does not match its configuration."""


class PretrainedModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="satn_fast",
    license="apache-2.0",
    pipeline_tag="audio-classification",
    tags=["speech-emotion-recognition"],
):
    """A model that is saved to and loaded from a folder or a Hugging Face model id."""

    config: SATNConfig
    # What a subclass is trained for, for its model card.
    task = "a source task"

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Writes `model.safetensors`, `config.json` and a model card; each file appears whole or not at all.

        The card tells what the model is, and what `run.json` in that folder says of its training; one that a person
        wrote or edited stays.

        Args:
            save_directory: The folder, made where it is missing.
            **kwargs: As `huggingface_hub.PyTorchModelHubMixin.save_pretrained` takes them.

        Returns:
            The address of the commit with `push_to_hub=True`, else `None`.

        Raises:
            ImportError: huggingface_hub or safetensors is not installed; the message says how to.
        """
        target = Path(save_directory)
        # The temporary folder has another name.
        kwargs.setdefault("repo_id", target.name)
        with atomic_folder(target, last="config.json") as folder:
            if is_edited(target):
                shutil.copyfile(target / MODEL_CARD, folder / MODEL_CARD)
            else:
                (folder / MODEL_CARD).write_text(self._model_card(target), encoding="utf-8")
            address: str | None = super().save_pretrained(folder, **kwargs)
        return address

    def write_model_card(self, folder: str | Path) -> None:
        """Writes the card of a checkpoint's folder anew, from the model and `run.json`, unless a person edited it."""
        if is_edited(folder):
            return
        with atomic_write(Path(folder) / MODEL_CARD) as temporary:
            temporary.write_text(self._model_card(Path(folder)), encoding="utf-8")

    def _model_card(self, folder: Path) -> str:
        return model_card(folder.name, self.config, task=self.task, training=training_record(folder))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Loads a saved model, in evaluation mode.

        Args:
            pretrained_model_name_or_path: A folder, or a Hugging Face model id.
            **kwargs: As `huggingface_hub.PyTorchModelHubMixin.from_pretrained` takes them.

        Raises:
            CheckpointError: No such folder, a damaged file, or weights that do not fit the configuration.
            ImportError: huggingface_hub or safetensors is not installed; the message says how to.
        """
        path = Path(pretrained_model_name_or_path)
        _check_folder(path)
        try:
            model: Self = super().from_pretrained(str(pretrained_model_name_or_path), **kwargs)
        except ImportError:
            raise
        except Exception as error:
            # Whatever a damaged file makes the readers raise, the caller learns which checkpoint it was.
            raise CheckpointError(f"{path} is not a usable checkpoint: {_first_line(error)}") from error
        return model

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        map_location: str = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **model_kwargs: Any,
    ) -> Self:
        """Reads safetensors only; the mixin's own version would fall back to a pickle."""
        from safetensors.torch import load_file

        if Path(model_id).is_dir():
            weights = Path(model_id) / constants.SAFETENSORS_SINGLE_FILE
        else:
            weights = Path(
                hf_hub_download(
                    repo_id=model_id,
                    filename=constants.SAFETENSORS_SINGLE_FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                )
            )
        model = cls(**model_kwargs)
        model.load_state_dict(load_file(weights, device=map_location))
        return model.eval()


def _check_folder(path: Path) -> None:
    """Refuses a local folder that cannot be a checkpoint; anything that is no path is left to the hub."""
    looks_local = path.exists() or path.is_absolute() or len(path.parts) != 2 or path.parts[0] in (".", "..")
    if not looks_local:
        return
    if not path.is_dir():
        raise CheckpointError(f"{path} is no folder; give a folder with config.json and model.safetensors")
    for name in ("config.json", "model.safetensors"):
        if not (path / name).is_file():
            raise CheckpointError(f"{path} has no {name}; give a folder written by save_pretrained")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path / 'config.json'} is not JSON: {_first_line(error)}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path / 'config.json'} must hold a JSON object")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__

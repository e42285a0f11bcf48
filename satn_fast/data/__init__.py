"""Corpora: manifests of utterances, splits by speaker, and a synthetic corpus."""

from satn_fast.data.characters import character_inventory, read_characters
from satn_fast.data.folds import FoldsError, column_folds, read_folds
from satn_fast.data.in_memory import from_dataset
from satn_fast.data.manifest import ManifestError, Utterance, read_manifest, write_manifest
from satn_fast.data.phonemes import PHONEMES, phoneme_inventory, read_phonemes
from satn_fast.data.splits import (
    SpeakerOverlapWarning,
    Split,
    check_speaker_overlap,
    draw_speakers,
    leave_one_speaker_out,
    split_by_speaker,
)
from satn_fast.data.synthesis import CorpusError, render_corpus

__all__ = [
    "PHONEMES",
    "CorpusError",
    "FoldsError",
    "ManifestError",
    "SpeakerOverlapWarning",
    "Split",
    "Utterance",
    "character_inventory",
    "check_speaker_overlap",
    "column_folds",
    "draw_speakers",
    "from_dataset",
    "leave_one_speaker_out",
    "phoneme_inventory",
    "read_characters",
    "read_folds",
    "read_manifest",
    "read_phonemes",
    "render_corpus",
    "split_by_speaker",
    "write_manifest",
]

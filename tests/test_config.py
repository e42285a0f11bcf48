import dataclasses
import json
from typing import get_args, get_type_hints

import pytest

from satn_fast import SATNConfig
from satn_fast.config import NORMALIZATIONS
from satn_fast.training.settings import EmotionSettings


def test_json_round_trip_gives_an_equal_configuration():
    config = SATNConfig.preset("edge", labels=("a", "b"))
    assert SATNConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_presets_are_as_documented():
    sizes = {name: SATNConfig.preset(name) for name in ("base", "large", "edge", "micro")}
    assert {name: (c.channels, c.n_blocks) for name, c in sizes.items()} == {
        "base": (128, 6),
        "large": (256, 8),
        "edge": (64, 5),
        "micro": (32, 5),
    }
    assert (sizes["base"].kernel_size, sizes["base"].n_heads) == (3, 4)
    assert [name for name, c in sizes.items() if c.attention_window] == ["edge", "micro"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": ()}, "labels is"),
        ({"labels": ("a", "a")}, "labels is"),
        ({"channels": 0}, "channels is 0"),
        ({"channels": 64.0}, "channels is 64.0"),
        ({"n_heads": 3}, "n_heads is 3"),
        ({"attention_window": 0}, "attention_window is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"normalization": "none"}, "normalization is 'none'"),
        ({"front_end": {"preset": "kaldi"}}, "front_end has no n_mels"),
        ({"front_end": {"n_mels": 4, "deltas": False}}, "deltas = False"),
        ({"front_end": {"n_mels": -1}}, r"front_end\['n_mels'\] is -1"),
    ],
)
def test_unfit_values_are_named(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        SATNConfig(**changes)


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match="base, large, edge, micro"):
        SATNConfig.preset("tiny")


def test_every_normalization_can_be_asked_for_when_training():
    assert get_args(get_type_hints(EmotionSettings)["normalization"]) == ("auto", *NORMALIZATIONS)

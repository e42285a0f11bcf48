"""A step of a stream against computing anew on everything heard so far, on this machine's processor."""

import copy

import pytest
import torch

from satn_fast import SATN, SATNConfig, Stream


@pytest.mark.parametrize("preset", ["edge", "micro"])
@pytest.mark.parametrize("seconds", [5, 30], ids=["after 5 s", "after 30 s"])
@pytest.mark.parametrize("n_new", [1, 5, 25])
def test_step(compare, preset, seconds, n_new):
    torch.manual_seed(0)
    model = SATN(SATNConfig.preset(preset)).eval()
    n_heard = round(seconds / model.config.hop_seconds)
    features, stream = torch.randn(1, n_heard, model.config.n_features), Stream(model)
    stream.push(features[:, :-n_new])
    new = features[:, -n_new:]

    @torch.no_grad()
    def anew():
        return model(features).logits

    error = float((copy.copy(stream).push(new) - anew()).abs().max())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        compare(
            lambda: copy.copy(stream).push(new),
            anew,
            peer_name="the whole utterance anew",
            max_error=error,
            allowed=1e-5,
            audio_seconds=n_new * model.config.hop_seconds,
        )
    finally:
        torch.set_num_threads(threads)

import re
import struct

import numpy as np
import pytest

from satn_fast.report import attention_over_time, confusion_matrix, render_report, training_curves

rng = np.random.default_rng(0)


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("n_frames", [1, 2, 300])
def test_attention_picture_of_any_length(n_frames):
    shares = rng.random((2, n_frames)).astype(np.float32)
    features = rng.normal(size=(n_frames, 12)).astype(np.float32)
    assert size_of(attention_over_time(features, *shares, seconds_per_frame=0.01, title="a < b"))[0] > 500


def test_confusion_picture_shows_empty_rows():
    assert size_of(confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], title="t"))[0] > 100


def test_curves_leave_out_runs_without_the_figure():
    histories = {"source": [{"epoch": 1.0, "loss": 2.0}], "ser": [{"epoch": 1.0, "loss": 1.0, "ua": 0.5}]}
    assert training_curves(histories, {"loss": "loss", "ua": "UA"})


def content(**changes):
    file = {"name": "model.onnx", "bytes": 2048, "milliseconds": 1.0, "is_int8": False, "agreement": 1.0}
    file |= {"ua": None, "ua_loss": None, "max_logit_error": 1e-6}
    picture = confusion_matrix(np.eye(2, dtype=int), ["a", "b"], title="t")
    return {
        "title": "A <b>title</b>",
        "subtitle": "s",
        "headline": {"UA": "50 %"},
        "data_note": "d",
        "attention_picture": picture,
        "confusion_picture": picture,
        "curves_picture": picture,
        "runs": [{"name": "none", "wa": 0.5, "ua": 0.5, "macro_f1": 0.5, "best_epoch": 1}],
        "files": [file],
        "files_note": "f",
        "clip_note": "c",
        "labels": ["a", "b"],
        "predictions": [{"model": "model", "label": "a", "scores": {"a": 0.75, "b": 0.25}}],
        "parity": [{"what": "w", "max_error": 1e-6, "peer": 0.002, "ours": 0.001, "speedup": 2.0}],
        "machine_note": "m",
    } | changes


def test_report_is_self_contained_and_escapes_what_it_shows():
    page = render_report(**content())
    assert "A &lt;b&gt;title&lt;/b&gt;" in page
    assert "75.0 %" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []


def test_report_refuses_missing_content():
    incomplete = content()
    del incomplete["files_note"]
    with pytest.raises(Exception, match="files_note"):
        render_report(**incomplete)

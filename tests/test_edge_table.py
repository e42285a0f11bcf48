"""The table of docs/edge.md is that of the figures that are kept."""

import pytest

from benchmarks import edge

KEPT = {
    "model": "tiny",
    "parameters": 41_000,
    "data": "12 utterances of 2 speakers it had not heard",
    "date": "2026-01-31",
    "machine": "a machine",
    "tools": {"onnxruntime": "1.2", "ai-edge-litert": "3.4"},
    "utterance_seconds": 3.0,
    "files": [
        {"name": "model.int8.tflite", "bytes": 2048, "arena_bytes": 10240, "milliseconds": 1.234}
        | {"max_logit_error": 0.0456, "agreement": 0.995, "ua": 0.75, "ua_loss": -0.005},
        {"name": "model.stream.onnx", "bytes": 4096, "arena_bytes": None, "milliseconds": 0.05}
        | {"max_logit_error": 1e-6, "agreement": 1.0, "ua": 0.745, "ua_loss": 0.0},
        {"name": "model.mcu.tflite", "bytes": 8192, "arena_bytes": 20480, "milliseconds": 1.0}
        | {"max_logit_error": 0.05, "agreement": 1.0, "ua": 0.75, "ua_loss": 0.0},
    ],
}


def test_the_document_shows_what_is_kept():
    document = edge.DOCUMENT.read_text(encoding="utf-8")
    assert document == edge.with_table(document, edge.kept())
    assert len(edge.kept()) >= 1


def test_a_row_per_file_and_a_note_per_model():
    text = edge.table([KEPT])
    assert "| tiny | `model.int8.tflite` | 2 | 1.23 | 10 | 0.046 | 99.5 % | 75.0 % | -0.5 % |" in text
    assert "| tiny | `model.stream.onnx` | 4 | 0.05 a chunk | – | 1e-06 | 100.0 % | 74.5 % | 0.0 % |" in text
    assert "| tiny | `model.mcu.tflite` | 8 | 1.00 a chunk | 20 | 0.05 | 100.0 % | 75.0 % | 0.0 % |" in text
    assert "2026-01-31, a machine, one thread, ONNX Runtime 1.2, LiteRT 3.4; 12 utterances" in text


def test_writing_the_table_leaves_the_rest_alone():
    document = f"before\n{edge.BEGIN}\nold\n{edge.END}\nafter\n"
    written = edge.with_table(document, [KEPT])
    assert written.startswith(f"before\n{edge.BEGIN}\n| model")
    assert written.endswith(f"{edge.END}\nafter\n")
    assert "old" not in written
    assert edge.with_table(written, [KEPT]) == written
    with pytest.raises(ValueError, match="lacks the comments"):
        edge.with_table("nothing", [KEPT])

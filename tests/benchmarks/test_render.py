"""The page of kept results."""

import pytest

from benchmarks.render import render
from benchmarks.results import write
from tests.benchmarks.making import PROCESSOR, joint, missing, record, results, sweep


@pytest.fixture
def page(tmp_path):
    kept = tmp_path / "kept"
    write(kept, results(record("test_sum[old]", 77.0), date="2025-12-31"))
    records = [record(), record("test_sum[3]", 0.5, max_error=1e-4), record(peer="a|b", speedup=4.0)]
    chain = [joint("model.onnx", "model.int8.onnx")]
    write(kept, results(*records, *chain, sweep("model"), sweep("front end"), skipped=[missing("toes")]))
    write(kept, results(record(roofline_share=0.62), device="Big GPU", date="2026-01-01"))
    return render(tmp_path, kept)


def test_says_device_commit_versions_file_and_missing_peers(page):
    text = page.read_text()
    assert page.name == "benchmarks.md"
    for said in (f"## {PROCESSOR}", "## Big GPU", "commit abc1234", "numpy 2.0", "Peers that were missing: toes."):
        assert said in text
    assert "2026-02-03-abacus-3000-2-cores-beads.json" in text
    assert "77.00x" not in text  # of an older file


def test_tables_have_median_extremes_and_slow_cases(page):
    text = page.read_text()
    assert "| fingers | 2 | 1.25x | 0.50x | 2.00x | 1.0e-04 |" in text
    assert "| sum[3] | fingers | 0.50x | 1.0e-04 |" in text
    assert "| a/b |" in text
    assert "| sum[2] | fingers | 2.00x | 1.0e-06 | 62% |" in text
    assert "| model.onnx | model.int8.onnx | 2.5e-01 | 1.2e-01 | 97.5% |" in text


def test_every_picture_is_there_and_is_a_png(page):
    pictures = [line.split("(")[1].rstrip(")") for line in page.read_text().splitlines() if line.startswith("![")]
    assert len(pictures) == len(set(pictures)) == 3  # two of speed-ups, one of both sweeps
    for picture in pictures:
        assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")


def test_nothing_kept_is_an_error_with_the_remedy(tmp_path):
    with pytest.raises(RuntimeError, match="satn-fast bench --keep"):
        render(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())

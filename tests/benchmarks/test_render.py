"""The page of kept results."""

import pytest

from benchmarks.render import render
from benchmarks.results import write
from tests.benchmarks.making import PROCESSOR, joint, missing, record, results, skipped, sweep


@pytest.fixture
def page(tmp_path):
    kept = tmp_path / "kept"
    write(kept, results(record("test_sum[old]", 77.0), date="2025-12-31"))
    records = [record(), record("test_sum[3]", 0.5, max_error=1e-4), record(peer="a|b", speedup=4.0)]
    chain = [joint("model.onnx", "model.int8.onnx")]
    skips = [missing("toes"), skipped("test_gpu", "no GPU"), skipped("test_other", "no GPU")]
    write(kept, results(*records, *chain, sweep("model"), sweep("front end"), skipped=skips))
    write(
        kept, results(record(roofline_share=0.62, memory=2**21, peer_memory=2**22), device="Big GPU", date="2026-01-01")
    )
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
    assert "| sum[2] | fingers | 2.00x | 1.0e-06 | 62% | 2.0 / 4.0 MiB |" in text
    assert "| model.onnx | model.int8.onnx | 2.5e-01 | 1.2e-01 | 97.5% |" in text


def test_says_what_did_not_run_and_why(page):
    assert "- Not run: 2 of test_sums, no GPU" in page.read_text()


def test_work_that_is_known_is_shown_with_what_binds_it(tmp_path):
    known = record(roofline_share=0.25, bound="memory", bytes=3 * 2**20, threads=1)
    write(tmp_path / "kept", results(known, record("test_sum[3]")))
    text = render(tmp_path, tmp_path / "kept").read_text()
    assert "| sum[2] | fingers | 2.00x | 1.0e-06 | 3.00 MiB | 25% (memory) |" in text
    assert "| sum[3] | fingers | 2.00x | 1.0e-06 | – | – |" in text


def test_tables_inside_of_details_are_tables_on_the_site_too(page):
    # mkdocs reads Markdown inside of HTML where the attribute says so.
    assert page.read_text().count('<details markdown="1">') == page.read_text().count("<details") == 2


def test_peer_stands_in_its_own_column_alone(tmp_path):
    cases = ["test_sum[2-fingers-fast]", "test_sum[fingers-2]", "test_sum[fingers]"]
    write(tmp_path / "kept", results(*map(record, cases)))
    text = render(tmp_path, tmp_path / "kept").read_text()
    for label in ("sum[2-fast]", "sum[2]", "sum"):
        assert f"| {label} | fingers |" in text


def test_sweeps_say_where_they_stop_and_why(page):
    text = page.read_text()
    assert "- **model**, seconds: as the ideal from 1 to 100. Memory stays below 1 MiB." in text
    assert text.count("Every point is measured in fresh processes") == 1


def test_every_picture_is_there_and_is_a_png(page):
    pictures = [line.split("(")[1].rstrip(")") for line in page.read_text().splitlines() if line.startswith("![")]
    assert len(pictures) == len(set(pictures)) == 3  # two of speed-ups, one of both sweeps
    for picture in pictures:
        assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")


def test_stages_are_told_where_to_be_found(tmp_path):
    write(tmp_path / "kept", results({"suite": "test_stages", "case": "test_stages", "nanoseconds": {}}))
    assert "(front-end.md#how-fast)" in render(tmp_path, tmp_path / "kept").read_text()


def test_nothing_kept_is_an_error_with_the_remedy(tmp_path):
    with pytest.raises(RuntimeError, match="satn-fast bench --keep"):
        render(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())

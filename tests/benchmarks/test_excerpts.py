"""Tables of kept results inside README and other documents."""

import shutil

import pytest

from benchmarks import excerpts
from benchmarks.results import latest_of_each, read_all
from tests.benchmarks.making import record, results
from tests.conftest import REPOSITORY


def recorded(cases, speedup=2.0):
    return [record(case, speedup, suite=suite) for suite, case in cases]


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("Before.\n<!-- benchmarks: headlines -->\nold\n<!-- end of benchmarks -->\nAfter.\n")
    return path


def headlines(speedup=2.0, **about):
    return results(*recorded(excerpts.EXCERPTS["headlines"][0], speedup), **about)


def test_table_and_picture_stand_between_the_comments_and_nothing_else_is_touched(readme, tmp_path):
    excerpts.update(tmp_path, [headlines(12.34)])
    text = readme.read_text()
    assert text.startswith("Before.\n<!-- benchmarks: headlines -->\n")
    assert text.endswith("<!-- end of benchmarks -->\nAfter.\n")
    assert "old" not in text
    assert "| features of 3 s, one thread | asrfront and deltas in numpy | 12x |" in text
    assert "Abacus 3000, 2 cores, beads, 2026-02-03, commit abc1234" in text
    assert (tmp_path / "docs" / "images" / "headlines.png").read_bytes().startswith(b"\x89PNG")
    assert "(docs/images/headlines.png)" in text
    excerpts.update(tmp_path, [headlines(12.34)])
    assert readme.read_text() == text


def test_newest_results_that_hold_everything_are_shown(readme, tmp_path):
    partial = results(record(), device="Newer", date="2026-03-01")
    excerpts.update(tmp_path, [headlines(3.0), partial, headlines(4.0, device="Other", date="2026-02-04")])
    assert "| 4.0x |" in readme.read_text()
    assert "Other, 2026-02-04" in readme.read_text()


def test_results_that_lack_a_record_are_an_error_with_the_remedy(readme, tmp_path):
    before = readme.read_text()
    with pytest.raises(RuntimeError, match="satn-fast bench --full --keep"):
        excerpts.update(tmp_path, [results(*recorded(excerpts.EXCERPTS["headlines"][0][1:]))])
    assert readme.read_text() == before


def test_table_that_there_is_none_of_is_named(readme, tmp_path):
    readme.write_text("<!-- benchmarks: records -->\n<!-- end of benchmarks -->\n")
    with pytest.raises(RuntimeError, match=r"README\.md: asks for the benchmarks 'records'; there are headlines"):
        excerpts.update(tmp_path, [headlines()])


def test_stages_have_a_column_for_each_instruction_set(tmp_path):
    path = tmp_path / "docs" / "front-end.md"
    path.parent.mkdir()
    path.write_text("<!-- benchmarks: front-end-stages -->\n<!-- end of benchmarks -->\n")
    columns = {"sse2": {"FFT, power": 271.4, "whole / FFT, power": 2.04}, "avx2": {"FFT, power": 130.0}}
    columns["avx2"] |= {"whole / FFT, power": 2.3}
    suite, case = excerpts.STAGES
    excerpts.update(tmp_path, [results({"suite": suite, "case": case, "nanoseconds": {"ns per frame": columns}})])
    text = path.read_text()
    assert "ns per frame:\n\n|  | sse2 | avx2 |" in text
    assert "| FFT, power | 271 | 130 |" in text
    assert "| whole / FFT, power | 2.0 | 2.3 |" in text
    assert "(../benchmarks/results/" in text


@pytest.mark.parametrize("name", excerpts.DOCUMENTS)
def test_documents_show_what_is_kept(name, tmp_path):
    copy = tmp_path / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REPOSITORY / name, copy)
    assert excerpts.MARKED.search(copy.read_text(encoding="utf-8"))
    excerpts.update(tmp_path, latest_of_each(read_all()))
    assert copy.read_text(encoding="utf-8") == (REPOSITORY / name).read_text(encoding="utf-8")

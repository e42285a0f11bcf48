"""Where the time of a frame goes: builds and runs csrc/benchmarks/benchmark_stages.cpp, and keeps its tables."""

import pytest

from tests.frontend.building import ROOT, call, cmake_build


def tables(markdown: str) -> dict[str, dict[str, dict[str, float]]]:
    """Markdown tables under one line of text each, as {text: {column: {row: number}}}."""
    found = {}
    for block in markdown.strip().split("\n\n"):
        lines = block.splitlines()
        if not lines[0].startswith("|"):
            found[lines[0]] = columns = {}
            continue
        (_, *names), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
        columns.update({name: {row[0]: float(row[i]) for row in rows} for i, name in enumerate(names, start=1)})
    return found


@pytest.mark.full
def test_stages(benchmark, tmp_path):
    cmake_build(ROOT, tmp_path, "SATN_FAST_BUILD_BENCHMARKS=ON", target="benchmark_stages")
    program = tmp_path / "csrc" / "benchmarks" / "benchmark_stages"
    printed = benchmark.pedantic(call, args=(program,), rounds=1)
    print("\n" + printed)
    benchmark.extra_info["nanoseconds"] = tables(printed)
    assert all("FFT, power" in column for table in tables(printed).values() for column in table.values())

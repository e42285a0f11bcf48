"""Results files: whole, readable, and of one device each."""

import csv
import json
import platform

import pytest
import torch

from benchmarks.results import describe_machine, latest, latest_of_each, processor_model, read, read_all, where, write
from tests.benchmarks.making import PROCESSOR, missing, record, results, skipped, sweep

WHOLE = "abacus-3000-2-cores-beads"


def test_what_is_written_is_read_again(tmp_path):
    written = results(record(), sweep("model"), skipped=[missing("toes")], failed=[skipped("test_bad", "off by 1")])
    path = write(tmp_path, written)
    assert path.name == "2026-02-03-abacus-3000-2-cores-beads.json"
    found = read(path)
    assert (found.machine, found.records) == (written.machine, written.records)
    assert (found.skipped, found.failed, found.path) == (written.skipped, written.failed, path)


def test_part_of_a_run_does_not_replace_the_whole(tmp_path):
    whole = write(tmp_path, results(record(), record("test_sum[3]")))
    part = write(tmp_path, results(record(speedup=5.0)))
    assert (whole.name, part.name) == (f"2026-02-03-{WHOLE}.json", f"2026-02-03-{WHOLE}-part.json")
    assert [len(found.records) for found in read_all(tmp_path)] == [2]
    again = write(tmp_path, results(record(), record("test_sum[3]"), record("test_sum[4]")))
    assert again == whole
    assert len(read(again).records) == 3


def test_table_has_a_row_for_each_record_and_its_lists_as_json(tmp_path):
    path = write(tmp_path, results(record(), sweep("model")))
    with path.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["suite"] for row in rows] == ["test_sums", "test_scaling"]
    assert float(rows[0]["speedup"]) == 2.0
    assert json.loads(rows[1]["series"])["memory"] == [0, 4096, 40960]


def test_missing_peers_are_named_once():
    found = results(skipped=[missing("toes"), missing("abacus"), missing("toes"), skipped("test_gpu", "no GPU")])
    assert found.missing_peers == ["abacus", "toes"]


def test_latest_is_by_date_and_device(tmp_path):
    for date, device in (("2026-02-03", PROCESSOR), ("2026-01-09", PROCESSOR), ("2026-03-01", "Slide rule")):
        write(tmp_path, results(record(), device=device, date=date))
    kept = read_all(tmp_path)
    assert latest(kept, PROCESSOR).machine["date"] == "2026-02-03"
    assert latest(kept, "Sextant") is None
    assert [found.device for found in latest_of_each(kept)] == [PROCESSOR, "Slide rule"]


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"machine": {}, "records": []}', '{"machine": 1, "records": 2}'])
def test_another_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "notes.json").write_text(content)
    with pytest.raises(ValueError, match=r"notes\.json: is no results file"):
        read(tmp_path / "notes.json")


def test_record_without_a_name_is_refused(tmp_path):
    path = write(tmp_path, results({"speedup": 2.0}))
    with pytest.raises(ValueError, match="suite"):
        read(path)


def test_machine_names_processor_versions_and_commit():
    machine = describe_machine(torch.device("cpu"))
    assert "cores" in machine["device"]
    assert machine["versions"]["torch"] == torch.__version__
    assert {"commit", "date", "python"} <= set(machine)


INTEL = "processor : 0\ncpu family : 6\nmodel : 85\nmodel name : {}\nstepping : 7\n"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (INTEL.format("Intel(R) Xeon(R) Gold 6248"), "Intel(R) Xeon(R) Gold 6248"),
        (
            INTEL.format("Intel(R) Xeon(R) CPU @ 2.00GHz"),
            "Intel(R) Xeon(R) CPU @ 2.00GHz (family 6, model 85, stepping 7)",
        ),
        (INTEL.format("QEMU") + INTEL.format("other").replace("85", "86"), "QEMU (family 6, model 85, stepping 7)"),
        ("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0c\n", "aarch64 (implementer 0x41, part 0xd0c)"),
        ("", "aarch64"),
    ],
    ids=["exact", "without a number", "of the first core", "ARM", "nothing said"],
)
def test_processor_is_named_by_numbers_where_its_name_says_little(tmp_path, monkeypatch, content, name):
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    (tmp_path / "cpuinfo").write_text(content)
    assert processor_model(tmp_path / "cpuinfo") == name


def test_kept_results_of_the_project_can_be_read():
    assert all(found.records for found in read_all())


def test_case_is_what_stands_after_the_file():
    name = where("benchmarks/frontend/test_threads.py::test_batch[librosa-log-Mel]")
    assert name == {"suite": "frontend/test_threads", "case": "test_batch[librosa-log-Mel]"}

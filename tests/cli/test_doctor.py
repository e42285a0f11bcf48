import json

import torch

import satn_fast as package


def test_tells_versions_extras_and_backends(satn_fast):
    report = json.loads(satn_fast("doctor", "--json").output)
    assert report["machine"]["satn-fast"] == package.__version__
    assert report["machine"]["torch"] == torch.__version__
    assert report["machine"]["front end"].startswith(f"uses {package.LogMel().isa} of ")
    assert "missing" not in report["extras"]["train"]
    assert set(report["operations"]) == set(package.functional.__all__)


def test_names_what_is_missing(satn_fast, monkeypatch):
    from satn_fast.cli import doctor

    monkeypatch.setitem(doctor.EXTRAS, "train", ("numpy", "a-package-nobody-made"))
    report = json.loads(satn_fast("doctor", "--json").output)
    assert report["extras"]["train"].endswith("missing: a-package-nobody-made")


def test_table_is_for_people(satn_fast):
    assert "causal_conv1d" in satn_fast("doctor").output

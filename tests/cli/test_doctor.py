import dataclasses
import json

import pytest
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


@pytest.fixture
def one_case(monkeypatch):
    """Compiles one small kernel instead of all."""
    compile_check = pytest.importorskip("satn_fast.kernels.compile_check")
    pytest.importorskip("triton")
    cases_of = compile_check.cases_of
    monkeypatch.setattr(compile_check, "cases_of", lambda target: [list(cases_of(target))[-1]])
    return compile_check


def test_compiles_kernels_for_architectures_that_are_not_there(satn_fast, one_case):
    rows = satn_fast("doctor", "--compile", "sm_80,sm_90").output.splitlines()
    for architecture in ("sm_80", "sm_90"):
        (row,) = [row for row in rows if architecture in row]
        assert row.split()[-1] == "0"  # nothing spilled
    rows = json.loads(satn_fast("doctor", "--compile", "sm_90", "--json").output)
    assert [(row["architecture"], row["problem"]) for row in rows] == [("sm_90", None)]


def test_compile_fails_where_a_kernel_spills(satn_fast, one_case, monkeypatch):
    examine = one_case.examine
    monkeypatch.setattr(one_case, "examine", lambda *case: dataclasses.replace(examine(*case), spilled=16))
    result = satn_fast("doctor", "--compile", "sm_90")
    assert result.code == 1
    assert "spills 16" in result.errors


def test_compile_names_an_unknown_architecture(satn_fast):
    result = satn_fast("doctor", "--compile", "sm_52")
    assert result.code == 1
    assert "sm_52" in result.errors
    assert "sm_80" in result.errors

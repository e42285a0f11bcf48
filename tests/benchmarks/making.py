"""Small made-up results."""

from benchmarks.results import MISSING_PEER, Results

PROCESSOR = "Abacus 3000, 2 cores, beads"


def record(case="test_sum[2]", speedup=2.0, spread=0.0, **further):
    fields = {"suite": "test_sums", "case": case, "peer": "fingers", "speedup": speedup, "spread": spread}
    return fields | {"max_error": 1e-6, "allowed": 1e-5, "seconds": 0.5} | further


def joint(before, after):
    figures = {"max_error": 0.25, "mean_error": 0.125, "agreement": 0.975}
    return {
        "suite": "test_chain",
        "case": f"test_joint[{before} to {after}]",
        "before": before,
        "after": after,
    } | figures


def sweep(subject):
    series = {"values": [1, 10, 100], "seconds": [0.1, 1.1, 12.0], "memory": [0, 4096, 40960]}
    fields = {"suite": "test_scaling", "case": f"test_scaling[{subject}-seconds]", "subject": subject}
    return fields | {"axis": "seconds", "ideal": 1, "series": series, "max_error": 1e-6}


def results(*records, device=PROCESSOR, date="2026-02-03", **lists):
    machine = {"device": device, "versions": {"numpy": "2.0"}, "commit": "abc1234", "date": date}
    return Results(machine, list(records), **lists)


def skipped(case, reason):
    return {"suite": "test_sums", "case": case, "reason": reason}


def missing(peer):
    return skipped(f"test_sum[{peer}]", f"{MISSING_PEER}{peer}")

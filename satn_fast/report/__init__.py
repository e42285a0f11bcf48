"""Pictures and the self-contained HTML report of a run."""

from satn_fast.report.html import render_report
from satn_fast.report.plots import attention_over_time, confusion_matrix, training_curves

__all__ = ["attention_over_time", "confusion_matrix", "render_report", "training_curves"]

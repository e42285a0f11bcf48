"""Pictures and self-contained HTML pages: of the demo, of an evaluation, and of several runs side by side."""

from satn_fast.report.comparison import comparison_page
from satn_fast.report.evaluation import Clip, evaluation_page, example_clips
from satn_fast.report.html import render_report
from satn_fast.report.plots import (
    attention_over_time,
    confusion_matrix,
    learning_curves,
    reliability_diagram,
    training_curves,
)

__all__ = [
    "Clip",
    "attention_over_time",
    "comparison_page",
    "confusion_matrix",
    "evaluation_page",
    "example_clips",
    "learning_curves",
    "reliability_diagram",
    "render_report",
    "training_curves",
]

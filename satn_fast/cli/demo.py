"""`satn-fast demo`: the whole story in one command."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from satn_fast.cli.terminal import bar, messages, progress_bars


def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Where everything is written.")] = Path("runs/demo"),
    preset: Annotated[str, typer.Option(help="Model: base, large, edge or micro.")] = "edge",
    transfer: Annotated[str, typer.Option(help="Attention transfer: none, init, map or both.")] = "both",
    seed: Annotated[int, typer.Option(help="Decides the split and the training.")] = 0,
) -> None:
    """Run the whole story on synthetic speech: source task, transfer, training, evaluation, export, report.

    Renders a corpus with espeak-ng, learns phonemes (the source task), transfers the attention, learns emotions,
    evaluates on voices never heard, exports to ONNX and TFLite, verifies, and writes a report.

    **Examples**

        satn-fast demo

        satn-fast demo --preset micro --transfer init --output runs/micro
    """
    from satn_fast.demo import run_demo

    with progress_bars() as bars:
        result = run_demo(folder, preset=preset, transfer=transfer, seed=seed, start=partial(bar, bars))
    messages.print(
        f"UA {result['ua']:.1%}, WA {result['wa']:.1%} on voices never heard. Open [bold]{folder / 'report.html'}",
        highlight=False,
    )

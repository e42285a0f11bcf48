"""Puts the commands together."""

import typer

from satn_fast.cli.bench import bench
from satn_fast.cli.compare import compare
from satn_fast.cli.demo import demo
from satn_fast.cli.doctor import doctor
from satn_fast.cli.evaluate import evaluate
from satn_fast.cli.export import export, verify
from satn_fast.cli.features import features
from satn_fast.cli.predict import predict
from satn_fast.cli.prepare import prepare
from satn_fast.cli.train import pretrain, train

app = typer.Typer(
    name="satn-fast",
    help="Speech emotion recognition: fast to train, fast to run, small enough to ship.",
    epilog="With --debug, an error shows its traceback. Exit codes: 0 done, 1 bad input, 2 wrong usage, "
    "3 an exported file missed its tolerance, or a benchmark its former speed-up.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

for command in (demo, prepare, features, pretrain, train, evaluate, compare, predict, export, verify, doctor):
    app.command()(command)

# What bench does not know goes to pytest.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)

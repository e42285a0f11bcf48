"""Tables of kept results inside other documents, between `<!-- benchmarks: NAME -->` and `<!-- end of benchmarks -->`.

Whatever stands between the two is written anew by `satn-fast bench --render`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import plots
from benchmarks.markdown import picture, table
from benchmarks.results import Record, Results, key
from satn_fast.files import atomic_write

DOCUMENTS = ("README.md", "docs/front-end.md")
MARKED = re.compile(r"(<!-- benchmarks: ([\w-]+) -->\n).*?(<!-- end of benchmarks -->)", re.DOTALL)

Name = tuple[str, str]
"""Suite and case of a record."""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        what: What was measured, in words.
        peer: Against what, in words.
        cases: Its record in each column of figures.
    """

    what: str
    peer: str
    cases: Sequence[Name]


def _utterance(peer: str, deltas: str = "with deltas", seconds: Sequence[int] = (3, 60)) -> list[Name]:
    return [("frontend/test_utterances", f"test_utterance[{peer}-40-{n}-{deltas}]") for n in seconds]


def _on_isa(isa: str) -> list[Name]:
    case = "test_asrfront_on_lesser_instruction_sets[{}-{}-with deltas]"
    return [("frontend/test_utterances", case.format(isa, seconds)) for seconds in (3, 60)]


def _stream(milliseconds: int) -> Name:
    return ("frontend/test_streaming", f"test_stream[40-{milliseconds}]")


OPENSMILE: Name = ("frontend/test_utterances", "test_opensmile[40-3-with deltas]")

HEADLINES = (
    Row("features of 3 s, one thread", "asrfront and deltas in numpy", _utterance("asrfront", seconds=[3])),
    Row("", "kaldi-native-fbank and deltas in numpy", _utterance("kaldi-native-fbank", seconds=[3])),
    Row("", "librosa", _utterance("librosa", seconds=[3])),
    Row("", "openSMILE", [OPENSMILE]),
    Row("features of a stream, every 10 ms", "kaldi-native-fbank, without deltas", [_stream(10)]),
    Row(
        "`SATN`, preset base, 8 x 5 s",
        "plain PyTorch, same weights",
        [("test_model", "test_inference[base-eager PyTorch-8 x 5 s]")],
    ),
    Row("", "the same, channels last", [("test_model", "test_inference[base-eager PyTorch, channels last-8 x 5 s]")]),
    Row("training step of base, 8 x 5 s", "plain PyTorch", [("test_model", "test_training_step[base-eager PyTorch]")]),
    Row(
        "`Stream`, preset edge: 200 ms more after 30 s",
        "the whole utterance anew",
        [("test_streaming", "test_step[5-after 30 s-edge]")],
    ),
    Row("int8 ONNX, preset edge, 5 s", "float32, ONNX Runtime", [("test_export", "test_int8[5 s-onnx]")]),
    Row("int8 TFLite, preset edge, 5 s", "float32, LiteRT", [("test_export", "test_int8[5 s-tflite]")]),
    Row(
        "audio file to label, preset edge",
        "soundfile, kaldi-native-fbank, plain PyTorch",
        [("test_end_to_end", "test_checkpoint")],
    ),
)

FRONT_END = (
    Row("log-Mel", "asrfront", _utterance("asrfront", "log-Mel")),
    Row("with deltas", "asrfront and numpy", _utterance("asrfront")),
    Row("with deltas, our AVX2 kernels", "asrfront and numpy", _on_isa("avx2")),
    Row("with deltas, our SSE2 kernels", "asrfront and numpy", _on_isa("sse2")),
    Row("with deltas", "kaldi-native-fbank and numpy", _utterance("kaldi-native-fbank")),
    Row("with deltas", "librosa", _utterance("librosa")),
    Row("with deltas", "torch.stft, Mel product, logarithm", _utterance("torch.stft")),
    Row("with deltas, float64", "python_speech_features", _utterance("python_speech_features")),
    Row("with deltas", "openSMILE", [OPENSMILE]),
    Row("40 utterances on two threads", "asrfront", [("frontend/test_threads", "test_batch[asrfront-with deltas]")]),
    Row("stream, 10 ms at a time, from Python", "kaldi-native-fbank", [_stream(10)]),
    Row("stream, 100 ms at a time, from Python", "kaldi-native-fbank", [_stream(100)]),
)

STAGES: Name = ("frontend/test_stages", "test_stages")


def update(root: Path, kept: Sequence[Results]) -> list[Path]:
    """Writes the tables of all documents below `root` anew.

    Args:
        root: The folder of README.md and docs/.
        kept: Results, the newest of each device.

    Returns:
        The documents.

    Raises:
        RuntimeError: A document asks for a table that there is none of, or no file holds all of its records.
    """
    documents = [root / name for name in DOCUMENTS if (root / name).is_file()]
    for document in documents:
        text = document.read_text(encoding="utf-8")
        filled = MARKED.sub(partial(_filled, document=document, root=root, kept=kept), text)
        with atomic_write(document) as temporary:
            temporary.write_text(filled, encoding="utf-8")
    return documents


def _filled(found: re.Match[str], document: Path, root: Path, kept: Sequence[Results]) -> str:
    begin, name, end = found.groups()
    if name not in EXCERPTS:
        raise RuntimeError(f"{document}: asks for the benchmarks {name!r}; there are {', '.join(EXCERPTS)}")
    needed, written = EXCERPTS[name]
    results = _holding(needed, kept, name)
    folder = "" if document.parent == root else "../"
    lines = written(results, document, root)
    file, machine = f"{folder}benchmarks/results/{results.path.name}", results.machine
    source = f"{results.device}, {machine['date']}, commit {machine['commit']}: [all figures]({file})."
    return "\n".join([begin.rstrip("\n"), "", *lines, "", source, "", end])


def _holding(needed: Sequence[Name], kept: Sequence[Results], name: str) -> Results:
    """The newest results that hold all of these records."""
    missing: dict[str, int] = {}
    for results in sorted(kept, key=lambda results: str(results.machine["date"]), reverse=True):
        there = set(_by_name(results))
        lacking = [case for case in needed if case not in there]
        if not lacking:
            return results
        missing[results.path.name] = len(lacking)
    raise RuntimeError(
        f"no kept results hold everything of the table {name!r} ({missing} are missing); keep a whole run with: "
        "satn-fast bench --full --keep"
    )


def _by_name(results: Results) -> dict[Name, Record]:
    return {key(record)[:2]: record for record in results.records}


def _cases(rows: Sequence[Row]) -> list[Name]:
    return [case for row in rows for case in row.cases]


def _ratio(record: Record) -> str:
    return f"{record['speedup']:.1f}x" if record["speedup"] < 10 else f"{record['speedup']:.0f}x"


def _headlines(results: Results, document: Path, root: Path) -> list[str]:
    records = _by_name(results)
    rows = [[row.what, row.peer, *(_ratio(records[case]) for case in row.cases)] for row in HEADLINES]
    bars, what = [], ""
    for row in HEADLINES:
        what = row.what or what
        bars.append((f"{what}\nthan {row.peer}".replace("`", ""), records[row.cases[0]]["speedup"]))
    image = root / "docs" / "images" / "headlines.png"
    shown = picture(plots.bars(bars, "times as fast"), image, "times as fast as each peer", document.parent)
    return [shown, "", *table(["what", "than", "times as fast"], rows)]


def _front_end(results: Results, document: Path, root: Path) -> list[str]:
    records = _by_name(results)
    rows = [
        [row.what, row.peer, *(_ratio(records[case]) for case in row.cases), *([""] * (2 - len(row.cases)))]
        for row in FRONT_END
    ]
    return table(["what", "than", "3 s", "60 s"], rows)


def _stages(results: Results, document: Path, root: Path) -> list[str]:
    lines: list[str] = []
    for title, columns in _by_name(results)[STAGES]["nanoseconds"].items():
        rows = [
            [stage, *(_number(stage, columns[isa][stage]) for isa in columns)] for stage in next(iter(columns.values()))
        ]
        lines += [f"{title}:", "", *table(["", *columns], rows), ""]
    return lines[:-1]


def _number(stage: str, value: float) -> str:
    return f"{value:.1f}" if "/" in stage else f"{value:.0f}"


EXCERPTS: Mapping[str, tuple[Sequence[Name], Callable[[Results, Path, Path], list[str]]]] = {
    "headlines": (_cases(HEADLINES), _headlines),
    "front-end": (_cases(FRONT_END), _front_end),
    "front-end-stages": ([STAGES], _stages),
}

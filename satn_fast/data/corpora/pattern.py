r"""Any corpus whose file names or folders say label and speaker, by a regular expression.

    m1.a_daj_1.wav           (?P<speaker>\w+)\.(?P<label>[asn])_(?P<word>\w+)_(?P<repetition>\d)
    anna/angry/01.flac       (?P<speaker>[^/]+)/(?P<label>[^/]+)/

The groups `label` and `speaker` are needed; `session`, `text`, `start` and `end` (seconds) fill those columns of the
manifest, any other group becomes a column of its own name.
"""

from __future__ import annotations

import re
from pathlib import Path

from satn_fast.data.corpora.layout import LayoutError, Problems, audio_files, existing_folder, one_packing
from satn_fast.data.manifest import Utterance

__all__ = ["read_pattern"]


def read_pattern(root: Path, problems: Problems, *, pattern: str | None = None) -> list[Utterance]:
    r"""Read the audio files below `root` by their paths.

    Args:
        root: The folder.
        problems: Told of each file in which the pattern is not found.
        pattern: A regular expression in Python's syntax with named groups. It is searched for in the path relative to
            `root`, with forward slashes and the suffix.

    Returns:
        Utterances whose labels are what the group `label` matched.

    Raises:
        LayoutError: If the pattern is no regular expression, lacks a group, or no file matches; or if one file does
            not (unless `problems` skips it).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "m1.a_daj_1.wav").touch()
        >>> [row] = read_pattern(folder, Problems(), pattern=r"(?P<speaker>\w+)\.(?P<label>[asn])_(?P<word>\w+)_\d")
        >>> row.label, row.speaker, row.extra
        ('a', 'm1', {'word': 'daj'})
    """
    root = existing_folder(root, "the corpus")
    expression = _compile(pattern)
    utterances = []
    for file in one_packing(audio_files(root), problems):
        name = file.relative_to(root).as_posix()
        match = expression.search(name)
        groups = {} if match is None else match.groupdict(default="")
        if not (groups.get("label", "").strip() and groups.get("speaker", "").strip()):
            problems.report(f"{file}: the pattern {pattern} finds no label and speaker in {name}; change the pattern")
            continue
        try:
            utterances.append(_utterance(file, groups))
        except ValueError as error:
            problems.report(f"{file}: {error}; change the pattern")
    if not utterances:
        raise LayoutError(f"{root}: holds no audio file that {pattern} matches; change the folder or the pattern")
    return utterances


def _compile(pattern: str | None) -> re.Pattern[str]:
    if not pattern:
        raise LayoutError("pattern needs a regular expression: --pattern '(?P<speaker>[^/]+)/(?P<label>[^/]+)/'")
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise LayoutError(f"pattern {pattern}: is no regular expression ({error}); correct it") from error
    for group in ("label", "speaker"):
        if group not in expression.groupindex:
            raise LayoutError(f"pattern {pattern}: has no group {group}; mark it with (?P<{group}>...)")
    if "file" in expression.groupindex:
        raise LayoutError(f"pattern {pattern}: the column file is the path itself; give that group another name")
    return expression


def _utterance(file: Path, groups: dict[str, str]) -> Utterance:
    label, speaker = groups.pop("label").strip(), groups.pop("speaker").strip()
    session, text = groups.pop("session", "").strip(), groups.pop("text", "").strip()
    start, end = (float(groups[key]) if groups.get(key) else None for key in ("start", "end"))
    extra = {key: value for key, value in groups.items() if key not in ("start", "end")}
    return Utterance(file, label, speaker, session or None, start, end, text or None, extra)

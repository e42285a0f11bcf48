"""Writes exports of prepared files, in a process of its own that may be killed or run out of space.

What takes long, converting and verifying, is done before; everything that touches the folder is `export` itself.

    python -m tests.export.prepared until-killed SOURCE TARGET    a line on standard input: seconds until the next kill
    python -m tests.export.prepared full-disk SOURCE TARGET       TARGET becomes a small disk of this process
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from satn_fast.export import FileReport, Manifest, export, exporter
from tests.export import speechlike

VARIANTS = (b"0", b"1")
MODEL, FEATURES, AUDIO = speechlike.untrained(), speechlike.corpus(1, 1)[0], speechlike.spoken(1, 1)


def export_prepared(source: Path, target: Path, variant: bytes) -> None:
    """Exports the files of `source`, each with `variant` behind it; the second variant has no batches."""
    entries = {entry.name: entry for entry in Manifest.read(source).files}
    exporter._content = lambda name, *_: (source / name).read_bytes() + variant
    exporter._entry = lambda path, _: exporter.replace(
        entries[path.name], bytes=path.stat().st_size, sha256=exporter.sha256(path)
    )
    exporter.verify = lambda *_, **__: [FileReport(name, agreement=1.0) for name in entries]
    export(
        MODEL,
        target,
        calibration=FEATURES,
        evaluation=FEATURES,
        evaluation_audio=AUDIO,
        batched=variant == VARIANTS[0],
        tolerances=None,
    )


def until_killed(source: Path, target: Path) -> None:
    """Kills a copy of itself, which exports without end, as often as it is told to."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            while True:
                for variant in VARIANTS:
                    export_prepared(source, target, variant)
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("killed", flush=True)


def full_disk(source: Path, target: Path) -> None:
    """Fills a disk in the middle of a second export, at several places; prints what happened."""

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", target], check=True)

    mount("size=100m")
    export_prepared(source, target / "export", VARIANTS[0])
    used = int(subprocess.run(["du", "-sk", target], check=True, capture_output=True, text=True).stdout.split()[0])
    for share in (0.0, 0.01, 0.3, 0.6, 0.75):
        mount(f"remount,size={used + int(share * used)}k")
        try:
            export_prepared(source, target / "export", VARIANTS[1])
        except OSError as error:
            names = {str(path.relative_to(target)) for path in target.rglob("*")}
            sound = all(
                exporter.sha256(target / "export" / entry.name) == entry.sha256
                for entry in Manifest.read(target / "export").files
            )
            print(json.dumps([error.strerror, error.filename, sorted(names), sound]), flush=True)


if __name__ == "__main__":
    {"until-killed": until_killed, "full-disk": full_disk}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))

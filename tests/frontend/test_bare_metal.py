"""The C library on microcontrollers: built for them, run under qemu, measured against the document."""

import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

import satn_fast

from .test_packaging import ROOT, call, cmake_build, need

BARE_METAL = ROOT / "csrc" / "bare_metal"
DOCUMENT = (ROOT / "docs" / "microcontrollers.md").read_text()
TOOLCHAIN = ROOT / "csrc" / "cmake" / "toolchains" / "arm-none-eabi.cmake"
MACHINES = {"cortex-m4": "mps2-an386", "cortex-m7": "mps2-an500", "cortex-m55": "mps3-an547"}
INSTRUCTIONS_PER_TICK = {"cortex-m4": 40, "cortex-m7": 40, "cortex-m55": 31.25}
STREAMS = {
    "kaldi-16000-deltas": {"preset": "kaldi"},
    "kaldi-16000": {"preset": "kaldi", "deltas": False},
    "kaldi-8000-deltas": {"preset": "kaldi", "sample_rate": 8000},
    "torchaudio-16000-deltas": {"preset": "torchaudio"},
}
HEAP_OR_EXCEPTIONS = re.compile(
    r"\b(_?(malloc|calloc|realloc|free)(_r)?|_?sbrk(_r)?|operator (new|delete).*|__cxa_\w+|_Unwind_\w+|__gxx_\w+"
    r"|std::__throw\w+|\w*printf\w*|getenv)\b"
)


def need_compiler() -> None:
    need("arm-none-eabi-g++", "(apt-get install gcc-arm-none-eabi libstdc++-arm-none-eabi-newlib) to cross-compile")


def emulate(core: str, program: Path) -> str:
    """What the program prints on the board with that core; it must succeed."""
    qemu = need("qemu-system-arm", "(apt-get install qemu-system-arm) to run what was built for a microcontroller")
    board = ["-machine", MACHINES[core], "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
    done = subprocess.run(
        [qemu, *board, "-semihosting-config", "enable=on,target=native", "-kernel", program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def table_row(name: str) -> list[int]:
    """The numbers of the row of the document's tables that starts with `name`."""
    (row,) = re.findall(rf"^\| `{name}`[^|]*((?:\| [\d,]+ )+)\|$", DOCUMENT, re.MULTILINE)
    return [int(cell.replace(",", "")) for cell in row.strip("| ").split("|")]


def signal() -> np.ndarray:
    """The samples of print_stream.c."""
    noise, slow, quick, samples = 1, 0, 0, []
    for i in range(8000):
        noise = (noise * 1664525 + 1013904223) % 2**32
        slow = (slow + 60000000 + 4000 * i) % 2**32
        quick = (quick + 700000000 - 20000 * i) % 2**32
        tones = (3000 if slow >> 31 else -3000) + (500 if quick >> 31 else -500)
        samples.append(tones + (noise >> 20) * i // 8000)
    return np.array(samples, dtype=np.int16)


@pytest.fixture(scope="module", params=MACHINES)
def built(request, tmp_path_factory) -> tuple[str, Path]:
    """A core, and where the library and print_stream were built for it."""
    need_compiler()
    folder = tmp_path_factory.mktemp(request.param)
    cmake_build(
        ROOT, folder, f"CMAKE_TOOLCHAIN_FILE={TOOLCHAIN}", f"SATN_FAST_CORE={request.param}", "SATN_FAST_BUILD_TESTS=ON"
    )
    return request.param, folder


def symbols(*arguments: str | Path) -> list[str]:
    return call("arm-none-eabi-nm", "--demangle", "--format=just-symbols", *arguments).splitlines()


def test_streaming_needs_neither_heap_nor_exceptions_nor_printf(built):
    _, folder = built
    program = symbols(folder / "csrc" / "bare_metal" / "print_stream")
    assert "satn_frontend_stream_push" in program
    assert [name for name in program if HEAP_OR_EXCEPTIONS.search(name)] == []
    # The library as a whole: the nothrow forms of new and delete, for those who create on the heap, and nothing else.
    missing = set(symbols("--undefined-only", folder / "libsatn_frontend.a"))
    taken = {name for name in missing if HEAP_OR_EXCEPTIONS.search(name)}
    assert taken
    assert all("std::align_val_t" in name for name in taken), taken


def test_features_agree_and_the_document_says_what_it_takes(built):
    core, folder = built
    program = folder / "csrc" / "bare_metal" / "print_stream"
    (text,) = re.findall(r"^\s*(\d+)", call("arm-none-eabi-size", program), re.MULTILINE)
    output = emulate(core, program)
    for name, settings in STREAMS.items():
        measured, printed = re.search(rf"^{name} (.*)\n((?:[0-9a-f ]+\n)+)(ticks.*)$", output, re.MULTILINE).group(1, 2)
        rows = [[struct.unpack(">f", bytes.fromhex(bits))[0] for bits in line.split()] for line in printed.splitlines()]
        stream = satn_fast.LogMel(**settings).stream()
        expected = np.concatenate([stream.push(signal()), stream.finish()])
        error = np.abs(np.array(rows) - expected)
        assert error.max() <= 1e-3
        assert np.mean(error > 2e-5) <= 1e-3
        assert [int(number) for number in re.findall(r"\d+", measured)] == pytest.approx(table_row(name), rel=0.1)
    ticks = re.findall(r"ticks_of_creation (\d+) most_ticks_per_push (\d+)", output)
    creation, frame = (int(number) * INSTRUCTIONS_PER_TICK[core] for number in ticks[0])
    assert [int(text), creation, frame] == pytest.approx(table_row(core), rel=0.1)
    assert int(re.search(r"stack_bytes (\d+)", output).group(1)) <= 2600
    assert re.search(r"memory has 1000 bytes, but \d{4} are needed", output)
    assert "preemphasis is 1.25, but must be 0 (off) to 1" in output


SURROUNDINGS = """
#include <stddef.h>
#include <stdint.h>
#include "console.h"

int start_listening(void);
void on_audio(const int16_t *samples, size_t count);

void show(const char *message) { console_write(message); }
void use_features(const float *features) { console_write(features[0] > 0.0F ? "+" : "-"); }

int main(void) {
  static int16_t samples[160];
  for (int i = 0; i < 160; ++i) {
    samples[i] = (int16_t)((i * 7919) % 2000 - 1000);
  }
  if (start_listening()) {
    return 1;
  }
  for (int i = 0; i < 20; ++i) {
    on_audio(samples, 160);
  }
  return 0;
}
"""


def test_example_of_the_document_runs(built, tmp_path):
    core, folder = built
    (example,) = re.findall(r"```c\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "example.c").write_text(example)
    (tmp_path / "surroundings.c").write_text(SURROUNDINGS)
    call(
        "arm-none-eabi-gcc",
        *(f"-mcpu={core}", "-mthumb", "-mfloat-abi=hard", "-std=c99", "-Wall", "-Wextra", "-Werror", "-Os"),
        *("-I", ROOT / "csrc" / "include", "-I", BARE_METAL, tmp_path / "example.c", tmp_path / "surroundings.c"),
        *(BARE_METAL / "start.c", folder / "libsatn_frontend.a", "-lm", "-Wl,--gc-sections", "-nostartfiles"),
        *("--specs=nano.specs", "-T", BARE_METAL / "mps.ld", "-o", tmp_path / "example"),
    )
    # 3200 samples are 18 whole windows; the deltas look 4 frames ahead.
    assert emulate(core, tmp_path / "example") == "+" * 14


def test_float64_is_refused_with_the_remedy_where_it_was_left_out(tmp_path):
    """On the machine at hand, which is quicker to build for."""
    cmake_build(ROOT, tmp_path, "SATN_FRONTEND_FLOAT64=OFF")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "satn_frontend.h"\nint main(void) {\n'
        "  char message[SATN_FRONTEND_MESSAGE_SIZE];\n  satn_frontend_options options = {sizeof options};\n"
        "  satn_frontend_plan *plan;\n"
        "  satn_frontend_preset(&options, SATN_FRONTEND_KALDI, 16000, 40, message, sizeof message);\n"
        "  options.precision = SATN_FRONTEND_FLOAT64;\n"
        '  printf("%d ", (int)satn_frontend_plan_create(&options, &plan, message, sizeof message));\n'
        "  puts(message);\n}\n"
    )
    compiler = need("c++", "to link the C library")
    call(
        need("cc", "to compile a C program"),
        "-c",
        "-I",
        ROOT / "csrc" / "include",
        tmp_path / "main.c",
        "-o",
        tmp_path / "main.o",
    )
    call(compiler, tmp_path / "main.o", tmp_path / "libsatn_frontend.a", "-o", tmp_path / "main")
    outcome = call(tmp_path / "main")
    assert outcome.startswith("2 precision is float64")
    assert "SATN_FRONTEND_FLOAT32" in outcome
    assert "-DSATN_FRONTEND_FLOAT64=ON" in outcome

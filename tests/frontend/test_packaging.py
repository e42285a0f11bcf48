"""The C library as others get it: installed, found by CMake and pkg-config, used by the program in examples/edge."""

import ctypes
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import satn_fast
from satn_fast import _frontend

from .building import ROOT, build_and_install, call, cmake_build, need
from .signals import PRESETS, voice_like

EXAMPLE = ROOT / "examples" / "edge"
AUDIO = voice_like(20000)


def build_example(folder: Path, prefix: Path, *definitions: str) -> Path:
    """Builds the example against an installed library, every warning an error; gives back the program."""
    cmake_build(EXAMPLE, folder, f"CMAKE_PREFIX_PATH={prefix}", "CMAKE_COMPILE_WARNING_AS_ERROR=ON", *definitions)
    return folder / "print_features"


@pytest.fixture(scope="module")
def static_prefix(tmp_path_factory):
    return build_and_install(tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="module")
def shared_prefix(tmp_path_factory):
    return build_and_install(tmp_path_factory.mktemp("shared"), "BUILD_SHARED_LIBS=ON")


@pytest.fixture(scope="module")
def print_features(tmp_path_factory, static_prefix):
    return build_example(tmp_path_factory.mktemp("example"), static_prefix)


def run(
    program: Path | str, audio: bytes, *arguments: str, emulator: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*emulator, str(program), *arguments], input=audio, capture_output=True, env={**os.environ, **environment}
    )


def features_of(program: Path | str, audio: bytes, *arguments: str, **how) -> np.ndarray:
    """The program's rows; it must succeed and say nothing else."""
    done = run(program, audio, *arguments, **how)
    assert (done.returncode, done.stderr) == (0, b"")
    return np.array([line.split() for line in done.stdout.splitlines()], dtype=np.float32)


def streamed(audio: np.ndarray, **settings) -> np.ndarray:
    """What Python's stream gives, in other pieces than the program's."""
    stream = satn_fast.LogMel(**settings).stream()
    return np.concatenate([*(stream.push(audio[i : i + 1234]) for i in range(0, len(audio), 1234)), stream.finish()])


def wav(
    data: bytes, *, rate=16000, channels=1, tag=1, bits=16, block=None, length=None, before=b"", extensible=False
) -> bytes:
    """A WAV file; `length` is what its header claims, `before` are chunks between format and audio."""
    block = channels * bits // 8 if block is None else block
    layout = struct.pack("<HIIHH", channels, rate, rate * block, block, bits)
    if extensible:
        guid_tail = bytes.fromhex("000000001000800000aa00389b71")
        layout = struct.pack("<H", 0xFFFE) + layout + struct.pack("<HHIH", 22, bits, 4, tag) + guid_tail
    else:
        layout = struct.pack("<H", tag) + layout
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + before
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body


INT16 = AUDIO.astype("<i2").tobytes()
FLOAT32 = (AUDIO / 32768).astype("<f4").tobytes()
LIST_CHUNK = b"LIST" + struct.pack("<I", 5) + b"INFOx" + b"\0"  # an odd size, and the byte that pads it

GOOD_WAVS = {
    "int16": wav(INT16),
    "float32": wav(FLOAT32, tag=3, bits=32),
    "extensible int16": wav(INT16, extensible=True),
    "extensible float32": wav(FLOAT32, tag=3, bits=32, extensible=True),
    "other chunks first": wav(INT16, before=LIST_CHUNK),
    "other chunks last": wav(INT16) + LIST_CHUNK,
    "length unknown": wav(INT16, length=0xFFFFFFFF),
    "length unknown to sox": wav(INT16, length=0x7FFFF000),
}

WHOLE = wav(INT16)
BAD_INPUTS = {
    "text": (3, "RIFF WAV", b"Dear Sir or Madam, ..."),
    "big-endian": (3, "RIFF WAV", b"RIFX" + WHOLE[4:]),
    "another RIFF": (3, "RIFF WAV", WHOLE[:8] + b"AVI " + WHOLE[12:]),
    "audio before format": (3, "before its format", b"RIFF\0\0\0\0WAVEdata" + struct.pack("<I", 4) + b"\0\0\0\0"),
    "tiny format": (3, "4 bytes", b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 4) + b"\0\0\0\0"),
    "contradiction": (3, "contradicts", wav(INT16, block=4)),
    "stereo": (4, "2 channels", wav(INT16, channels=2)),
    "no channels": (4, "0 channels", wav(INT16, channels=0, block=2)),
    "four bytes": (5, "truncated", WHOLE[:4]),
    "cut in the header": (5, "truncated", WHOLE[:30]),
    "cut before the audio": (5, "truncated", WHOLE[:36]),
    "cut in the audio": (5, "2000 bytes before", WHOLE[:-2000]),
    "cut in a sample": (5, "middle of a sample", WHOLE[:-2001]),
    "chunk that never ends": (5, "truncated", wav(b"", before=b"LIST" + struct.pack("<I", 0xFFFFFFFF))),
    "24 bits": (6, "24 bits", wav(INT16[:3000], bits=24)),
    "8 bits": (6, "8 bits", wav(INT16, bits=8)),
    "64-bit float": (6, "64 bits", wav(INT16, tag=3, bits=64)),
    "A-law": (6, "format 6", wav(INT16, tag=6, bits=8)),
    "rate 0": (7, "0 Hz", wav(INT16, rate=0)),
    "rate too low": (7, "999 Hz", wav(INT16, rate=999)),
    "rate too high": (7, "4294967295 Hz", wav(INT16).replace(struct.pack("<I", 16000), b"\xff" * 4, 1)),
    "nothing": (8, "empty", b""),
    "a WAV without audio": (8, "no audio", wav(b"")),
    "NaN": (1, "finite", wav(np.float32([0.0, np.nan]).tobytes(), tag=3, bits=32)),
}


@pytest.mark.parametrize("kind", GOOD_WAVS)
def test_wav_gives_the_features_of_the_stream(print_features, kind):
    np.testing.assert_array_equal(features_of(print_features, GOOD_WAVS[kind]), streamed(AUDIO))


@pytest.mark.parametrize("preset", PRESETS)
def test_pcm_gives_the_features_of_the_stream(print_features, preset):
    options = {"top_db": None} if preset == "librosa" else {}
    expected = streamed(AUDIO, preset=preset, n_mels=23, **options)
    rows = features_of(print_features, INT16, "--raw", "16000", "--preset", preset, "--mels", "23")
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_other_rates(print_features, rate):
    expected = streamed(AUDIO, sample_rate=rate)
    np.testing.assert_array_equal(features_of(print_features, INT16, "--raw", str(rate)), expected)
    np.testing.assert_array_equal(features_of(print_features, wav(INT16, rate=rate)), expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "psf", "n_mels": 23, "deltas": False},
        {"preset": "torchaudio", "fft_size": 4096, "hop_seconds": 0.002, "delta_window": 16},
        {"preset": "librosa", "top_db": None, "precision": "float64", "window": "povey"},
        {"sample_rate": 8000, "hop_seconds": 0.000125, "n_mels": 5},
    ],
)
@pytest.mark.parametrize("written", ["as given", "as described"])
def test_options_from_a_file(print_features, tmp_path, settings, written):
    file = tmp_path / "front_end.json"
    file.write_text(
        json.dumps(settings if written == "as given" else satn_fast.LogMel(**settings).describe(), indent=2)
    )
    audio, rate = AUDIO[:6000], settings.get("sample_rate", 16000)
    done = run(print_features, wav(audio.astype("<i2").tobytes(), rate=rate), "--options", str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    expected = streamed(audio, **settings)
    rows = np.array([line.split() for line in done.stdout.splitlines()], dtype=expected.dtype)
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize(
    ("status", "words", "text", "arguments"),
    [
        (2, "cannot be read", None, []),
        (2, "too long", " " * 16384, []),
        (2, "leave out --preset and --mels", "{}", ["--mels", "40"]),
        (2, "leave out --preset and --mels", "{}", ["--preset", "htk"]),
        (1, "line 1, column 1: the text ends here", "", []),
        (1, 'line 2, column 1: "mels" is no option', '{\n"mels": 40}', []),
        (1, "n_mels is 0", '{"n_mels": 0}', []),
        (1, "top_db", '{"preset": "librosa"}', []),
        (7, "16000 Hz, but", '{"sample_rate": 8000}', []),
    ],
)
def test_bad_options_file_gets_its_exit_code_and_one_line(print_features, tmp_path, status, words, text, arguments):
    file = tmp_path / "front_end.json"
    if text is not None:
        file.write_text(text)
    done = run(print_features, WHOLE, "--options", str(file), *arguments)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr.decode()


def test_utterance_shorter_than_a_frame_gives_no_line(print_features):
    assert features_of(print_features, INT16[:600], "--raw", "16000").size == 0


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_bad_input_gets_its_exit_code_and_one_line(print_features, kind):
    status, words, audio = BAD_INPUTS[kind]
    done = run(print_features, audio)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(b"print_features: ")
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr.decode()


def test_frames_before_a_cut_are_printed(print_features):
    done = run(print_features, WHOLE[:-2000])
    lines = done.stdout.splitlines()
    assert len(lines) > 100
    assert lines == run(print_features, WHOLE).stdout.splitlines()[: len(lines)]


@pytest.mark.parametrize(
    ("status", "words", "arguments", "audio"),
    [
        (5, "middle of a sample", ["--raw", "16000"], INT16[:-1]),
        (8, "no audio", ["--raw", "16000"], b""),
        (7, "999 Hz", ["--raw", "999"], INT16),
        (2, "--raw is 16k", ["--raw", "16k"], INT16),
        (2, "--raw is -1", ["--raw", "-1"], INT16),
        (2, "--raw needs", ["--raw"], INT16),
        (2, "--mels is 0", ["--mels", "0"], WHOLE),
        (1, "n_mels is 300", ["--mels", "300"], WHOLE),
        (2, "--preset is mfcc", ["--preset", "mfcc"], WHOLE),
        (2, "speech.wav", ["speech.wav"], WHOLE),
    ],
)
def test_bad_arguments_get_their_exit_code_and_one_line(print_features, status, words, arguments, audio):
    done = run(print_features, audio, *arguments)
    assert done.returncode == status, done.stderr
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr.decode()


def test_unwritable_output_is_an_error(print_features):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full, the device that refuses every write")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([print_features], input=WHOLE, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 9
    assert done.stderr.count(b"\n") == 1


def test_help_names_every_option_and_exit_status(print_features):
    text = run(print_features, b"", "--help").stdout.decode()
    assert all(option in text for option in ("--raw RATE", "--preset NAME", "--mels N", "--options FILE", *PRESETS))
    assert all(f"{status} " in text for status in range(10))
    assert text in (EXAMPLE / "README.md").read_text()


COUNT_ALLOCATIONS = """
#include <stddef.h>
#include <stdio.h>
void *__libc_malloc(size_t); void *__libc_calloc(size_t, size_t); void *__libc_realloc(void *, size_t);
static unsigned long count;
void *malloc(size_t n) { ++count; return __libc_malloc(n); }
void *calloc(size_t n, size_t size) { ++count; return __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { ++count; return __libc_realloc(p, n); }
__attribute__((destructor)) static void report(void) { fprintf(stderr, "%lu allocations", count); }
"""


def test_program_allocates_no_more_for_longer_audio(print_features, tmp_path):
    compiler = need("cc", "to count allocations")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("allocations are counted through glibc")
    (tmp_path / "count.c").write_text(COUNT_ALLOCATIONS)
    call(compiler, "-O1", "-fno-builtin", "-shared", "-fPIC", tmp_path / "count.c", "-o", tmp_path / "count.so")
    counts = [
        run(print_features, INT16 * times, "--raw", "16000", LD_PRELOAD=str(tmp_path / "count.so")).stderr.split()
        for times in (1, 4)
    ]
    assert counts[0][1] == b"allocations"
    assert int(counts[0][0]) > 0
    assert counts[0] == counts[1]


def exported(library: Path) -> set[str]:
    lines = call(need("nm", "(binutils) to list exported symbols"), "-D", "--defined-only", library).splitlines()
    return {line.split()[-1] for line in lines}


def test_shared_library_exports_what_the_header_declares_and_nothing_else(shared_prefix):
    if sys.platform != "linux":
        pytest.skip("nm -D lists an ELF library's symbols")
    header = (shared_prefix / "include" / "satn_frontend.h").read_text()
    declared = re.findall(r"^SATN_FRONTEND_API .*?(\w+)\(", header, flags=re.MULTILINE)
    assert set(declared) == set(re.findall(r"^[^/* \n].*?\b(satn_frontend_\w+)\(", header, flags=re.MULTILINE))
    assert len(declared) > 15
    (library,) = {file.resolve() for file in shared_prefix.rglob("libsatn_frontend.so*")}
    assert exported(library) == set(declared)


def test_shared_library_is_named_by_its_version(shared_prefix):
    if sys.platform != "linux":
        pytest.skip("readelf reads an ELF library")
    readelf = need("readelf", "(binutils) to read the shared library's name")
    (library,) = {file.resolve() for file in shared_prefix.rglob("libsatn_frontend.so*")}
    assert library.name == "libsatn_frontend.so.0.1.0"
    assert "[libsatn_frontend.so.0.1]" in call(readelf, "--dynamic", library)


def test_python_module_exports_its_initialisation_and_nothing_else():
    if sys.platform != "linux":
        pytest.skip("nm -D lists an ELF library's symbols")
    assert exported(Path(_frontend.__file__)) == {"PyInit__frontend"}


def test_shared_library(shared_prefix, print_features, tmp_path):
    assert list(shared_prefix.rglob("libsatn_frontend.so")), "no shared library was installed"
    program = build_example(tmp_path, shared_prefix)
    assert run(program, WHOLE).stdout == run(print_features, WHOLE).stdout


class OptionsInJson:
    """The two functions for JSON of an installed shared library, as ctypes sees them."""

    def __init__(self, prefix: Path) -> None:
        self._library = ctypes.CDLL(str(next(prefix.rglob("libsatn_frontend.so"))))
        header = (prefix / "include" / "satn_frontend.h").read_text()
        self._capacity = int(re.search(r"SATN_FRONTEND_JSON_SIZE (\d+)", header)[1])

    def round_trip(self, text: str) -> str:
        """Through satn_frontend_options and back; ValueError with the library's message where it refuses."""
        data, message = text.encode(), ctypes.create_string_buffer(320)
        written, length = ctypes.create_string_buffer(self._capacity), ctypes.c_size_t()
        # The struct: its size in front, then the fields. How large it is, the library says where it is asked wrongly.
        options = (ctypes.c_size_t * 64)(1)
        read = self._library.satn_frontend_options_from_json
        arguments = (data, ctypes.c_size_t(len(data)), message, ctypes.c_size_t(len(message)))
        assert read(options, *arguments) == 1
        options[0] = int(re.search(rb"has (\d+) bytes", message.value)[1])
        if read(options, *arguments) != 0:
            raise ValueError(message.value.decode())
        write = self._library.satn_frontend_options_to_json
        size = ctypes.c_size_t(len(written))
        assert write(options, written, size, ctypes.byref(length), message, ctypes.c_size_t(len(message))) == 0
        assert length.value == len(written.value)
        return written.value.decode()


@pytest.fixture(scope="module")
def options_in_json(shared_prefix):
    return OptionsInJson(shared_prefix)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_json_of_every_preset_survives_c(options_in_json, preset, rate):
    description = satn_fast.LogMel(rate, preset=preset).describe()
    assert json.loads(options_in_json.round_trip(json.dumps(description))) == description


CHOICES = {
    "window": ["povey", "hamming", "hamming_periodic", "hann", "hann_periodic", "rectangular"],
    "framing": ["snip_edges", "pad_end", "center_zero", "center_reflect"],
    "sample_rounding": ["down", "nearest"],
    "preemphasis_mode": ["frame", "signal"],
    "mel_scale": ["htk", "slaney"],
    "filters": ["mel", "hz", "bins"],
    "filter_norm": ["none", "slaney"],
    "power_norm": ["none", "fft_size"],
    "log": ["ln", "log10", "none", "db"],
    "floor_mode": ["clamp", "zero"],
    "precision": ["float32", "float64"],
    "deltas": [False, True],
    "remove_dc": [False, True],
}
NUMBERS = {
    "n_mels": st.integers(1, 200),
    "fft_size": st.sampled_from([None, 1024, 2048, 65536]),
    "delta_window": st.integers(1, 16),
    "window_seconds": st.floats(0.001, 0.06),
    "hop_seconds": st.floats(0.0001, 4),
    "preemphasis": st.floats(0, 1),
    "low_hz": st.floats(0, 3000),
    "high_hz": st.one_of(st.none(), st.floats(3100, 8000)),
    "floor": st.floats(1.2e-38, 1e29),
    "float_scale": st.floats(1e-12, 1e12) | st.floats(-1e12, -1e-12),
    "int16_scale": st.floats(1e-12, 1e12),
    "top_db": st.one_of(st.none(), st.floats(0, 1e300)),
}
OPTIONS = st.fixed_dictionaries(
    {}, optional={**{name: st.sampled_from(values) for name, values in CHOICES.items()}, **NUMBERS}
)


def given_or_refused(give):
    """What it gives, or the words with which it refuses."""
    try:
        return give()
    except ValueError as refusal:
        return str(refusal)


@given(preset=st.sampled_from(PRESETS), options=OPTIONS, indent=st.sampled_from([None, 0, 3]), data=st.data())
@pytest.mark.filterwarnings("ignore:.*Mel bands are too narrow")
def test_c_and_python_read_and_refuse_the_same_json(options_in_json, preset, options, indent, data):
    options["preset"] = preset
    shuffled = {name: options[name] for name in data.draw(st.permutations(sorted(options)))}
    text = json.dumps(shuffled, indent=indent)
    expected = given_or_refused(lambda: satn_fast.LogMel(**options).describe())
    read = given_or_refused(lambda: json.loads(options_in_json.round_trip(text)))
    if isinstance(expected, str):
        assert read == expected
        return
    assert satn_fast.LogMel(**read).describe() == expected
    assert json.loads(options_in_json.round_trip(json.dumps(expected))) == expected
    assert {name: read[name] for name in options} == options


def test_project_in_cpp_finds_the_package(static_prefix, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\n"
        "project(consumer LANGUAGES CXX)\n"
        "find_package(satn_frontend 0.1 REQUIRED)\n"
        "find_package(satn_frontend 99 QUIET)\n"
        "if(satn_frontend_FOUND)\n"
        '  message(FATAL_ERROR "version 99 was found")\n'
        "endif()\n"
        "add_executable(consumer consumer.cpp)\n"
        "target_link_libraries(consumer satn::frontend)\n"
    )
    (tmp_path / "consumer.cpp").write_text(
        "#include <cstdio>\n#include <satn_frontend.h>\nint main() { std::puts(satn_frontend_version()); }\n"
    )
    cmake_build(tmp_path, tmp_path / "build", f"CMAKE_PREFIX_PATH={static_prefix}")
    assert call(tmp_path / "build" / "consumer") == "0.1.0\n"


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_pkg_config_finds_the_library_where_it_was_moved(kind, request, print_features, tmp_path):
    pkg_config = need("pkg-config", "to test the pkg-config file")
    compiler = need("cc", "to build with pkg-config")
    moved = tmp_path / "moved"
    shutil.copytree(request.getfixturevalue(f"{kind}_prefix"), moved, symlinks=True)
    (file,) = moved.rglob("satn_frontend.pc")
    static = ["--static"] if kind == "static" else []
    flags = call(pkg_config, "--cflags", "--libs", *static, "satn_frontend", PKG_CONFIG_PATH=str(file.parent)).split()
    assert any(Path(flag[2:]).resolve() == moved / "include" for flag in flags if flag.startswith("-I"))
    program = tmp_path / "print_features"
    call(compiler, "-std=c99", EXAMPLE / "print_features.c", *flags, "-o", program)
    done = run(program, WHOLE, LD_LIBRARY_PATH=str(file.parents[1]))
    assert done.stdout == run(print_features, WHOLE).stdout


@pytest.mark.parametrize(
    ("toolchain", "triple", "emulator"),
    [
        ("aarch64-linux", "aarch64-linux-gnu", ["qemu-aarch64"]),
        ("armv7-linux", "arm-linux-gnueabihf", ["qemu-arm", "-cpu", "cortex-a8"]),
    ],
)
def test_cross_compiled_library_agrees(toolchain, triple, emulator, print_features, tmp_path):
    need(f"{triple}-g++", f"(apt-get install g++-{triple}) to cross-compile")
    qemu = need(emulator[0], "(apt-get install qemu-user) to run what was cross-compiled")
    file = f"CMAKE_TOOLCHAIN_FILE={ROOT / 'csrc' / 'cmake' / 'toolchains' / toolchain}.cmake"
    prefix = build_and_install(tmp_path, file, "SATN_FAST_BUILD_TESTS=ON")
    ctest = need("ctest", "to run the tests in C")
    # The instruction set that the variable asks for is this machine's, not the target's.
    call(ctest, "--test-dir", tmp_path / "library", "--output-on-failure", SATN_FAST_ISA="")
    program = build_example(tmp_path / "example", prefix, file)
    here = features_of(print_features, WHOLE)
    run_there = {"emulator": [qemu, *emulator[1:], "-L", f"/usr/{triple}"], "SATN_FAST_ISA": ""}
    there = features_of(program, WHOLE, **run_there)
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)

"""The C header of a `.mcu.tflite` file and the program in examples/edge/microcontroller."""

import ctypes
import importlib
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import satn_fast
from satn_fast.export.micro.exporter import to_micro
from satn_fast.export.micro.file import interface
from satn_fast.export.micro.header import to_header
from satn_fast.export.micro.host import Host
from satn_fast.export.micro.runtime import MicroModel, arena_bytes, content_of
from tests.export import speechlike
from tests.frontend.building import ROOT, call, cmake_build, need

pytest.importorskip("tflite_micro", reason="the package tflite-micro is not installed")

EXAMPLE = ROOT / "examples" / "edge" / "microcontroller"
TOOLCHAIN = ROOT / "csrc" / "cmake" / "toolchains" / "arm-none-eabi.cmake"
TFLITE_MICRO = ROOT / "tests" / "export" / "micro_headers"
TFLITE_MICRO_BUILD = "0.dev20261023182759"
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
CROSS_COMPILER = "(apt-get install gcc-arm-none-eabi libstdc++-arm-none-eabi-newlib) to cross-compile"
LABELS = ("calm", "ängstlich", 'so "so"??/')


# What pools the logits of frames, and what pools mean and deviation.
CONFIGURATIONS = {
    "mean": {"normalization": "running"},
    "statistics": {
        "normalization": "running_level",
        "pooling": "statistics",
        "pooling_layers": "all",
        "embedding_norm": True,
        "front_end": {**speechlike.FRONT_END, "hop_seconds": 0.04},
    },
    "global": {"normalization": "global"},
}


@pytest.fixture(scope="module", params=["mean", "statistics"])
def exported(request, tmp_path_factory):
    """The folder of a model's file and header."""
    return export(tmp_path_factory.mktemp("microcontroller"), CONFIGURATIONS[request.param])


def export(folder, overrides):
    model = speechlike.untrained(labels=LABELS, **overrides)
    file = to_micro(model, folder / "model.mcu.tflite", speechlike.corpus(11, 4)[0])
    to_header(file, folder / "satn_model.h", arena_bytes=50_000)
    return folder


@pytest.fixture(scope="module")
def library(exported):
    return compiled(exported)


def compiled(exported):
    """The header's constants and satn_host.c, as a shared library."""
    compiler = need("gcc", "to compile the header")
    target = exported / "host.so"
    sources = [EXAMPLE / "model.c", EXAMPLE / "satn_host.c"]
    call(compiler, "-std=c99", *STRICT, "-O2", "-ffp-contract=off", "-shared", "-fPIC", f"-I{exported}",
         *sources, "-o", target, "-lm")  # fmt: skip
    return ctypes.CDLL(str(target))


def test_header_is_c99_and_cpp_without_a_warning(exported, tmp_path):
    for compiler, standard, name in (("gcc", "c99", "twice.c"), ("g++", "c++17", "twice.cpp")):
        source = tmp_path / name
        source.write_text('#define SATN_MODEL_IMPLEMENTATION\n#include "satn_model.h"\n#include "satn_model.h"\n')
        call(
            need(compiler, "to compile"),
            f"-std={standard}",
            *STRICT,
            f"-I{exported}",
            "-c",
            source,
            "-o",
            source.with_suffix(".o"),
        )


def test_header_holds_the_file_byte_by_byte(exported, library):
    content = (exported / "model.mcu.tflite").read_bytes()
    data = (ctypes.c_ubyte * len(content)).in_dll(library, "satn_model_data")
    assert bytes(data) == content
    assert ctypes.addressof(data) % 16 == 0
    assert f"#define SATN_MODEL_BYTES {len(content)}\n" in (exported / "satn_model.h").read_text()


def test_header_holds_labels_and_tables(exported, library):
    labels = (ctypes.c_char_p * len(LABELS)).in_dll(library, "satn_model_labels")
    assert tuple(label.decode() for label in labels) == LABELS
    _, _, tables = content_of(exported / "model.mcu.tflite")
    for name, expected in tables._asdict().items():
        np.testing.assert_array_equal((ctypes.c_float * 48).in_dll(library, f"satn_model_{name}"), expected)


def test_header_holds_the_numbers_of_the_interface(exported):
    inputs, outputs = interface((exported / "model.mcu.tflite").read_bytes())
    header = (exported / "satn_model.h").read_text()
    found = re.findall(r"#define SATN_MODEL_(\w+) ([-0-9.e]+)F?$", header, re.MULTILINE)
    numbers = {name: float(value) for name, value in found}
    assert numbers["LOGIT_ZERO_POINT"] == outputs[0].zero_point
    assert np.float32(numbers["LOGIT_SCALE"]) == np.float32(outputs[0].scale)
    assert np.float32(numbers["FEATURE_SCALE"]) == np.float32(inputs[0].scale)
    assert (1, numbers["CHUNK_FRAMES"], numbers["FEATURES"]) == inputs[0].shape
    assert (1, numbers["LABELS"]) == outputs[0].shape
    assert numbers["POOLING_FRAMES"] == inputs[-1].shape[1]
    assert numbers["STATE_BYTES"] == sum(np.prod(port.shape) for port in inputs[2:])
    assert (numbers["STATES"], numbers["ARENA_BYTES"]) == (len(inputs) - 2, 50_000)
    config = content_of(exported / "model.mcu.tflite")[1].config
    assert numbers["RUNNING_NORMALIZATION"] == (config.normalization == "running")
    assert numbers["RUNNING_LEVEL"] == (config.normalization == "running_level")
    of_ten_seconds = {"running": (100, 1000), "running_level": (25, 250)}[config.normalization]
    assert (numbers["PRIOR_FRAMES"], numbers["POOLING_FRAMES"]) == of_ten_seconds
    assert numbers["BANDS"] == 16


def test_header_says_which_output_goes_to_which_input(exported, library):
    class State(ctypes.Structure):
        _fields_ = (
            ("input", ctypes.c_int),
            ("output", ctypes.c_int),
            ("bytes", ctypes.c_size_t),
            ("initial", ctypes.c_int8),
        )

    micro = MicroModel(exported / "model.mcu.tflite")
    states = (State * len(micro._initial)).in_dll(library, "satn_model_states")
    for index, (state, initial) in enumerate(zip(states, micro._initial, strict=True)):
        assert (state.input, state.output, state.bytes) == (index + 2, index + 1, initial.size)
        assert set(initial.flatten()) == {state.initial}


def test_front_end_of_the_header_is_that_of_the_model(exported, tmp_path):
    source = tmp_path / "options.c"
    source.write_text(
        """
        #include "satn_frontend.h"
        #include "satn_model.h"
        int main(void) {
          satn_frontend_options o = SATN_MODEL_FRONT_END;
          return o.size != sizeof o || o.n_mels != 16 || o.window != SATN_FRONTEND_WINDOW_POVEY || o.top_db >= 0 ||
                 o.floor_mode != SATN_FRONTEND_FLOOR_CLAMP || o.low_hz != 20.0 || o.int16_scale != 1.0 ||
                 o.deltas != 1 || o.delta_window != 2;
        }
        """
    )
    folders = (f"-I{exported}", f"-I{ROOT / 'csrc' / 'include'}")
    call(need("gcc", "to compile"), "-std=c99", *STRICT, *folders, source, "-o", tmp_path / "options")
    call(tmp_path / "options")


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_c_host_gives_the_integers_of_python(configuration, tmp_path):
    exported = export(tmp_path, CONFIGURATIONS[configuration])
    library = compiled(exported)
    _, metadata, tables = content_of(exported / "model.mcu.tflite")
    features = np.concatenate(
        [speechlike.utterance(np.random.default_rng(9), 2000, 1), np.full((1, 48), 1e30, np.float32)]
    )
    zero_point = MicroModel(exported / "model.mcu.tflite").feature_zero_point
    expected = Host(metadata.config, tables, zero_point).quantized(features)
    host, row = ctypes.create_string_buffer(b"x" * 4096, 4096), (ctypes.c_int8 * 48)()
    library.satn_host_reset(host)
    for frame, integers in zip(features, expected, strict=True):
        library.satn_host_quantize(host, frame.ctypes.data_as(ctypes.c_void_p), row)
        np.testing.assert_array_equal(row, integers)


def signal():
    """The samples of print_chunks.c."""
    noise, phase, samples = 1, 0, []
    for i in range(16000):
        noise = (noise * 1664525 + 1013904223) % 2**32
        phase = (phase + 60000000 + 4000 * i) % 2**32
        samples.append((3000 if phase >> 31 else -3000) + (noise >> 20) * i // 16000)
    return np.array(samples, dtype=np.int16)


def test_listener_on_a_cortex_m4_gives_the_chunks_of_python(exported, tmp_path):
    need("arm-none-eabi-g++", CROSS_COMPILER)
    qemu = need("qemu-system-arm", "(apt-get install qemu-system-arm) to run what was built for a microcontroller")
    cmake_build(
        EXAMPLE,
        tmp_path,
        f"SATN_MODEL_DIR={exported}",
        f"CMAKE_TOOLCHAIN_FILE={TOOLCHAIN}",
        "CMAKE_COMPILE_WARNING_AS_ERROR=ON",
    )
    board = ["-machine", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
    console = ["-semihosting-config", "enable=on,target=native", "-kernel", tmp_path / "print_chunks"]
    done = subprocess.run([qemu, *board, *console], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    chunks = [np.frombuffer(bytes.fromhex(line), np.int8) for line in (done.stdout + done.stderr).split()]

    _, metadata, tables = content_of(exported / "model.mcu.tflite")
    micro = MicroModel(exported / "model.mcu.tflite")
    features = satn_fast.LogMel(**metadata.config.front_end).stream().push(signal())
    rows = Host(metadata.config, tables, micro.feature_zero_point).quantized(features)
    expected = rows[: len(rows) // 10 * 10].reshape(-1, 480)
    assert len(chunks) == len(expected) == (9 if metadata.config.hop_seconds == 0.01 else 2)
    # Features agree to the rounding of float32, which at the border of two integers makes one of the other.
    difference = np.abs(np.stack(chunks).astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_main_loop_compiles_for_a_cortex_m4(exported, tmp_path):
    compiler = need(
        "arm-none-eabi-g++", "(apt-get install gcc-arm-none-eabi libstdc++-arm-none-eabi-newlib) to cross-compile"
    )
    core = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-fno-exceptions", "-fno-rtti")
    call(
        compiler,
        "-std=c++17",
        *core,
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-Werror",
        f"-I{exported}",
        "-c",
        EXAMPLE / "main.cpp",
        "-o",
        tmp_path / "main.o",
    )
    undefined = call("arm-none-eabi-nm", "--demangle", "--undefined-only", "--format=just-symbols", tmp_path / "main.o")
    assert {"recognizer::start()", "listener_start", "listener_push"} <= set(undefined.splitlines())


def test_recognizer_compiles_wherever_tflite_micro_has_its_names(exported):
    compiler = need("g++", "to compile")
    folders = (f"-I{exported}", f"-isystem{TFLITE_MICRO}")
    for names in ((), ("-DNAMES_IN_TFLITE",)):
        call(compiler, "-std=c++17", *STRICT, *folders, *names, "-fsyntax-only", EXAMPLE / "recognizer.cpp")


def test_recognizer_compiles_for_a_cortex_m4(exported, tmp_path):
    compiler = need("arm-none-eabi-g++", CROSS_COMPILER)
    core = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-fno-exceptions", "-fno-rtti")
    folders = (f"-I{exported}", f"-isystem{TFLITE_MICRO}")
    call(compiler, "-std=c++17", *core, *STRICT, *folders, "-c", EXAMPLE / "recognizer.cpp", "-o", tmp_path / "r.o")


def recognizer(folder, header_folder):
    """recognizer.cpp with the header of `header_folder` and the TFLite Micro of its Python package."""
    if version("tflite_micro") != TFLITE_MICRO_BUILD:
        pytest.skip(f"tflite-micro is {version('tflite_micro')}, and {TFLITE_MICRO} is after {TFLITE_MICRO_BUILD}")
    model = folder / "model.o"
    call(need("gcc", "to compile"), "-std=c99", "-fPIC", f"-I{header_folder}", "-c", EXAMPLE / "model.c", "-o", model)
    library = Path(importlib.import_module("tflite_micro.python.tflite_micro._runtime").__file__)
    target = folder / "recognizer.so"
    call(need("g++", "to compile"), "-std=c++17", *STRICT, "-O2", "-shared", "-fPIC", f"-I{header_folder}",
         f"-I{EXAMPLE}", f"-isystem{TFLITE_MICRO}", EXAMPLE / "recognizer.cpp", TFLITE_MICRO / "entry.cpp", model,
         library, f"-Wl,-rpath,{library.parent}", "-o", target)  # fmt: skip
    result = ctypes.CDLL(str(target))
    result.recognizer_start.restype = result.recognizer_step.restype = ctypes.c_char_p
    return result


def test_recognizer_gives_the_logits_of_python(exported, tmp_path):
    file = exported / "model.mcu.tflite"
    to_header(file, tmp_path / "satn_model.h", arena_bytes=arena_bytes(file))
    library = recognizer(tmp_path, tmp_path)
    assert library.recognizer_start() is None
    _, metadata, tables = content_of(file)
    micro, logits = MicroModel(file), (ctypes.c_float * len(LABELS))()
    host = Host(metadata.config, tables, micro.feature_zero_point)
    heard = []
    for seed in (1, 2):
        features = speechlike.utterance(np.random.default_rng(seed), 200, seed)
        host.reset()
        micro.reset()
        if heard:
            library.recognizer_reset()  # start() has done so for the first
        for start in range(0, 200, 10):
            chunk = np.ascontiguousarray(host.quantized(features[start : start + 10]))
            assert library.recognizer_step(chunk.ctypes.data_as(ctypes.c_void_p), logits) is None
            np.testing.assert_array_equal(logits, micro.push(features[start : start + 10]))
            heard.append(tuple(logits))
    assert len(set(heard)) > 20, "the logits have to change"


def test_recognizer_says_that_the_arena_is_too_small(exported, tmp_path):
    to_header(exported / "model.mcu.tflite", tmp_path / "satn_model.h", arena_bytes=20_000)
    library = recognizer(tmp_path, tmp_path)
    assert library.recognizer_start() == b"the arena is too small: raise SATN_MODEL_ARENA_BYTES"


def test_name_must_be_a_c_identifier(exported, tmp_path):
    with pytest.raises(ValueError, match="name is '3 models'; give a C identifier"):
        to_header(exported / "model.mcu.tflite", tmp_path / "m.h", arena_bytes=1, name="3 models")
    assert not list(tmp_path.iterdir())

"""The C library builds by itself, without Python, and passes its own tests, under sanitizers too."""

import random

from satn_fast.frontend import supported_isas

from .building import ROOT, call, cmake_build, ctest, need_sanitizer


def test_library_builds_and_passes_ctest(tmp_path):
    cmake_build(ROOT, tmp_path, "SATN_FAST_BUILD_TESTS=ON")
    ctest(tmp_path)
    assert "pybind11_DIR" not in (tmp_path / "CMakeCache.txt").read_text()


def test_every_isa_passes_ctest_under_address_and_undefined_behaviour_sanitizers(tmp_path):
    need_sanitizer("address,undefined", tmp_path)
    build = tmp_path / "build"
    cmake_build(ROOT, build, "SATN_FAST_BUILD_TESTS=ON", "SATN_FAST_SANITIZE=address,undefined")
    for isa in supported_isas():
        ctest(build, SATN_FAST_ISA=isa)


def test_every_isa_shares_plans_between_threads_under_thread_sanitizer(tmp_path):
    under = need_sanitizer("thread", tmp_path)
    build = tmp_path / "build"
    cmake_build(ROOT, build, "SATN_FAST_BUILD_TESTS=ON", "SATN_FAST_SANITIZE=thread", target="test_threads")
    for isa in supported_isas():
        ctest(build, "--tests-regex", "^test_threads$", under=under, SATN_FAST_ISA=isa)


def test_fuzzer_finds_nothing_in_fifteen_seconds(tmp_path):
    need_sanitizer("fuzzer,address,undefined", tmp_path, "clang++")
    definitions = ["SATN_FAST_BUILD_FUZZER=ON", "SATN_FAST_SANITIZE=address,undefined"]
    build = tmp_path / "build"
    cmake_build(ROOT, build, *definitions, target="fuzz_frontend", CC="clang", CXX="clang++")
    # From a hundred random inputs it gets further in its time than from none.
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    draw = random.Random(1)
    for i in range(100):
        (corpus / str(i)).write_bytes(draw.randbytes(draw.randint(20, 300)))
    options = [
        "-seed=1",
        "-max_total_time=15",
        "-rss_limit_mb=0",
        "-malloc_limit_mb=2048",
        "-max_len=4096",
        "-len_control=0",
        f"-artifact_prefix={tmp_path}/",
    ]
    call(build / "fuzz_frontend", *options, corpus)

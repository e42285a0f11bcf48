# One command each on a fresh machine with Python 3.11 to 3.13, a C++17 compiler and make:
#   make demo    the whole story: speech, training, transfer, evaluation, export, verification, report
#   make test    the tests
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: setup demo test lint docs tidy benchmark fuzz clean

setup: $(INSTALLED)

# The compiled extension is rebuilt when its sources change. torch first and pinned: an open range would replace it.
$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch \
		scikit-build-core pybind11 cmake ninja
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --no-build-isolation \
		--config-settings cmake.define.SATN_FAST_WARNINGS_AS_ERRORS=ON --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/satn-fast demo

test: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(shell find csrc examples -name '*.[ch]' -o -name '*.[ch]pp')

# The documents as a site in build/site, with the API from the docstrings; a dead link is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# clang-tidy over the C and C++ code, as CMake compiles it (the fuzzer and the examples are not built here, and are named);
# whatever .clang-tidy asks for is an error.
tidy: setup build/onnxruntime
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -G Ninja -S . -B build/tidy -DSATN_FAST_BUILD_TESTS=ON \
		-DSATN_FAST_BUILD_BENCHMARKS=ON -DSATN_FAST_BUILD_PYTHON=ON \
		-DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python" -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	$(BIN)/python $(BIN)/run-clang-tidy.py -quiet -p build/tidy -j 2 -clang-tidy-binary $(BIN)/clang-tidy
	$(BIN)/clang-tidy --quiet csrc/fuzz/*.cpp -- -std=c++17 -Icsrc/include -Icsrc/tests
	$(BIN)/clang-tidy --quiet examples/edge/print_features.c -- -std=c99 -Icsrc/include
	$(BIN)/clang-tidy --quiet examples/edge/recognize/*.cpp -- -std=c++17 -Icsrc/include -isystem build/onnxruntime/include

# ONNX Runtime for the C++ example and its tests, from npm.
build/onnxruntime:
	sh examples/edge/recognize/get_onnxruntime.sh $@

# make fuzz SECONDS=600: random options, audio and JSON through the C library under sanitizers (needs Clang), as long for
# each program. What they learn is kept for the next time; what breaks the library is written to build/fuzz/.
SECONDS ?= 60
fuzz: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" CC=clang CXX=clang++ cmake -G Ninja -S . -B build/fuzz \
		-DSATN_FAST_BUILD_FUZZER=ON -DSATN_FAST_SANITIZE=address,undefined
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/fuzz
	mkdir -p build/fuzz/corpus build/fuzz/corpus_json
	build/fuzz/fuzz_frontend -max_total_time=$(SECONDS) -max_len=4096 -len_control=0 -artifact_prefix=build/fuzz/ \
		build/fuzz/corpus
	build/fuzz/fuzz_options_json -max_total_time=$(SECONDS) -max_len=2048 -artifact_prefix=build/fuzz/ \
		build/fuzz/corpus_json

benchmark: setup
	$(BIN)/python -m pytest --benchmark

clean:
	rm -rf .venv build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One command each on a fresh machine with Python 3.11 to 3.13, a C++17 compiler and make:
#   make demo    the whole story: speech, training, transfer, evaluation, export, verification, report
#   make test    the tests
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: setup demo test lint benchmark clean

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

benchmark: setup
	$(BIN)/python -m pytest --benchmark

clean:
	rm -rf .venv build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

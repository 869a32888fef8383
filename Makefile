# One verb each; CI calls the same verbs.  Everything is made in .venv, from Rust, Python and make.
#
#   make                      what the verbs do
#   make test TESTS="tests/test_mode.py -k sparse"
#   make demo VOLUME=my.npz METHOD=mode FACTOR=2,2,2

PYTHON ?= python3
TESTS  ?=
VOLUME ?=
METHOD ?=
FACTOR ?= 2,2,1
OUT    ?= demo.png
ARGS   ?=

VENV := $(CURDIR)/.venv
BIN  := $(VENV)/bin
MADE := $(VENV)/.made

# The tests choose their backend themselves, whatever the shell says.
unexport TINYBRAIN_SIMD TINYBRAIN_STRICT
export VIRTUAL_ENV := $(VENV)
export PYO3_PYTHON := $(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

SOURCES := $(shell find src -name '*.rs') Cargo.toml Cargo.lock pyproject.toml
# An editable install reads python/ in place, the wheel holds a copy.
PACKAGE := $(shell find python -name '*.py' -o -name '*.pyi' -o -name 'py.typed') $(wildcard README.md LICENSE)

# A wheel for Linux is linked by zig against glibc 2.17, so that it runs wherever manylinux2014 does.
ifeq ($(shell uname -s),Linux)
WHEEL_TOOL  := maturin[zig]
WHEEL_FLAGS := --zig --compatibility manylinux2014 --strip
else
WHEEL_TOOL  := maturin
WHEEL_FLAGS :=
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint bench bench-volumes compare wheel build install-wheel maturin rust-tests clean

help:
	@echo "make demo     a pyramid of generated tissue: times, the picture demo.png, and demo.ome.zarr"
	@echo "              (VOLUME=file.npy|npz  METHOD=average|mode  FACTOR=2,2,1  OUT=demo.png)"
	@echo "make test     Rust tests, then pytest on every backend and on the wheel (TESTS=\"arguments of pytest\")"
	@echo "make lint     rustfmt, clippy, ruff, mypy, stubtest"
	@echo "make bench    speed beside a plain read of the memory, 1.7.0 and other libraries: benches/record"
	@echo "              (ARGS=--quick for a look, ARGS=\"--only mode uint64\" for some rows)"
	@echo "make bench-volumes  tinybrain build beside a copy by TensorStore, and beside ngff-zarr and ome-zarr-py (ARGS=--quick)"
	@echo "make compare  results beside tinybrain 1.7.0, call by call, with every difference explained"
	@echo "make wheel    an abi3 wheel in dist/"
	@echo "make build    the release build, installed in .venv"
	@echo "make clean    remove .venv, dist and everything cargo built"
	@echo "PYTHON=python3.12 chooses the interpreter of .venv (3.10 or later)"

# --- What the verbs stand on: stamps, so that each step runs again only when its reasons changed ---

$(MADE)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "tinybrain needs Python 3.10 or later; say which with PYTHON=")'
	@command -v cargo > /dev/null || { echo "tinybrain is built by cargo: install Rust from https://rustup.rs" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(MADE) && touch $@

$(MADE)/maturin: $(MADE)/venv
	$(BIN)/pip install --quiet 'maturin>=1.8,<2'
	@touch $@

$(MADE)/native: $(MADE)/maturin $(SOURCES)
	$(BIN)/maturin develop --release
	@touch $@

# tinybrain is installed by now, so this brings only what the extra names in pyproject.toml.
$(MADE)/test $(MADE)/lint $(MADE)/demo $(MADE)/volumes $(MADE)/dask: $(MADE)/%: pyproject.toml | $(MADE)/native
	$(BIN)/pip install --quiet 'tinybrain[$*]'
	@touch $@

$(MADE)/wheel: $(MADE)/maturin $(SOURCES) $(PACKAGE)
	$(BIN)/pip install --quiet '$(WHEEL_TOOL)>=1.8,<2'
	rm -f dist/*.whl
	PATH="$(BIN):$$PATH" maturin build --release $(WHEEL_FLAGS) --out dist  # zig is found as a module of python3
	@touch $@

# --- The verbs ---

build: $(MADE)/native

# In .venv before anything else runs at the same time.
maturin: $(MADE)/maturin

# dist/ may have been removed by hand, which the stamp does not see.
wheel:
	@ls dist/*.whl > /dev/null 2>&1 || rm -f $(MADE)/wheel
	@$(MAKE) --no-print-directory $(MADE)/wheel

# Instead of `build`: what is tested then is what users get, and nothing is compiled for this machine alone.
install-wheel: wheel
	$(BIN)/pip install --quiet --force-reinstall dist/*.whl
	@touch $(MADE)/native

# Volumes on disk need libraries that not every Python has.
demo: $(MADE)/native $(MADE)/demo
	@$(MAKE) --no-print-directory $(MADE)/volumes || echo "tinybrain[volumes] cannot be installed here: the demo goes without"
	$(BIN)/python benches/demo.py --volume '$(VOLUME)' --method '$(METHOD)' --factor '$(FACTOR)' --out '$(OUT)'

# The best backend first; the others need not look at the wheel again, nor at dask and volumes on disk, which no kernel knows of,
# unless the tests to run were named.
ELSEWHERE := --ignore=tests/test_wheel.py $(foreach topic,build readme dask info preview pyramid view,--ignore-glob='tests/test_$(topic)*')

# In a folder of their own, so that they may be compiled while the extension is.
RUST_TESTS := cargo test --release --lib --no-default-features --target-dir target/tests

rust-tests:
	$(RUST_TESTS) --no-run

test: $(MADE)/native $(MADE)/test wheel
	$(RUST_TESTS)
	$(BIN)/python -m pytest -n auto $(TESTS)
	@set -e; for backend in $$($(BIN)/python -c 'from tinybrain import _native; print(*_native.backends()[-2::-1])'); do \
	    echo "TINYBRAIN_SIMD=$$backend"; \
	    TINYBRAIN_SIMD=$$backend $(BIN)/python -m pytest -n auto $(if $(TESTS),$(TESTS),$(ELSEWHERE)); \
	done

lint: $(MADE)/native $(MADE)/lint
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict python/tinybrain
	$(BIN)/python -m mypy.stubtest tinybrain._native

# The kernels without Python on every backend, then whole calls beside the memory and the peers.
bench: $(MADE)/native $(MADE)/demo
	@mkdir -p benches/record
	cargo bench --no-default-features --bench kernels > target/kernels.txt
	@{ $(BIN)/python benches/record.py; cat target/kernels.txt; } > benches/record/kernels.txt
	@cat benches/record/kernels.txt
	$(BIN)/python benches/peers.py $(ARGS)

# Volumes of 4 GiB in the system's temporary folder: some ten minutes.
bench-volumes: $(MADE)/native $(MADE)/volumes $(MADE)/dask
	@mkdir -p benches/record
	$(BIN)/python benches/volumes_build.py $(ARGS)

compare: $(MADE)/native
	$(BIN)/python benches/compare_1_7.py $(ARGS)

clean:
	rm -rf $(VENV) .venvs dist
	cargo clean

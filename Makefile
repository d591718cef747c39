# Two commands on a fresh machine: `make demo` runs the main job, `make test` the quick tests. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.complete
# One thread a process: pytest runs a process a core.
QUICK := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: setup demo test test-all check format bench lock clean

setup: $(SETUP)

$(SETUP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "geopretext needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/geopretext demo --out runs/demo

test: setup
	$(QUICK) -m "not slow and not gpu"

test-all: setup
	$(QUICK) -m "not gpu"
	$(BIN)/python -m pytest -m gpu

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# Pins every dependency. torch is pinned without the suffix of a CPU or CUDA build, so that either satisfies it.
lock: setup
	$(BIN)/pip-compile --quiet --extra all --extra timm --extra segmentation --extra dev --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --allow-unsafe \
		--output-file requirements.txt pyproject.toml
	sed -i -E 's/^(torch==[0-9.]+)\+[a-z0-9]+/\1/' requirements.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

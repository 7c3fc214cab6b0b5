# Two commands are all a fresh machine needs: `make demo` and `make test`.
# Needs python3 (>= 3.11) with venv and pip. Another interpreter: make demo PYTHON=python3.12
# Extra options for pip, for example an index of your own: make demo PIP_FLAGS="--index-url URL"

PYTHON ?= python3
PIP_FLAGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt $(PIP_FLAGS)

# Two OpenMP threads that spin while they wait for each other are slower than one on a busy machine.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test lint types unit bench fuzz docs install dev clean

demo: .venv/.installed
	$(BIN)/python -P -m hexaquant.demo $(DEMO_FLAGS)

test: lint types unit

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.installed-dev
	$(BIN)/mypy

unit: export OMP_NUM_THREADS := 1
unit: .venv/.installed-dev .venv/.installed-system
	$(BIN)/pytest -n 2 --durations=25 $(PYTEST_FLAGS)

bench: export OMP_NUM_THREADS := 1
bench: .venv/.installed-dev
	set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

# Ten minutes for each reader of the C runtime under libFuzzer (needs clang); the figures are in docs/measurements.md.
fuzz: .venv/.installed-dev .venv/.installed-system
	$(BIN)/python scripts/fuzz_c_runtime.py $(FUZZ_FLAGS)

# The documentation site, into build/site/; a warning is an error, and nothing is fetched from anywhere.
docs: .venv/.installed-dev
	PYTHONPATH=scripts $(BIN)/python scripts/docs_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f build/mkdocs.yml

# The wheel in a new environment of its own, and the quick start of the documentation with it.
wheel:
	rm -rf build/wheel build/wheel-venv
	$(PYTHON) -m pip --disable-pip-version-check wheel --quiet --no-deps $(PIP_FLAGS) -w build/wheel .
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt $(PIP_FLAGS) build/wheel/*.whl
	$(PYTHON) scripts/quick_start.py build/wheel-venv/bin

# The lowest versions that pyproject.toml allows, in an environment of their own, and the quick start with them.
lower-bounds:
	mkdir -p build
	rm -rf build/lower-venv
	$(PYTHON) -m venv build/lower-venv
	$(PYTHON) scripts/lower_bounds.py > build/lower-bounds.txt
	build/lower-venv/bin/python -m pip --disable-pip-version-check install --quiet -c build/lower-bounds.txt $(PIP_FLAGS) .
	$(PYTHON) scripts/quick_start.py build/lower-venv/bin

install: .venv/.installed
dev: .venv/.installed-dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hexaquant needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

# The stamps make a second call install nothing unless the dependencies changed.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) -e '.[dev,keras,tensorflow,docs]'
	touch $@

# Compilers, a browser, ssh: programs that tests run, from the distribution.
.venv/.installed-system: scripts/install_system_packages.sh | .venv/bin/python
	scripts/install_system_packages.sh
	touch $@

clean:
	rm -rf .venv out site build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

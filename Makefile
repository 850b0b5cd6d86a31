# Every target works as the first command in a fresh clone: the environment is made on the way.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= demo
# Tests run side by side, a file in one process; one more than cores, since many wait for other processes.
JOBS ?= -n $$(expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 4 --dist loadfile
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## Tell the whole story on the bundled miniature; pictures and report go to demo/ (OUT=DIR)
	$(BIN)/freeda demo --out $(OUT) $(ARGS)

test: $(READY)  ## Run the tests (ARGS="-k name" and the like are passed on)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(JOBS) $(ARGS)

test-all: $(READY)  ## Run the tests with the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(JOBS) --slow $(ARGS)

check: $(READY)  ## Lint with ruff and check types with mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

lock:  ## Renew requirements.lock from the ranges in pyproject.toml
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet -e '.[dev,app,ray]' setuptools
	{ sed -n '/^#/p' requirements.lock; build/lock/bin/pip freeze --all --exclude pip --exclude freeda \
		| sed -E '/^-e |@ /d; s/\+[A-Za-z0-9.]+$$//'; } > build/requirements.lock
	mv build/requirements.lock requirements.lock
	rm -rf build/lock

clean:  ## Remove the environment, caches and what was built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# freeda itself is installed without its dependencies, so that the lock file alone decides versions.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "freeda needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# Two commands do everything: `make study` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
# The version that is tested. Where the default wheel brings CUDA along, a CPU build saves several GB.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: study test check install results clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "femtobarn needs Python 3.11 or later; this is %d.%d (make PYTHON=...)" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[simulate,export,stat,scan,jets,dask,dev]"
	@touch $@

study: install
	$(BIN)/femtobarn study four-top-small --output runs/four-top-small

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What the README and docs/results show.
results: study
	$(BIN)/python docs/results.py runs/four-top-small

clean:
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache

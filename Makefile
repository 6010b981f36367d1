# make demo   runs the main job from nothing        make test   passes the tests
# Each makes its own .venv; only python3, make and a package index are needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-all lint format docs clean

demo: $(STAMP)
	$(BIN)/vtr demo --out demo

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow or not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(BIN)/python -m vtrcli.cli.reference > docs/commands.md

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make a virtual environment: install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info

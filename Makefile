# make demo   runs the main job from nothing        make test   passes the tests
# Each makes its own .venv; only python3, make and a package index are needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-all lint resolve interop bench bench-gpu test-gpu format docs clean

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

# The constraints must hold on every Python that pyproject.toml names; uv resolves for one that is not here.
resolve: $(STAMP)
	@$(BIN)/python -m pip install --quiet uv || { echo "no uv here: the constraints were resolved for no Python"; exit 0; }; \
	for version in 3.10 3.11 3.12 3.13; do \
	  $(BIN)/uv pip compile --quiet --no-header --no-annotate --python-version $$version \
	    --constraint constraints.txt --all-extras pyproject.toml --output-file /dev/null || exit 1; \
	  echo "the constraints resolve on Python $$version"; \
	done

# The evaluators that the tests and benchmarks/traps.py compare numbers with: half a minute and a gigabyte.
interop: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[interop]"

# Every claim about speed beside the way that others take, in one run of 20 minutes on two cores; its table goes into
# docs/performance.md. One section anew: make bench BENCH="--only extraction". rclip needs an environment of its own.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	@[ -x $(VENV)/rclip/bin/rclip ] || { $(PYTHON) -m venv $(VENV)/rclip && \
	  $(VENV)/rclip/bin/python -m pip install --quiet rclip==3.3.0; } || echo "no rclip here: its rows do without it"
	$(BIN)/python benchmarks/bench.py --rclip $(VENV)/rclip/bin/rclip --results benchmarks/results/bench.json \
	  --write docs/performance.md $(BENCH)

# The half of it that needs a CUDA device, as shares of the chip's rate: at most eight minutes.
bench-gpu: $(STAMP)
	$(BIN)/python benchmarks/gpu.py $(BENCH)

# The rules that only a CUDA device can break.
test-gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu

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

# Everything a newcomer needs: `make demo` and `make test`. `make` alone lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run beside each other, two workers a core; a file's tests stay together, and those that take
# longest begin (tests/support/scheduling.py). A worker that crashes is not replaced: xdist
# would wait for ever for a file of which it had begun; the others run what is left. Hundreds of
# Python processes begin: they keep what they compile, also where the environment says otherwise.
TEST_WORKERS ?= auto
TEST_ARGS ?=
RELEASE_ARGS ?=
# Of `make simulate`.
SEEDS ?= 10000
FIRST ?= 0
PROCESSES ?= 2
# Of `make chaos`: a seed of its own unless one is given; on a busy machine a pace of devices below 1.
MINUTES ?= 60
SEED ?=
PACE ?= 1
# Of `make guards`: rows of docs/faults.md.
ROWS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test simulate chaos guards check format bench backlog release clean .venv hardware

help: ## List the targets
	@grep -E '^[.a-z-]+:.*## ' Makefile | sed -E 's/^([.a-z-]+):.*## /\1\t/' \
	  | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

demo: .venv ## Show the whole way of a decision, with three lies, on this machine
	@$(BIN)/tally demo

test: hardware ## Run all tests; installs the system packages that they need
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder \
	  --max-worker-restart 0 $(TEST_ARGS)

simulate: hardware ## Run many seeds of the simulation: make simulate SEEDS=10000 FIRST=0
	@$(BIN)/python tests/simulation/run.py --seeds $(SEEDS) --first $(FIRST) --processes $(PROCESSES)

chaos: hardware ## Kill, cut, fill and move real processes: make chaos MINUTES=60 SEED=7
	@PYTHONPATH=firmware:gateway:hw:validator:tools:tests $(BIN)/python -m chaos.run \
	  --minutes $(MINUTES) --pace $(PACE) $(if $(SEED),--seed $(SEED))

guards: hardware ## Take guards out of a copy, and see a test fail: make guards ROWS="F12 A09"
	@$(BIN)/python scripts/take-guards-out $(ROWS)

check: .venv ## Lint, format and type checks over everything
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: .venv ## Put every file into the one format
	@$(BIN)/ruff check --fix --select I .
	@$(BIN)/ruff format .

bench: hardware ## Measure against the peers, side by side in one run
	@$(BIN)/tally bench record
	@$(BIN)/tally bench ingest
	@$(BIN)/tally bench forward
	@$(BIN)/tally bench fleet
	@$(BIN)/tally bench sign

backlog: .venv ## Fill a gateway with a million segments under 128 MB, and drain it
	@PYTHONPATH=firmware:gateway:hw:validator:tools:tests $(BIN)/python tests/gateway/backlog.py \
	  $${TMPDIR:-/tmp}/tally-backlog 1000000 128

release: hardware ## Build wheel, sdist and SBOM into dist/, and ask for known weaknesses
	@$(BIN)/python scripts/release $(RELEASE_ARGS)

clean: ## Remove what the other targets made
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One virtual environment serves all targets. The script leaves the stamp only when it is complete.
.venv: $(VENV)/complete ## Make the virtual environment that all targets use

$(VENV)/complete: pyproject.toml scripts/make-venv
	@PYTHON="$(PYTHON)" scripts/make-venv $(VENV)

# System packages, then what is compiled against them. The demo needs neither. The stamp is looked at
# in the recipe: without root there may be nothing to install, and the tests then skip what they lack.
hardware: .venv
	@scripts/system-packages $(BIN)/python
	@[ $(VENV)/hardware -nt $(VENV)/complete ] || scripts/hardware-packages $(VENV)

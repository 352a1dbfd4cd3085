# make run | test | check | serve | bench | validity | calibrate | doctor | example | lock     The first use of any makes .venv from the lock file.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test test-parts test-patched check serve bench validity calibrate doctor example lock clean
.DEFAULT_GOAL := run

run: $(READY)
	@$(BIN)/talkload run $(SCENARIO)

# Whole runs mostly wait, so three go at a time whatever the cores; what is held to a clock has the machine to
# itself. What runs under gevent has a process of its own, patched before anything else is imported, beside the rest.
WHOLE := tests/end_to_end tests/calibration

test: $(READY)
ifdef TESTS
	$(BIN)/pytest $(TESTS)
else
	@$(MAKE) --no-print-directory --jobs 2 test-parts test-patched
	$(BIN)/pytest --numprocesses 3 --dist loadgroup -m 'not alone' $(WHOLE)
	$(BIN)/pytest -m alone $(WHOLE)
endif

test-parts: $(READY)
	$(BIN)/pytest --numprocesses auto --dist loadfile $(WHOLE:%=--ignore=%)

test-patched: $(READY)
	$(BIN)/python -m gevent.monkey --module pytest tests/patched

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: $(READY)
	@$(BIN)/talkload serve

# How often the gate is right, simulated and live (docs/gates.md: at most two hours); what the instrument and the
# reference server cost, the verdict on a run of an hour, ten thousand sockets at once, and what a second process of
# the server adds (docs/benchmarks.md: half an hour); whether a search finds a capacity that is known
# (docs/capacity.md: at most an hour and a half). BENCH=--quick is rougher, and takes about half an hour for all of it.
bench: $(READY)
	@$(BIN)/python -m benchmarks.gate_simulation
	@$(BIN)/python -m benchmarks.gates $(filter --quick,$(BENCH))
	@$(BIN)/python -m benchmarks.instrument $(BENCH)
	@$(BIN)/python -m benchmarks.server_cost $(filter --quick --json,$(BENCH))
	@$(BIN)/python -m benchmarks.large_run --page $(filter --json,$(BENCH))
	@$(BIN)/python -m benchmarks.sockets $(filter --json,$(BENCH))
	@$(BIN)/python -m benchmarks.scaling $(filter --quick --json,$(BENCH))
	@$(BIN)/python -m benchmarks.capacity_search $(filter --quick --json,$(BENCH))

# Are runs that something else spoiled called invalid, and no others: docs/benchmarks.md.
validity: $(READY)
	@$(BIN)/python -m benchmarks.validity $(BENCH)

# Does the suite find what is known to be wrong: docs/measuring.md.
calibrate: $(READY)
	@$(BIN)/talkload calibrate

doctor: $(READY)
	@$(BIN)/talkload doctor

# The run and the page that the README shows; after a change of the format or of a figure.
example: $(READY)
	@$(BIN)/python -m benchmarks.example

# Versions and hashes only: where packages come from is each machine's own setting.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

$(READY): requirements.lock requirements-history.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "talkload needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 2; }
	@echo "Making .venv from requirements.lock (once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-history.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# OTel Studio. Needs Python 3.11 or newer and make; everything else it sets up by itself.
#
#   make demo          a media service at work, watched by OTel Studio; Ctrl-C ends it
#   make demo FOR=20   the same for 20 seconds
#   make test          every test; ARGS="-k registry -x" goes to pytest
#   make quick         a fast pass over every room; ROOM=registry for the tests and the lint of one
#   make prove         the storms of signals, forks and threads in their whole length
#   make lint          style and the order of imports between parts
#   make types         mypy and pyright
#   make bench         what an operation costs here
#   make bench-service what a whole service pays here, beside others
#   make docs          the documentation, into site/
#   make lock          the pinned requirements anew; ARGS=--upgrade for newer versions

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
FFMPEG := instrumentations/ffmpeg
INSTRUMENTATIONS := $(wildcard instrumentations/*/pyproject.toml)
FOR ?=
ARGS ?=
ROOM ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test quick prove parts lint types bench bench-service docs lock clean

help:
	@sed -n 's/^#   \(make .*\)/  \1/p' Makefile

$(BIN)/python:
	@scripts/make-venv.sh $(VENV)

# The demo's pins are a part of dev's: either may come first, and the second adds to it.
$(VENV)/.demo-is-set-up: requirements/demo.txt pyproject.toml $(FFMPEG)/pyproject.toml | $(BIN)/python
	@echo "installing what the demo needs into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements/demo.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable . --editable ./$(FFMPEG)
	@touch $@

$(VENV)/.dev-is-set-up: requirements/dev.txt pyproject.toml $(INSTRUMENTATIONS) | $(BIN)/python
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable . \
		$(INSTRUMENTATIONS:%/pyproject.toml=--editable ./%)
	@touch $@ $(VENV)/.demo-is-set-up

venv: $(VENV)/.dev-is-set-up

demo: $(VENV)/.demo-is-set-up
	@$(BIN)/python -m examples.demo $(if $(FOR),--for $(FOR)) $(ARGS)

# Says what it could not get; whether a missing part skips or fails a test is the test's affair.
parts: venv
	@scripts/install-parts.sh
	@$(BIN)/python scripts/fetch_sdk_tests.py >/dev/null || true
	@scripts/build-collector.sh >/dev/null || true

# By one process more than two cores hold, for many tests wait for programs; each file in one.
test: venv parts
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile $(ARGS)

quick: venv
	@VENV=$(VENV) scripts/quick.sh "$(ROOM)" $(ARGS)

prove: venv parts
	@OTEL_STUDIO_PROVE=1 $(BIN)/python -m pytest -m prove $(ARGS)

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: venv
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: venv
	@$(BIN)/python -m bench $(ARGS)

bench-service: venv
	@$(BIN)/python -m bench.service $(ARGS)

docs: venv
	@$(BIN)/mkdocs build --strict $(ARGS)

lock:
	@scripts/lock.sh $(ARGS)

clean:
	@rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

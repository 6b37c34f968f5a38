# The README's two commands are `make run` and `make test`; each does all of its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTREADY := $(VENV)/.test-ready

.PHONY: setup run serve test test-quick crash bench bench-followup bench-kickoff bench-kickoff-busy bench-kickoff-nginx bench-count bench-large bench-many bench-peers bench-ship bench-start bench-authorize bench-issue docs wheel deb lint format clean packages players

# Only what `usher` needs, to run it as a service.
setup: $(READY)

run: $(READY)
	@$(BIN)/usher demo

serve: $(READY)
	@$(BIN)/usher serve

# In two processes, since most of it waits for other programs; a file's tests stay together and in order.
test: $(TESTREADY) packages
	@$(MAKE) --no-print-directory players lint
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Under a minute, without Debian packages: the rules, the protocol, the ledger.
test-quick: $(TESTREADY)
	@$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not crash and not client" -k "not ApartBench" tests/unit tests/conformance/test_ledger.py

# More kills than the suite's: make crash ROUNDS=1000
ROUNDS ?= 25
crash: $(TESTREADY)
	@CRASH_ROUNDS=$(ROUNDS) $(BIN)/pytest tests/crash

# 1m by default, in about eight minutes; SIZE=10m for ten million attempts, in about twelve.
SIZE ?= 1m
bench: $(TESTREADY)
	@$(BIN)/python -m bench --size $(SIZE)

# Follow-ups of live sessions beside a constant answer, and beside decisions.
bench-followup: $(TESTREADY)
	@$(BIN)/python -m bench.followup

# A hundred thousand viewers who come within seconds.
bench-kickoff: $(TESTREADY)
	@$(BIN)/python -m bench.kickoff

# The same over so many connections that the node has to tell some that it is busy, and to real nginx before it.
bench-kickoff-busy: $(TESTREADY)
	@$(BIN)/python -m bench.kickoff --connections 19000 --seconds 28 --results bench/kickoff-busy.json

bench-kickoff-nginx: $(TESTREADY) packages
	@$(BIN)/python -m bench.kickoff --through nginx

# Beside what a user would build or pick instead, in under 15 minutes; PEERS_SIZE=20k for a look.
PEERS_SIZE ?= 1m
bench-peers: $(TESTREADY) packages
	@$(BIN)/python -m bench.peers --size $(PEERS_SIZE)

# What counts cost, asked for the first time, and again while attempts arrive; SIZE as for bench.
bench-count: $(TESTREADY)
	@$(BIN)/python -m bench.counts --size $(SIZE)

# SIZE attempts on their way from the ledger to the log, and what decisions notice of it.
bench-ship: $(TESTREADY)
	@$(BIN)/python -m bench.ship --size $(SIZE)

# Decisions over 1, 64 and 1,024 connections, beside a constant answer.
bench-authorize: $(TESTREADY)
	@$(BIN)/python -m bench.authorize

# Tickets issued by signed commands, beside a constant answer.
bench-issue: $(TESTREADY)
	@$(BIN)/python -m bench.issue

# What counts cost in a node of 20 accounts with SIZE attempts, in turns with one of BESIDE; LARGE=folder for one that
# `python -m bench.bulk` made.
BESIDE ?= 200k
LARGE ?=
bench-large: $(TESTREADY)
	@$(BIN)/python -m bench.large --size $(SIZE) --beside $(BESIDE) $(if $(LARGE),--data $(LARGE))

# Decisions and new tickets in a node with MANY tickets, in turns with one with 100k.
MANY ?= 10m
bench-many: $(TESTREADY)
	@$(BIN)/python -m bench.many --size $(MANY)

# From a node's start until it is ready, with SIZE attempts; LARGE as for bench-large.
bench-start: $(TESTREADY)
	@$(BIN)/python -m bench.start --size $(SIZE) $(if $(LARGE),--data $(LARGE))

# The site of docs/, into site/.
docs: $(TESTREADY)
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs site
	@echo "The pages are in site/index.html"

# The wheel, into dist/.
wheel: $(TESTREADY)
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# The Debian package, into dist/, with the versions that .venv has: they are the ones that were tested.
deb: $(TESTREADY)
	@$(BIN)/python packaging/deb/build.py

lint: $(TESTREADY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(TESTREADY)
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean:
	rm -rf $(VENV)

# Debian packages that tests need, only those that are missing.
packages:
	@./tests/install-packages

# hls.js and dash.js, which browsers run in tests; npm is one of the packages.
players: $(TESTREADY)
	@./tests/install-players $(VENV)/players

$(READY): pyproject.toml
	@./tests/check-python $(PYTHON)
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing Usher and what it stands on into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary openusher -e .
	@touch $@

$(TESTREADY): $(READY)
	@echo "Installing what the tests need into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary openusher -e '.[dev,bench]'
	@touch $@

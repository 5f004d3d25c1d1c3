# carboy: one command for each thing. `make help` lists them.
# PYTHON names the interpreter to build on; VENV the folder of the environment.
SHELL := /bin/sh
PYTHON := $(shell PYTHON="$(PYTHON)" sh scripts/find-python.sh)
VENV ?= .venv
export VENV
BIN := $(VENV)/bin
BOOTSTRAP := $(PYTHON) scripts/bootstrap.py
STAGES := check unit lowest conformance extensions wheel
# What .ci/run does besides: it takes minutes, or needs root and Debian.
HEAVY := test-docs test-servers test-webservers test-containers test-newcomer test-ray test-judges soak newest
# A process of tests per CPU. `loadfile`: the tests of a file share a server.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
# One more for tests of servers, which wait for a quarter of their time.
WAITING = -n $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 4 ] || n=4; echo $$((n + 1))) --dist loadfile
# The most seconds that `make soak` takes.
SOAK_S ?= 1800

ifeq ($(PYTHON),)
$(error no Python 3.11 or newer: see above)
endif

.DEFAULT_GOAL := help
.PHONY: help run test ci test-all-pythons test-servers test-webservers test-containers test-newcomer test-ray test-judges unit stress fuzz soak lowest newest conformance extensions check format bench \
	docs test-docs screenshots coverage wheel pins clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## install, train and serve the digits example at http://127.0.0.1:5000/; PORT=5001
	@exec $(PYTHON) scripts/run.py

test: ## all checks and tests, installing what they need
	@$(PYTHON) scripts/stages.py $(STAGES)

ci: ## what .ci/run does: `make test`, and what takes minutes or needs root and Debian
	@$(PYTHON) scripts/stages.py $(STAGES) $(HEAVY)

test-all-pythons: ## `make test` on each Python that is installed, `make newest` on 3.14, 3.15
	@$(PYTHON) scripts/all_pythons.py

unit: ## the tests of tests/ only; ARGS="-n 0 -k name -x" go to pytest
	@$(BOOTSTRAP) test
	@$(BIN)/python -m pytest $(WAITING) $(ARGS)

stress: ## the tests of races, many turns each
	@$(BOOTSTRAP) test
	@$(BIN)/python -m pytest -m stress --timeout 600 $(ARGS)

soak: ## 10^6 requests while workers die, clients leave, the disk is full; SOAK_S=300 bounds it
	@$(BOOTSTRAP) test
	@$(BIN)/python tests/soak/run.py --seconds $(SOAK_S) $(ARGS)

fuzz: ## 10^6 changed requests to all that reads what clients send; ARGS="--target npy"
	@$(BOOTSTRAP) test
	@$(BIN)/python tests/fuzz/run.py $(ARGS)

test-servers: ## an app under gunicorn, uWSGI, mod_wsgi and other WSGI servers (root, Debian)
	@$(BOOTSTRAP) servers
	@$(BIN)/python -m pytest $(PARALLEL) tests/deployed/servers $(ARGS)

test-webservers: ## an app behind nginx, Apache and Caddy, and as a systemd unit (root, Debian)
	@$(BOOTSTRAP) webservers
	@$(BIN)/python -m pytest $(PARALLEL) tests/deployed/webservers $(ARGS)

test-containers: ## images of apps, built and run (root, Debian)
	@$(BOOTSTRAP) containers
	@$(BIN)/python -m pytest tests/deployed/containers $(ARGS)

test-ray: ## models on a Ray cluster, of one node and of two (root: networks of the nodes)
	@$(PYTHON) scripts/raytests.py $(ARGS)

test-newcomer: ## a new user's first minutes, on a fresh Debian; ARGS="--newest --with-tests" (root, Debian)
	@$(BOOTSTRAP) newcomer
	@$(BIN)/python tests/newcomer/run.py $(ARGS)

test-judges: ## bandit, schemathesis, wapiti and the HTTP Observatory; ARGS="--only wapiti"
	@$(BOOTSTRAP) judges
	@$(BIN)/python tests/judged/run.py $(ARGS)

docs: ## build the documentation site: build/docs/index.html
	@$(BOOTSTRAP) docs
	@$(BIN)/python scripts/docs.py

screenshots: ## take the screenshots of the documentation anew
	@$(BOOTSTRAP) test
	@PYTHONPATH=tests/support $(BIN)/python tests/support/docscreenshots.py

test-docs: ## build the documentation site, check its links, look at it in a browser
	@$(BOOTSTRAP) docs test
	@$(BIN)/python -m pytest tests/documentation $(ARGS)

lowest: ## the quick tests, with the lowest versions of what carboy requires
	@$(BOOTSTRAP) lowest
	@$(PYTHON) scripts/lowest.py $(PARALLEL) $(ARGS)

newest: ## the quick tests on a newer Python of Debian's testing, by chroot (root, Debian)
	@$(PYTHON) scripts/debian_pythons.py newest $(PARALLEL) $(ARGS)

conformance: ## Flask's own test suite against carboy, and that of the newest Flask
	@$(BOOTSTRAP) conformance
	@$(PYTHON) scripts/conformance.py $(ARGS)

extensions: ## Flask extensions used for real, with and without Flask installed
	@$(BOOTSTRAP) extensions
	@$(PYTHON) scripts/extensions.py $(ARGS)

check: ## format, lint, types, layers
	@$(BOOTSTRAP) lint
	@failed=0; for checker in "ruff format --check" "ruff check" mypy \
		"lint-imports --no-logo --no-cache"; do \
		echo "$$checker"; $(BIN)/$$checker || failed=1; \
	done; exit $$failed

format: ## format all code
	@$(BOOTSTRAP) lint
	$(BIN)/ruff format
	$(BIN)/ruff check --fix --select I

bench: ## measure carboy and its peers (hours); PLAN=1 says how long, QUICK=1 is short, ONLY="typed forms"
	@$(BOOTSTRAP) bench
	@$$($(BOOTSTRAP) where bench) bench/run.py $(if $(PLAN),--plan) $(if $(QUICK),--quick) \
		$(if $(ONLY),--only $(ONLY)) $(ARGS)

coverage: ## the tests of tests/ with branch coverage
	@$(BOOTSTRAP) test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

wheel: ## build the wheel into dist/, install it elsewhere, ask it for a page
	@$(PYTHON) scripts/wheel.py

pins: ## write scripts/constraints.txt and bench/pins/ anew, with the newest versions
	@$(PYTHON) scripts/pins.py
	@$(PYTHON) bench/pins.py

clean: ## remove all that these commands made
	rm -rf .venv .cache build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache \
		.ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The commands of this repository. Each makes .venv first if it is missing or out of date.
# PYTHON names the interpreter that makes .venv (3.11 to 3.14); ARGS goes to pytest, or to the benchmarks.

PYTHON ?= python3
ARGS ?=
export PYTHON

.PHONY: help run database test check docs dist ranges neighbours bench bench-quick bench-gate faults trials clean

help: ## list the targets
	@echo "usage: make TARGET    (PYTHON=python3.12 make ... chooses the interpreter that makes .venv)"
	@awk -F': ## ' '/^[a-z-]+: ## / {printf "  %-11s %s\n", $$1, $$2}' Makefile

run: ## start the application on http://127.0.0.1:8000 (HOST, PORT), with a database if MONGODB_URI is not set
	@sh config/environment.sh run
	@exec .venv/bin/python -m config.development run

database: ## start the embedded database alone: the one that `make run` uses, same data, same port
	@sh config/environment.sh database
	@exec .venv/bin/python -m config.development database

test: ## run all tests in five processes, which mostly wait (ARGS="-k name" for some, ARGS=-n0 for one by one; TEST_MONGODB_URI for a real MongoDB)
	@sh config/environment.sh development
	@# Five processes, and those that they start, read the same modules: what one has compiled is kept for the others.
	@env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m pytest -n 5 $(ARGS)

neighbours: ## run the tests beside extensions of other hosts, which are installed into var/neighbours (ARGS="-k Sentry")
	@sh config/environment.sh development
	@cat requirements.txt requirements-integrations.txt requirements-dev.txt tests/hosts/requirements-neighbours.txt | cmp -s - var/neighbours/installed \
		|| { .venv/bin/python -m venv --clear var/neighbours \
			&& var/neighbours/bin/python -m pip install --disable-pip-version-check --no-input -r tests/hosts/requirements-neighbours.txt \
			&& cat requirements.txt requirements-integrations.txt requirements-dev.txt tests/hosts/requirements-neighbours.txt >var/neighbours/installed; }
	@var/neighbours/bin/python -m pytest tests/unit/neighbours $(ARGS)

check: ## check format, style, types and the order of imports
	@sh config/environment.sh development
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m ruff check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports

dist: ## build wheel and sdist into dist/, check them, and run a host with the wheel in an empty environment
	@sh config/environment.sh development
	@.venv/bin/python -m tests.distribution

ranges: ## run the hosts with the lowest and with the newest versions that prodfix works with (ARGS="lowest", PYTHON=python3.14)
	@sh config/environment.sh development
	@.venv/bin/python -m tests.ranges $(ARGS)

bench: ## measure beside other libraries, and how costs grow: benchmarks/REPORT.md (ARGS="--small" tries it, ARGS=--help)
	@sh config/environment.sh development
	@.venv/bin/python -m benchmarks full $(ARGS)

bench-quick: ## one table of what it costs, in under 3 minutes (ARGS="--rows 1 5 7", ARGS="--json FILE")
	@sh config/environment.sh development
	@.venv/bin/python -m benchmarks quick $(ARGS)

bench-gate: ## fail if instruction counts grew by 3 % over those in benchmarks/figures.json
	@sh config/environment.sh development
	@.venv/bin/python -m benchmarks gate $(ARGS)

faults: ## run only the tests that break the database or a worker on purpose
	@sh config/environment.sh development
	@.venv/bin/python -m pytest -m faults $(ARGS)

docs: ## build the pages of docs/ into var/site, strictly (ARGS=serve shows them on http://127.0.0.1:8001 and follows changes)
	@sh config/environment.sh docs
	@if [ "$(ARGS)" = serve ]; then exec env NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs serve --strict --dev-addr 127.0.0.1:8001; fi; \
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet $(ARGS) && echo "built: var/site/index.html"

trials: ## 1,200 faults under 100,000 writes, an hour or so (ARGS="--rounds 1 --faults 60 --writes 3000 --seed 7")
	@sh config/environment.sh development
	@.venv/bin/python -m tests.faults.trials $(ARGS)

clean: ## remove .venv, the environments in var/, what was built and the caches; the data and logs in var/ stay
	rm -rf .venv dist build prodfix.egg-info var/bench-peers var/dist var/ranges var/neighbours .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

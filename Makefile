# One command sets everything up, one shows it running, one proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where the environment forbids it: without it, every process that the tests start compiles all it imports again.
export PYTHONDONTWRITEBYTECODE :=
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint types floors unit pythons image mutants simulate unique planted chaos soak viewers screenshots prometheus dramatiq lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tbcache needs Python >= 3.11; $(PYTHON) is older. Try: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(BIN)/tbcache up --demo

test: lint types floors unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

floors: setup
	$(BIN)/lint-imports

unit: setup clients schema
	# Six at a time on two cores: many tests wait. Each file by one of them, which keeps the servers that its
	# tests share, and in the order of tests/conftest.py, the longest first. What fails is tried once more,
	# alone: a test whose deadlines a busy machine missed passes then, a broken one fails again.
	# Before that the tests are compiled once, in two halves; in a fresh tree each of the six would do so.
	@$(BIN)/pytest -qq --collect-only tests/*/ >/dev/null & $(BIN)/pytest -qq --collect-only tests/test_*.py >/dev/null; wait
	@$(BIN)/pytest -n 6 --dist loadfile --no-loadscope-reorder || { \
		echo "Failed with six at a time; once more, alone:" >&2; \
		$(BIN)/pytest --last-failed --last-failed-no-failures none; }

# Every import and the examples on the other Pythons that are supported, where they are at hand.
pythons: setup
	@$(BIN)/python -m tests.pythons 3.12 3.13 3.14

# The steps of the Dockerfile that install, without a container engine: the environment has what the lock says.
image: setup
	$(BIN)/pytest tests/image.py

# Deletes each line of each Lua script in turn and names those that no test misses; takes an hour.
mutants: setup
	$(BIN)/python -m tests.mutants

# A fleet in virtual time, with all that may go wrong, once for each of SEEDS seeds; one that breaks a promise
# prints the line that shows it again.
SEEDS ?= 200
simulate: setup
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

# Asks for the same fetches and works on them in random orders: 0 jobs too many, and 0 answers that are too old.
RUNS ?= 10000
unique: setup
	$(BIN)/python -m tests.unique --runs $(RUNS)

# Plants one bug after the other into the core, and says within how many seeds the simulation finds it: five minutes, as
# the seed that has found it before is tried first. `--fresh` begins with seed 0: hours.
planted: setup
	$(BIN)/python -m tests.simulation.planted

# Kills, stops and cuts off real processes at random for SECONDS, then checks that no limit was exceeded,
# nothing is lost and nobody saw a raw error.
SEED ?= 1
SECONDS ?= 120
chaos: setup
	$(BIN)/python -m tests.chaos --seed $(SEED) --seconds $(SECONDS)

# Runs a demo for SECONDS and compares what it counts, pays and calls complete with what its simulator knows.
soak: setup
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

# VIEWERS watch the page of one API for SECONDS: how late a change is seen by all, and what it costs Redis.
VIEWERS ?= 1000
viewers: setup
	$(BIN)/python -m tests.viewers --viewers $(VIEWERS) --seconds $(SECONDS)

# A real Prometheus scrapes a demo: each panel of the dashboard has data, each alert rule can be evaluated.
prometheus: setup
	$(BIN)/pytest tests/prometheus.py

# What the docs show of the page, as the browser sees it on its way through the ten tasks.
screenshots: setup
	SCREENSHOTS=docs/image $(BIN)/pytest -q tests/browser/test_task.py -k Mouse

# The tests of the installed dramatiq, on the pacing broker. They are fetched into a cache outside of the tree.
dramatiq: setup
	$(BIN)/python -m tests.dramatiq_suite -q

# Pins every dependency with its hashes; names no index and no host.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --group dev --extra all pyproject.toml --output-file requirements.lock

CLIENTS_VENV := .venv-clients
CLIENTS_STAMP := $(CLIENTS_VENV)/.installed

.PHONY: clients clients-lock

# The clients of the ecosystem that the tests run against the simulator, in an environment of their own.
clients: $(CLIENTS_STAMP)

$(CLIENTS_STAMP): requirements-clients.lock
	$(PYTHON) -m venv $(CLIENTS_VENV)
	$(CLIENTS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-clients.lock
	@touch $@

clients-lock: setup
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --group clients --output-file requirements-clients.lock

SCHEMA_VENV := .venv-schema
SCHEMA_STAMP := $(SCHEMA_VENV)/.installed

.PHONY: contract schema schema-lock

# What schemathesis has the API answer is as its OpenAPI document says, for SECONDS.
contract: setup schema
	$(BIN)/python -m tests.contract --seed $(SEED) --seconds $(SECONDS)

schema: $(SCHEMA_STAMP)

$(SCHEMA_STAMP): requirements-schema.lock
	$(PYTHON) -m venv $(SCHEMA_VENV)
	$(SCHEMA_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-schema.lock
	@touch $@

schema-lock: setup
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --group schema --output-file requirements-schema.lock

CHART_VENV := .venv-chart
CHART_STAMP := $(CHART_VENV)/.installed

.PHONY: chart chart-lock

# Renders the Helm chart and checks what comes out against the schemas of Kubernetes.
chart: setup $(CHART_STAMP)
	$(BIN)/pytest tests/chart.py

$(CHART_STAMP): requirements-chart.lock
	$(PYTHON) -m venv $(CHART_VENV)
	$(CHART_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-chart.lock
	@touch $@

chart-lock: setup
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --group chart --output-file requirements-chart.lock

clean:
	rm -rf $(VENV) $(VENV)-3.* $(CLIENTS_VENV) $(SCHEMA_VENV) $(CHART_VENV) .tbcache-contract build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed

.PHONY: bench bench-quick bench-lock

# tbcache beside its peers, in an environment of their own; writes bench/RESULTS.md.
bench: $(BENCH_STAMP)
	@$(BENCH_VENV)/bin/python -m bench

bench-quick: $(BENCH_STAMP)
	@$(BENCH_VENV)/bin/python -m bench --quick

$(BENCH_STAMP): bench/requirements.lock pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r bench/requirements.lock
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

bench-lock: setup
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --constraint requirements.lock --extra embedded --extra otel --extra server --extra simulated --extra sql \
		--override bench/overrides.in pyproject.toml bench/requirements.in \
		--output-file bench/requirements.lock

# Two commands are enough: `make demo` and `make test`. `make` alone lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Where it is set (container images do), each of the hundreds of processes of a run would compile all that it imports
unexport PYTHONDONTWRITEBYTECODE
STACK ?= serverless
VOLUME ?= 1M
SEEDS ?= 10000
# of preview, up, destroy and shell: `real` takes the plugins of your own Pulumi home (docs/adr/0006-local-aws.md)
PROVIDERS ?= local
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.installed
CHECKOV := .venv-checkov/bin/checkov
COSMIC_RAY := .venv-mutants/bin/cosmic-ray
# Python 3.11 or newer; the first that is there
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help demo test stories simulate explore variants mutants corpus chaos soak differential drill evidence check format preview up destroy shell pipeline bench cost diagrams docs screens lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

# A lock file names every package, so pip resolves none (--no-deps): older ones take the newest coverage for the
# `coverage[toml]` that pytest-cov wants, and then refuse it as not pinned
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it from your package manager or python.org, then run make again."; exit 1; }
	@echo "Installing the Python packages into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# A venv of its own: checkov pins packages that ours need in other versions
$(CHECKOV): delivery/policies/checkov.lock
	@echo "Installing checkov into .venv-checkov (once, about a minute) ..."
	@$(PYTHON) -m venv --clear .venv-checkov
	@.venv-checkov/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r delivery/policies/checkov.lock
	@touch $@

# The same of the tester that makes mutants; its packages are of no use to anything else
$(COSMIC_RAY): tests/mutants/cosmic-ray.lock
	@echo "Installing cosmic-ray into .venv-mutants (once, about a minute) ..."
	@$(PYTHON) -m venv --clear .venv-mutants
	@.venv-mutants/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r tests/mutants/cosmic-ray.lock
	@touch $@

demo: $(READY) ## both alternatives on the local AWS: 6,919 real transactions each, faults, a verdict (ALTERNATIVE=one)
	@$(PY) -m demo $(if $(ALTERNATIVE),--alternative $(ALTERNATIVE))

test: WHICH = not deployed
test: $(READY) ## run the tests (no AWS account, no Docker)
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "$(WHICH)" $(ARGS)

stories: $(READY) ## the tests that deploy whole stacks by the pulumi command, as the pages of docs/ say
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m deployed $(ARGS)

simulate: $(READY) ## play SEEDS lives of the product under faults, and judge each; `SEED=n` shows one
	@$(PY) -m simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --keep simulation) $(ARGS)

explore: $(READY) ## every interleaving of two workers, an operator and the gateway, up to a bound: what always holds
	@$(PY) -m simulation.explorer --keep model-checking $(ARGS)

variants: $(READY) ## break the product in one place after the other: the simulator and tests must notice each (ARGS=--search)
	@$(PY) -m tests.variants $(ARGS)

mutants: $(READY) $(COSMIC_RAY) ## change one small step of the core after the other: a test must fail (ARGS="--part settle")
	@nice $(PY) -m tests.mutants $(ARGS)

evidence: $(READY) ## one page of what the attacks on the promise found; runs what this commit has not seen (RUN=nothing)
	@$(PY) -m evidence $(if $(RUN),--run $(RUN)) $(if $(FOLDER),--folder "$(FOLDER)")

chaos: $(READY) ## both alternatives under 300 kills, 100 pauses, 100 cuts and restarts, 20,000 transactions (ALTERNATIVE=one)
	@$(PY) -m chaos attack $(if $(ALTERNATIVE),--alternative $(ALTERNATIVE)) $(ARGS)

soak: $(READY) ## a million seeds, then an hour of chaos with workers that must not grow (MINUTES=5 for less of both)
	@$(PY) -m chaos soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

differential: $(READY) ## 10,000 transactions through both alternatives: the same ends, the same histories
	@$(PY) -m chaos differential $(ARGS)

drill: $(READY) ## both datastores back to the middle of a run, by the commands of docs/restore.md (ALTERNATIVE=one)
	@$(PY) -m chaos drill $(if $(ALTERNATIVE),--alternative $(ALTERNATIVE))

corpus: $(READY) ## 10,000 bad inputs, 5,000 planted secrets and the vendors' gateways, all of them (some 15 min)
	@CORPUS=whole $(PY) -m pytest tests/corpus -n 2 --dist loadfile -q $(ARGS)

check: $(READY) $(CHECKOV) ## lint, format check, strict types, dead code, the policy pack and checkov
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/vulture
	@$(VENV)/bin/vulture __main__.py */
	@kept=$$(mktemp -d) && trap 'rm -rf "$$kept"' EXIT && export CONFIRM_RECORDINGS="$$kept" && \
	  $(PY) -W ignore -m delivery.policies.graph && $(PY) -W ignore -m delivery.policies.scan $(CHECKOV)

format: $(READY) ## let ruff format and mend the code
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

preview: $(READY) ## pulumi preview of STACK on the local AWS
	@$(PY) -m local preview --stack $(STACK) --providers $(PROVIDERS)

up: $(READY) ## pulumi up of STACK on the local AWS
	@$(PY) -m local up --stack $(STACK) --providers $(PROVIDERS)

destroy: $(READY) ## pulumi destroy of STACK on the local AWS
	@$(PY) -m local destroy --stack $(STACK) --providers $(PROVIDERS)

shell: $(READY) ## a shell on the local AWS: type pulumi, aws and confirm as you will on AWS
	@$(PY) -m local shell --stack $(STACK) --providers $(PROVIDERS)

pipeline: $(READY) ## azure-pipelines.yml on the local AWS: all stages for STACK, asks before it applies (APPROVE=yes)
	@$(PY) -m delivery.azure_runner --stack $(STACK) $(if $(TESTS),--tests "$(TESTS)")

bench: $(READY) ## count and time what a transaction costs in both, against targets (ALTERNATIVE=one, ARGS=--strict)
	@$(PY) -m benchmarks $(if $(ALTERNATIVE),--alternative $(ALTERNATIVE)) $(ARGS)

diagrams: $(READY) ## draw analysis/diagrams/*.svg and *.png anew from their data
	@$(PY) -m analysis.diagrams

docs: $(READY) ## renew the parts of docs/ that the code tells
	@$(PY) -m analysis.reference

screens: $(READY) ## take the screens of docs/desk.md anew, in Chromium
	@$(PY) -m tests.console.screens

cost: $(READY) ## what a month of STACK costs on AWS with VOLUME transactions, beside the other alternative
	@$(PY) -m analysis.costs --stack $(STACK) --volume $(VOLUME) $(ARGS)

LOCK := -m uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock: $(READY) ## refresh requirements.lock from pyproject.toml, the image's from workers/requirements.in, the pipeline's tools
	@$(PY) -m pip install --quiet uv
	@$(PY) $(LOCK) pyproject.toml --all-extras -o requirements.lock
	@$(PY) $(LOCK) workers/requirements.in -c requirements.lock --python-version 3.13 -o workers/requirements.lock
	@$(PY) $(LOCK) delivery/pipeline/tools.in -o delivery/pipeline/tools.lock
	@$(PY) $(LOCK) --no-annotate tests/mutants/cosmic-ray.in -o tests/mutants/cosmic-ray.lock

clean: ## remove all that the project made in this folder, and stop what runs
	@if [ -x $(PY) ]; then $(PY) -m local clean; fi
	@rm -rf .local .build $(VENV) .venv-checkov .venv-mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

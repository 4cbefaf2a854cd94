# Each target sets up what it needs by itself, in .venv, given Python 3.10 or newer, make and
# a package index:
#
#     make demo      a real ACNet collapses to one Conv, proven and drawn, in build/demo
#     make test      the tests; PYTEST="-k cli" passes options on
#     make test-frameworks  the examples with PyTorch, Olive, Optimum, MLflow, timm and ultralytics;
#                    makes an environment of several GB for them
#     make fuzz      the properties in exact arithmetic, on 20,000 new drawings each, and
#                    10,000 mutated models
#     make mutants   100 single changes to the code, and which of them no test notices;
#                    MUTANTS="--sample 500 algebra" draws more, of one room
#     make lint      ruff, and its format
#     make type      mypy, strict, the tests included
#     make docs      the site, in build/docs
#     make bench     onnxac beside its peers on twelve networks, and the tables and plots of it;
#                    makes environments of 8 GB for them, and takes half an hour; cut short,
#                    it goes on where it was
#     make bench-quick  the same on four networks, printed; takes minutes
#     make real-models  trained models through onnxac and its peers; writes docs/real-models.md
#     make bench-slower  whether any output is slower than its input, in CPU time; FOLDERS=...
#     make bench-large  the same on models of gigabytes; takes 15 GB of disk
#     make package   wheel and sdist, checked, installed and run in a fresh environment
#     make schema    write onnxac/report/*.schema.json anew from the dataclasses
#     make lowest    a part of the tests, with the lowest versions that pyproject.toml allows
#     make lock      resolve ci/constraints.txt anew
#     make clean     remove everything that was made

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The first that is there, is new enough, and can make an environment. A version manager's
# stand-in for a version that is not selected is there, and fails.
CANDIDATES := python3.12 python3.13 python3.11 python3.10 python3
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	"$$p" -c '$(USABLE)' 2>/dev/null && echo "$$p" && break; done)

# The tools of development, pinned: a release of one of them must turn nothing red.
LOCK := ci/constraints.txt

PYTEST ?=
WORKERS ?= 2

.PHONY: help
help:
	@sed -n '/^# Each/,/^$$/s/^# \{0,1\}//p' Makefile

# An environment, and one stamp for each group of packages in it.

$(VENV)/made: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.10 or newer with venv is needed" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install --editable ".[netron]"
	@touch $@

$(VENV)/group-%: $(VENV)/made $(LOCK)
	$(PIP) install --constraint $(LOCK) --group $*
	@touch $@

# Tools that test the files of pipelines are not to be had everywhere; without them these
# tests are skipped, and say so.
$(VENV)/group-integration: $(VENV)/made $(LOCK)
	-$(PIP) install --constraint $(LOCK) --group integration
	@touch $@

# So are those of packages that onnxac works with where they are there.
$(VENV)/group-others: $(VENV)/made $(LOCK)
	-$(PIP) install --constraint $(LOCK) --group others
	@touch $@

# Beside the installed one, which is the newest: the page is tested with both.
NETRON_OLDEST := 8.0.0
$(VENV)/netron-oldest: $(VENV)/made
	-$(PIP) install --no-deps --upgrade --target $@ netron==$(NETRON_OLDEST)

.PHONY: venv
venv: $(VENV)/group-dev

# What people want to see first.

DEMO := build/demo
DEMO_MODEL := models/onnx/acnet_seed/B.onnx

.PHONY: demo
demo: $(VENV)/made
	@mkdir -p $(DEMO)
	@cp $(DEMO_MODEL) $(DEMO)/acnet.onnx
	$(BIN)/onnxac optimize $(DEMO)/acnet.onnx $(DEMO)/acnet.fused.onnx \
		--report $(DEMO)/report.json --diff $(DEMO)/diff.html
	$(BIN)/onnxac verify $(DEMO)/acnet.onnx $(DEMO)/acnet.fused.onnx
	$(BIN)/onnxac check $(DEMO)/acnet.fused.onnx --max-nodes 1
	@echo "Open $(DEMO)/diff.html to see it."

# Checks.

.PHONY: test
test: $(VENV)/group-test $(VENV)/group-browser $(VENV)/group-integration $(VENV)/group-others \
		$(VENV)/netron-oldest
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -rs $(PYTEST)

FRAMEWORKS := build/frameworks

.PHONY: test-frameworks
test-frameworks: $(VENV)/group-test $(VENV)/group-others
	test -d $(FRAMEWORKS) || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check --quiet install "pip>=25.1"
	$(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check --quiet install --group frameworks .
	ONNXAC_TORCH_PYTHON=$(CURDIR)/$(FRAMEWORKS)/bin/python $(BIN)/python -m pytest -rs \
		tests/integration/test_integrations.py tests/integration/test_examples.py $(PYTEST)

.PHONY: fuzz
fuzz: $(VENV)/group-test
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal \
		tests/test_exact.py tests/test_mutations.py $(PYTEST)

MUTANTS ?=

.PHONY: mutants
mutants: $(VENV)/group-mutants
	$(BIN)/python benchmarks/mutants.py $(MUTANTS)

.PHONY: lint
lint: $(VENV)/group-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: type
type: $(VENV)/group-lint $(VENV)/group-test $(VENV)/group-browser $(VENV)/group-docs
	$(BIN)/mypy
	MYPYPATH=tests/support $(BIN)/mypy tests/*.py tests/support/*.py
	MYPYPATH=tests/support:tests/diff $(BIN)/mypy tests/diff
	MYPYPATH=tests/support:tests/integration $(BIN)/mypy tests/integration

# Links to what is not there, pages in no table of contents: each warning is an error.
.PHONY: docs
docs: $(VENV)/group-docs
	$(BIN)/python docs/pictures.py
	$(BIN)/python -m sphinx --fresh-env -W --keep-going -q docs build/docs

# An environment for the peers, and one for what makes the networks: neither is onnxac's.

BENCH := build/bench

$(BENCH)/%/made: benchmarks/%/requirements.txt
	$(PYTHON) -m venv $(BENCH)/$*
	$(BENCH)/$*/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

.PHONY: bench
bench: $(VENV)/made $(BENCH)/peers/made $(BENCH)/networks/made
	$(BENCH)/networks/bin/python benchmarks/networks/make.py $(BENCH)/models
	$(BIN)/python benchmarks/compare.py $(BENCH)/models $(BENCH)/peers/bin/python \
		--partial $(BENCH)/partial.json
	$(BIN)/python benchmarks/figures.py

QUICK := acnet_resnet18 mobileone_s0 ecbsr bert_mini

.PHONY: bench-quick
bench-quick: $(VENV)/made $(BENCH)/peers/made $(BENCH)/networks/made
	$(BENCH)/networks/bin/python benchmarks/networks/make.py $(BENCH)/models $(QUICK)
	$(BIN)/python benchmarks/compare.py $(BENCH)/models $(BENCH)/peers/bin/python \
		--quick -o $(BENCH)/quick.json
	$(BIN)/python benchmarks/figures.py $(BENCH)/quick.json --print

.PHONY: real-models
real-models: $(VENV)/made
	$(PIP) install --group compare
	$(BIN)/python benchmarks/real_models.py build/real-models --fetch -o docs/real-models.md

.PHONY: bench-slower
bench-slower: $(VENV)/made
	$(BIN)/python benchmarks/never_slower.py $(FOLDERS)

.PHONY: bench-large
bench-large: $(VENV)/made
	$(BIN)/python benchmarks/large.py

.PHONY: schema
schema: $(VENV)/made
	for kind in report fleet; do \
		$(BIN)/python -m onnxac.report.schema $$kind > build.schema.json && \
		mv build.schema.json onnxac/report/$$kind.schema.json || exit 1; done

# The package, as others get it.

.PHONY: package
package: $(VENV)/group-package
	rm -rf dist build/package
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m venv build/package
	build/package/bin/python -m pip --disable-pip-version-check --quiet install dist/*.whl
	cd build && package/bin/onnxac --version
	cd build && package/bin/onnxac optimize ../$(DEMO_MODEL) package/fused.onnx
	cd build && package/bin/python -m onnxac check package/fused.onnx
	@! grep -nE '\]\([^h#]' build/package/lib/python*/site-packages/onnxac-*.dist-info/METADATA \
		|| { echo "an index can't follow these links of the README" >&2; exit 1; }

# Versions. What onnxac itself needs is not pinned, since users meet its newest releases, too.

NOT_LOCKED := numpy onnx onnxruntime onnx-graphsurgeon protobuf typer rich tomli netron
RESOLVE = $(BIN)/uv pip compile --quiet --no-annotate --python-version 3.10

.PHONY: lock
lock: $(VENV)/made
	$(PIP) install --group lock
	$(RESOLVE) --upgrade --universal --custom-compile-command "make lock" --output-file $(LOCK) \
		--group dev --group package --group others --group lock $(NOT_LOCKED:%=--no-emit-package %)

# The lowest numpy has no wheels for newer Pythons. Tests in exact arithmetic are left out, since
# older runtimes round a BatchNormalization otherwise, and how long help is, since it is longer there.
LOWEST := build/lowest
LOWEST_PYTHON ?= $(shell for p in python3.10 python3.11 python3.12; do \
	"$$p" -c '' 2>/dev/null && echo "$$p" && break; done)
LOWEST_TESTS := tests/test_algebra.py tests/test_cli_check.py tests/test_cli_commands.py \
	tests/test_config.py tests/test_rulebook.py tests/test_valid.py

.PHONY: lowest
lowest: $(VENV)/group-lock
	@test -n "$(LOWEST_PYTHON)" || { echo "Python 3.10, 3.11 or 3.12 is needed" >&2; exit 1; }
	@mkdir -p build
	$(RESOLVE) --resolution lowest-direct --extra netron --output-file $(LOWEST).txt pyproject.toml
	$(BIN)/uv venv --quiet --clear --python $(LOWEST_PYTHON) $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST) --requirement $(LOWEST).txt
	$(BIN)/uv pip install --quiet --python $(LOWEST) --no-deps --editable .
	$(BIN)/uv pip install --quiet --python $(LOWEST) --constraint $(LOCK) --group test
	$(LOWEST)/bin/python -m pytest -n $(WORKERS) $(LOWEST_TESTS) $(PYTEST) \
		--deselect tests/test_cli_commands.py::test_each_command_has_an_example_and_short_help

.PHONY: clean
clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

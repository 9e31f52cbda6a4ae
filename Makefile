# make reproduce                              the embedded default, from nothing to the report
# make reproduce CONFIG=config/photos.yaml    another configuration
# make first                                  first real numbers: config/first.yaml, which downloads what it needs
# make true-clip                              the claims on published features of CLIP: config/true_clip.yaml, 60 MB
# make reproduce FETCH=1                      with a download of what may be downloaded: weights, published data sets
# make reproduce ONLY_PRESENT=1               without the published data sets that are not here (docs/paper.md)
# make reproduce PROFILE=slurm                as jobs on a Slurm cluster (docs/slurm.md)
# make install                                .venv alone, nothing is run
# make pull                                   results that others pushed (docs/sharing.md); make push: share these
# make test                                   before every push: each part once, about four minutes
# make test-rest                              the tests that take longer or look closer, 45 to 60 minutes
# make test-proofs                            the proofs of the whole default (tests/proofs), longer still
# make test-all                               all three
# make test-unit                              the quick unit tests alone
# make clean                                  remove .venv and .snakemake, unless jobs are on a cluster (FORCE=1: even then)
# make check                                  style, types, imports between packages, workflow, licences, weight
# make weight                                 syntax nodes of the code by room, and their limits
# make generated                              the schema and the tables of docs that are made from the code
# make docs                                   the documentation as a site: site/index.html
# make benchmark                              speed against the published way of computing -> docs/performance.md

CONFIG ?= config/reproduce.yaml
PROFILE ?= default
# The first of these that is installed; PYTHON=… names another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
  $$p -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))" 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python workflow/install.py
# The distributions below packages/: photos, the executor for Slurm. Each is installed if its folder is here.
PACKAGES := $(patsubst %/pyproject.toml,%,$(wildcard packages/*/pyproject.toml))
PLUGINS := $(addprefix --editable ./,$(PACKAGES))
SETTINGS := --profile workflow/profiles/$(PROFILE) --configfile $(CONFIG)
# Every program of a run reads these before the keys of the configuration.
export CODER_CLIP_ONLY_PRESENT := $(or $(ONLY_PRESENT),$(CODER_CLIP_ONLY_PRESENT))
export CODER_CLIP_FETCH := $(or $(FETCH),$(CODER_CLIP_FETCH))

# In the locale C, a Python of a folder with an umlaut in its name does not start.
ifneq ($(filter C POSIX,$(or $(LC_ALL),$(LC_CTYPE),$(LANG),C)),)
export LC_ALL := C.UTF-8
endif
# Images of Docker often set this; every process of a run would then compile the code again.
unexport PYTHONDONTWRITEBYTECODE
# MkDocs prints advertising otherwise.
export NO_MKDOCS_2_WARNING := 1

.PHONY: reproduce first true-clip generated install pull push remote test test-rest test-proofs test-all test-unit check weight docs benchmark clean

reproduce: $(CONFIG) $(VENV)/installed
	@$(if $(filter-out default,$(PROFILE)),$(BIN)/snakemake prefetch $(SETTINGS))
	@$(BIN)/snakemake $(SETTINGS) || $(GO_ON_WITHOUT)
	@$(BIN)/coder-clip summary --config $(CONFIG)

# After a run that failed: data sets that could not be downloaded (workflow/rules/fetch.smk) are left out of the report, and
# the end names them. Every other failure ends here.
FAILED := .snakemake/coder-clip/fetched/failed
GO_ON_WITHOUT = { names=$$(ls $(FAILED) 2>/dev/null) && test "$$names" || exit 1; \
  reasons=$$(cd $(FAILED) && for name in $$names; do \
    echo "  $$name: $$(tail -n 1 $$name | sed 's/^coder-clip: error: //')"; done); export CODER_CLIP_ONLY_PRESENT=1 CODER_CLIP_FETCH=0; \
  echo; echo "could not be downloaded, so the run goes on without:" $$names; echo; \
  $(BIN)/snakemake $(SETTINGS) || exit 1; \
  $(BIN)/coder-clip summary --config $(CONFIG); echo; \
  echo "left out, because they could not be downloaded (the same command tries again):"; echo "$$reasons"; exit 1; }

first:
	@$(MAKE) reproduce CONFIG=config/first.yaml

true-clip:
	@$(MAKE) reproduce CONFIG=config/true_clip.yaml

pull push: remote
	@$(BIN)/coder-clip $@ --config $(CONFIG)

install: $(VENV)/installed

# DVC needs one package more for a remote over SSH or on S3.
remote: $(VENV)/installed
	@for kind in ssh s3; do \
	  if grep -qs "url = $$kind://" .dvc/config .dvc/config.local && ! $(BIN)/python -c "import dvc_$$kind" 2>/dev/null; then \
	    $(INSTALL) --quiet --constraint constraints.txt $(PLUGINS) --editable ".[run,texts,$$kind]" || exit 1; \
	  fi; \
	done

# A test is of the rest by its marker: @pytest.mark.rest, or pytestmark for a whole file. Tests of a file share what they
# have started, so a file stays in one process; three or four processes for two cores, as the tests of clusters mostly
# wait.
PYTEST = $(BIN)/python -m pytest
SPREAD := -n 3 --dist loadfile --no-loadscope-reorder

test: test-unit
	@$(PYTEST) tests/integration -m "not rest and not proof" $(SPREAD)

test-unit: $(VENV)/installed-test
	@$(PYTEST) tests/unit packages -m "not rest and not proof" -n 2

test-rest: $(VENV)/installed-test
	@$(PYTEST) tests/integration tests/unit packages -m "rest and not proof" $(SPREAD) -n 4

test-proofs: $(VENV)/installed-test
	@$(PYTEST) tests/proofs
	@$(PYTEST) tests/integration tests/unit -m proof

test-all:
	@$(MAKE) test
	@$(MAKE) test-rest
	@$(MAKE) test-proofs

check: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/reuse lint --quiet
	$(BIN)/python -m tools.weight
	$(BIN)/mkdocs build --quiet

# Strict: a broken link, anchor or reference ends it.
docs: $(VENV)/installed-test
	@$(BIN)/mkdocs build --quiet
	@echo "site/index.html"

weight: $(VENV)/installed
	@$(BIN)/python -m tools.weight

generated: $(VENV)/installed
	@$(BIN)/python tools/generated.py

benchmark: $(VENV)/installed-test
	@$(BIN)/python -m benchmarks

# .snakemake knows the jobs of a killed head that are on a cluster
clean:
	@test "$(FORCE)" || ! ls .snakemake/slurm-resilient/jobs/*.jsonl >/dev/null 2>&1 || \
	  $(BIN)/python -m snakemake_executor_plugin_slurm_resilient.unsettled || \
	  { echo "make clean FORCE=1 removes $(VENV) and .snakemake all the same" >&2; exit 1; }
	rm -rf $(VENV) .snakemake

$(CONFIG):
	@echo "no configuration file $@ (there are: $(wildcard config/*.yaml))" >&2; exit 1

# A virtual environment holds its own path in every program; in a moved or renamed folder it is made again.
ifneq ($(wildcard $(VENV)/installed),)
ifneq ($(shell cat $(VENV)/installed),$(CURDIR))
$(shell rm -rf $(VENV))
endif
endif

# A half-made environment is removed: Debian's Python without python3-venv leaves one.
$(VENV)/bin/python:
	@command -v $(or $(PYTHON),python3.11) >/dev/null || { echo "no Python from 3.11 to 3.14 here: install one, or name it with PYTHON=…" >&2; exit 1; }
	@$(or $(PYTHON),python3.11) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/installed: pyproject.toml $(PACKAGES:=/pyproject.toml) constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (half a minute with uv, a few minutes with pip; README has the sizes)"
	@$(INSTALL) --quiet --constraint constraints.txt $(PLUGINS) --editable '.[run,texts]'
	@echo $(CURDIR) > $@

$(VENV)/installed-test: pyproject.toml $(PACKAGES:=/pyproject.toml) constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (half a minute with uv, a few minutes with pip; README has the sizes)"
	@$(INSTALL) --quiet --constraint constraints.txt $(PLUGINS) --editable '.[test]'
	@echo $(CURDIR) | tee $@ > $(VENV)/installed

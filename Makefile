# make demo: set up and show the main job.  make test: set up and run every check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LINKS := build/typing/vo
# Two tests at a time, of one thread each: torch is no faster with two on what tests compute.
PYTEST_ARGS ?= -n 2 --dist loadfile

.PHONY: demo test lint setup clean

demo: setup
	$(BIN)/python -m vo.tools.demo --out demo

test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup $(LINKS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

setup: $(STAMP)

# The environment is stale when its packages are declared anew, or when it has been moved.
$(shell grep -qs '^#!$(CURDIR)/$(BIN)/' $(BIN)/pip || rm -f $(STAMP))
$(STAMP): pyproject.toml constraints.txt tools/setup.sh
	sh tools/setup.sh "$(PYTHON)" "$(VENV)"
	touch $@

# The folders as the one package that they install as, for the type checker.
$(LINKS): $(wildcard vo/*)
	rm -rf $@ && mkdir -p $@
	for entry in vo/*; do ln -s $(CURDIR)/$$entry $@/; done
	for room in datasets depth tools; do ln -s $(CURDIR)/$$room $@/$$room; done
	touch $@

clean:
	rm -rf $(VENV) build demo *.egg-info

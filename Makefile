# Both targets make .venv and install what they need; a second run does not install again.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEMO := results/demo
RUN = $(BIN)/fdbench

.PHONY: help demo docs test test-gpu test-pretended test-kill fuzz check clean

help:
	@echo "make demo   train two small networks on embedded images, attack them, report ($(DEMO)/)"
	@echo "make test   style, types and tests"
	@echo "make test-gpu  attacks, training, sharding and memory on this machine's GPU (DEVICE=mps: Apple's)"
	@echo "make test-pretended  the tests of attacks and trainings on a pretended GPU without float64"
	@echo "make test-kill  jobs killed at every KILL-th I/O call (KILL=4; 1: at all of them)"
	@echo "make fuzz   damaged files to every reader (FUZZ=600 seconds for each; build/fuzz.xml counts them)"
	@echo "make check  style and types only"
	@echo "make docs   the documentation as a site (build/site)"
	@echo "make clean  remove .venv and the demo's results"

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fdbench needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "installing fdbench and what it needs into .venv (PyTorch is large: minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# Small enough for five minutes on two cores: 2 epochs instead of the recipe's 4, 1 attack step in
# training instead of 3, eps 8/255 instead of 16/255, PGD-20 on 300 test images instead of PGD-100 on
# 500. `make demo FULL=1` takes the real sizes (about a quarter of an hour; into $(DEMO)/full).
# The first report comes after the first network: something to read while the second one trains.
demo: OUT := $(DEMO)
demo: SIZE := --epochs 2 --attack-iters 1 --eps 8/255
demo: PGD := --iters 1,2,5,10,20 --limit 300 --batch-size 150
ifdef FULL
demo: OUT := $(DEMO)/full
demo: SIZE :=
demo: PGD := --iters 10,20,50,100 --limit 500 --batch-size 125
endif
demo: $(INSTALLED)
	$(RUN) train --arch r20 $(SIZE) --results $(OUT)
	$(RUN) attack pgd $(PGD) --model r20 --results $(OUT)
	$(RUN) report --results $(OUT)
	$(RUN) train --arch r20 --denoise nonlocal-gauss $(SIZE) --results $(OUT)
	$(RUN) attack pgd $(PGD) --model r20-nonlocal-gauss --results $(OUT)
	$(RUN) report --results $(OUT)

check: $(INSTALLED)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

test: check
	# Two workers with a thread each: more would wait for each other. worksteal keeps a file's
	# tests together, so that fixtures of a module are made once.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --quiet

# On a pretended GPU, the same tests are part of `make test`.
DEVICE ?= cuda
test-gpu: $(INSTALLED)
	FDBENCH_TEST_DEVICE=$(DEVICE) $(BIN)/pytest -m gpu -rs

# What takes no device by name takes the pretended GPU; about five minutes.
test-pretended: $(INSTALLED)
	FDBENCH_TEST_DEVICE=pretended OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --quiet \
		tests/attacks tests/evaluation tests/training tests/api tests/blackbox

# Every job, interrupted in each way at every KILL-th of its I/O calls, and typed again.
KILL ?= 4
test-kill: $(INSTALLED)
	FDBENCH_KILL_STRIDE=$(KILL) OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m 'kill or not kill' tests/kill

# Damaged files to every reader, FUZZ seconds for each of them.
FUZZ ?= 600
fuzz: $(INSTALLED)
	FDBENCH_FUZZ_SECONDS=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -o junit_family=xunit1 --junit-xml build/fuzz.xml tests/fuzz

# Links and docstrings that lead nowhere are errors.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

clean:
	rm -rf .venv $(DEMO)

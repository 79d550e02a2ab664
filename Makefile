# Both targets make .venv and install what they need; a second run does not install again.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEMO := results/demo
RUN = $(BIN)/fdbench

.PHONY: help demo test check clean

help:
	@echo "make demo   train two small networks on embedded images, attack them, report ($(DEMO)/)"
	@echo "make test   style, types and tests"
	@echo "make check  style and types only"
	@echo "make clean  remove .venv and the demo's results"

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fdbench needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "installing fdbench and what it needs into .venv (PyTorch is large: minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(RUN) train --arch r20 --results $(DEMO)
	$(RUN) train --arch r20 --denoise nonlocal-gauss --results $(DEMO)
	$(RUN) attack pgd --iters 10,20,50,100 --limit 500 --batch-size 125 \
		--model r20 --model r20-nonlocal-gauss --results $(DEMO)
	$(RUN) report --results $(DEMO)

check: $(INSTALLED)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

test: check
	# Two workers with a thread each: more would wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --quiet

clean:
	rm -rf .venv $(DEMO)

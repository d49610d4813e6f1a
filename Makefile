PYTHON ?= python3

.PHONY: book lab test test-fast bench gpu-check experiments figures cards update notebooks clean

lab:  ## the environment, then JupyterLab (LAB_ARGS="--no-browser --port 8899" passes through)
	@$(PYTHON) start.py lab

test:  ## everything
	@$(PYTHON) start.py test

test-fast:  ## without notebooks and browser
	@$(PYTHON) start.py test --fast

bench: env  ## the library against transformers, alone on the machine
	@$(PY) -m benchmarks

gpu-check: env  ## on a GPU: parity, compiled 7B and Mixtral against the memory's bandwidth, 32K prefill, offload (GPU_ARGS="--part parity")
	@$(PY) -m benchmarks.gpu_check $(GPU_ARGS)

experiments: env  ## repeat the longer runs that chapters look up (python -m experiments says how long each takes); again after an interruption goes on
	@$(PY) -m experiments all --fresh

figures: env  ## draw the article's nine figures anew, into figures/drawn (python -m figures NAME draws one)
	@$(PY) -m figures

cards: env  ## measure the bundled models again and write their model cards
	@$(PY) scripts/model_cards.py --packages .corpus
	@$(PY) scripts/stored_logits.py

update:  ## new chapters into my-course/, answers carried over
	@$(PYTHON) start.py update

notebooks: env  ## run every chapter and write its outputs
	@$(PY) scripts/notebooks.py run chapters/*.ipynb

book: env  ## the course as a site, in build/book/html (BOOK_ARGS="--repository https://github.com/OWNER/NAME")
	@$(PY) book/build.py $(BOOK_ARGS)

env:
	@$(PYTHON) start.py env

PY = .venv/bin/python

clean:
	rm -rf .venv build dist *.egg-info .ruff_cache .pytest_cache

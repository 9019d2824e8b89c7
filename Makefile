# Each command sets up a private environment in .venv first (about 6 GB, a few minutes, once).
#   make quickstart   train, score and ask a first model: about 5 minutes on 2 CPU cores
#   make test         lint, types and tests: about 10 minutes on 2 CPU cores
#   make proofs       the tests that take longest: the site, tutorials, browser, wheel, processes
#   make apart        Ray, several processes, further cases: one after the other
#   make docs         the documentation as pages
#   make wheel        a wheel and a source archive in dist/
#   make release-check  these, read, installed where nothing else is, and toured (6 GB more)
#   make lowest       the lowest versions that are allowed, in .venv-lowest (6 GB more)
# PYTHON=python3.12 make ... chooses another interpreter, 3.11 or newer.

PYTHON ?= python3
ENVIRONMENT := .venv
BIN := $(ENVIRONMENT)/bin
RUN := runs/quickstart
LOWEST ?= .venv-lowest
LOWEST_TESTS ?= tests/plugins/blip tests/plugins/demo tests/plugins/encoders tests/plugins/export tests/whole/families tests/plugins/fusions \
  tests/plugins/git tests/plugins/heads tests/whole/hub tests/plugins/serve tests/plugins/vilt tests/whole/weights tests/whole/lowest tests/core/evaluation/metrics \
  tests/whole/test_golden.py tests/core/media/test_images.py tests/core/media/test_image_kinds.py tests/core/training/test_training.py
.DEFAULT_GOAL := help

.PHONY: help quickstart test proofs wheel release-check coverage lint lowest apart kills mutants fuzz benchmarks catalogue catalogues docs clean

help:
	@sed -n '2,10s/^# *//p' Makefile

$(ENVIRONMENT)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "vqazoo needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ": set PYTHON=python3.12, for instance.")'
	$(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,easy-vqa,pretrained]'
	@touch $@

quickstart: $(ENVIRONMENT)/installed
	rm -rf $(RUN)
	$(BIN)/vqazoo train --config model_cards/tiny-clip-lstm-easyvqa/recipe.toml --out $(RUN)
	$(BIN)/vqazoo eval dir:$(RUN)/best --split test --out $(RUN)/test --record
	@image=$$($(BIN)/python -c 'import easy_vqa, os; print(os.path.dirname(easy_vqa.__file__))')/data/test/images/0.png; \
	question="what color is the shape?"; \
	echo "$$image: $$question"; \
	$(BIN)/vqazoo ask dir:$(RUN)/best "$$image" "$$question" --top-k 3; \
	echo "and a packaged model of the zoo, tiny-clip-gru-easyvqa, says:"; \
	$(BIN)/vqazoo ask tiny-clip-gru-easyvqa "$$image" "$$question"
	@echo "Pictures with answers: $(RUN)/test/answers.png   Loss curve: $(RUN)/loss.png"

# Two processes with a thread each: faster on 2 cores than one process with two threads. Each takes
# half of the tests in their order, and what the other has left when it is done: files stay together,
# and no core waits for the other. The checks of lint run beside them and are printed at the end.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -rfEs

test: $(ENVIRONMENT)/installed
	@mkdir -p runs
	@$(MAKE) --no-print-directory lint > runs/lint.log 2>&1 & lint=$$!; trap "kill $$lint" INT TERM; \
	$(PYTEST) -m "not proof and not apart"; tests=$$?; \
	wait $$lint; linted=$$?; cat runs/lint.log; \
	[ $$linted = 0 ] || echo "lint failed, as the lines above say"; \
	[ $$tests = 0 ] || echo "tests failed, as the lines above those of lint say"; \
	[ $$tests = 0 ] && [ $$linted = 0 ]

# Only the files that have such tests are read: the others take a while to import. Long ones first.
# PROOFS=tests/core says of which folders.
PROOFS ?= tests
proofs: $(ENVIRONMENT)/installed
	$(PYTEST) -m "proof and not apart" $$(grep -rl --include='test_*.py' mark.proof $(PROOFS) | sort -r)

# Ray on this machine, several processes that train together, and further cases of what the others
# try with a few: one after the other, a quarter of an hour.
apart: $(ENVIRONMENT)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rfEs -m apart

# Apart from `make test`: until Python 3.12, threads that begin while coverage watches may die.
coverage: $(ENVIRONMENT)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

lint: $(ENVIRONMENT)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Everything that users install at the lowest version that pyproject.toml states, in an environment
# of its own (about 6 GB), and the tests that use those packages most: about half an hour.
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/whole/lowest/constraints.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint $(LOWEST)/constraints.txt --editable '.[dev,easy-vqa,pretrained]'
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -p no:cacheprovider $(LOWEST_TESTS)

wheel: $(ENVIRONMENT)/installed
	$(BIN)/python -m build --outdir dist .

# What users get: both archives are read for what must and must not be inside, the wheel is installed
# without extras into an environment of its own, and every command of the tour runs there.
RELEASE ?= .venv-release
release-check: $(ENVIRONMENT)/installed
	$(BIN)/python -m tests.whole.release --environment $(RELEASE)

# Small faults, one by one, that the tests must notice; goes on where it was stopped.
mutants: $(ENVIRONMENT)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	$(BIN)/python tests/whole/mutation/mutants.py --out runs/mutants.jsonl

# 300 processes killed while they write, with SIGKILL and SIGTERM in turn: nothing may be lost.
kills: $(ENVIRONMENT)/installed
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.whole.kills.kills --kills 300 --out runs/kills.jsonl

# Damaged folders: each loads as it says, or is refused in a sentence.
fuzz: $(ENVIRONMENT)/installed
	$(BIN)/python -m tests.whole.fuzz 20000

benchmarks: $(ENVIRONMENT)/installed
	for script in $(filter-out %/families.py %/serving.py,$(wildcard tests/benchmarks/*.py)) \
	    "tests/benchmarks/families.py blip" "tests/benchmarks/serving.py mixed" "tests/benchmarks/serving.py clip"; \
	do $(BIN)/python $$script || exit 1; done

# Every module of timm and every architecture of open_clip against the library itself: hours on 2 cores.
catalogues: $(ENVIRONMENT)/installed
	$(BIN)/python tests/whole/catalogues/timm_models.py
	$(BIN)/python tests/whole/catalogues/open_clip_models.py --layers 2

docs: $(ENVIRONMENT)/installed
	$(BIN)/sphinx-build -W -n -q -b html docs dist/docs
	@echo "Open dist/docs/index.html"

catalogue: $(ENVIRONMENT)/installed
	$(BIN)/python -m vqazoo.catalogue model_cards

clean:
	rm -rf $(ENVIRONMENT) $(LOWEST) dist runs

# The README's commands and CI's are these targets. Everything is installed into .venv beside this file.
#   make demo   set up, run the main job on an embedded default, end with the report's path and the verdict
#   make test   set up, lint, type-check and run the fast tests
PYTHON ?= python3
TORCH ?= torch==2.13.0
TRANSFORMERS ?= transformers>=4.57,<4.58
VENV ?= .venv
VENV_TF5 ?= .venv-tf5
VENV_LOWEST ?= .venv-lowest
OUTPUT ?= runs/demo

# A process for each core; the tests of a file stay in one, with the fixtures they share.
PARALLEL := -n auto --dist loadfile
PIP_FLAGS := --quiet --disable-pip-version-check -c .ci/constraints.txt
# Comes as source alone and needs a build tool that --no-build-isolation would not get for it.
BUILT := "seqeval>=1.2.2"
NATIVE := $(wildcard export/kernels/csrc/*.* export/kernels/csrc/*/*)
CPP := $(wildcard export/kernels/csrc/*.[hc]* export/kernels/csrc/*/*.[hc]* benchmarks/fuzzing/native/*.[hc]* tests/export/kernels/*/*.[hc]* docs/template/*.cpp examples/*.cpp)
CLANG_FORMAT ?= $(VENV)/bin/clang-format
SITE := $(VENV)/site
STAMP := $(VENV)/.installed
STAMP_TF5 := $(VENV_TF5)/.installed
STAMP_LOWEST := $(VENV_LOWEST)/.installed

FUZZ_INPUTS ?= 2000
FUZZ_NATIVE_INPUTS ?= 50000

.PHONY: readme docs format fuzz demo test lint types setup marked test-tf5 test-lowest test-aarch64 wheels clean
.DELETE_ON_ERROR:

setup: $(STAMP)

demo: $(STAMP)
	$(VENV)/bin/platon-compress demo --output $(OUTPUT)

test: lint types
	$(VENV)/bin/pytest -q $(PARALLEL)

marked: $(STAMP)
	$(VENV)/bin/pytest -q $(PARALLEL) -m "train or sanitizer or browser or multiprocess or install or dynamo or slow"

# Kernels and operators on a 64-bit ARM that qemu emulates.
test-aarch64: $(STAMP)
	@for tool in aarch64-linux-gnu-g++ qemu-aarch64-static; do command -v $$tool > /dev/null || { \
	  echo "error: $$tool is missing; Debian has it: apt-get install g++-aarch64-linux-gnu qemu-user-static"; exit 2; }; done
	$(VENV)/bin/pytest -q -rs -m aarch64 tests/export/kernels/test_aarch64.py

# The source distribution and wheels for x86-64 and ARM into build/wheels, then each of them in fresh environments.
wheels: $(STAMP)
	.ci/wheels build/wheels $(VENV)/bin/python
	$(VENV)/bin/pytest -q -rs -m wheels tests/test_wheels.py

# Hostile inputs; ten seconds or so for each native target, which needs clang. FUZZ_INPUTS=50000 FUZZ_NATIVE_INPUTS=1000000 for long.
fuzz: $(STAMP)
	$(VENV)/bin/python benchmarks/fuzz.py --inputs $(FUZZ_INPUTS) --native-inputs $(FUZZ_NATIVE_INPUTS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	if command -v $(CLANG_FORMAT) > /dev/null; then $(CLANG_FORMAT) --dry-run --Werror $(CPP); fi
	$(VENV)/bin/python benchmarks/readme_tables.py --check

format: $(STAMP)
	$(VENV)/bin/ruff format .
	$(CLANG_FORMAT) -i $(CPP)

# The tables of README and docs/ come from benchmarks/results/*.json.
readme: $(STAMP)
	$(VENV)/bin/python benchmarks/readme_tables.py

# mypy does not follow the hooks of an editable install: the check runs on an installed copy.
types: $(STAMP)
	rm -rf $(VENV)/typed build/lib* && $(VENV)/bin/pip install $(PIP_FLAGS) --no-deps --no-build-isolation --target $(VENV)/typed .
	cd $(VENV)/typed && MYPYPATH=../../benchmarks:. ../bin/mypy --cache-dir ../mypy-cache --config-file ../../pyproject.toml --python-executable ../bin/python --explicit-package-bases platon_compress ../../benchmarks

$(STAMP): pyproject.toml setup.py .ci/constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python >= 3.11 is needed, $(PYTHON) is older; call make PYTHON=python3.11"; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); the first time takes a few minutes."
	$(VENV)/bin/pip install $(PIP_FLAGS) --upgrade pip setuptools wheel
	$(VENV)/bin/pip install $(PIP_FLAGS) "$(TORCH)" $(BUILT)
	$(VENV)/bin/pip install $(PIP_FLAGS) --no-build-isolation -e ".[demo,optimum,sentence,minilm,test]" "$(TRANSFORMERS)"
	touch $@

# The site, into build/site; a warning is an error. Its libraries stay out of the environment of the tests.
docs: $(STAMP) $(SITE)/.installed
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=$(SITE) $(VENV)/bin/python -m mkdocs build --quiet
	@echo "build/site/index.html"

$(SITE)/.installed: pyproject.toml .ci/constraints.txt
	$(VENV)/bin/pip install $(PIP_FLAGS) --upgrade --target $(SITE) "mkdocs-material>=9.6,<10"
	touch $@

test-tf5: $(STAMP_TF5)
	$(VENV_TF5)/bin/pytest -q $(PARALLEL)
	$(VENV_TF5)/bin/pytest -q $(PARALLEL) -m slow
	$(VENV_TF5)/bin/pytest -q $(PARALLEL) -m train tests/tasks tests/pipeline/test_family.py tests/pipeline/test_from_dense.py tests/pipeline/test_held.py

$(STAMP_TF5): pyproject.toml setup.py .ci/constraints.txt $(NATIVE)
	test -x $(VENV_TF5)/bin/python || $(PYTHON) -m venv $(VENV_TF5)
	$(VENV_TF5)/bin/pip install $(PIP_FLAGS) --upgrade pip setuptools wheel
	$(VENV_TF5)/bin/pip install $(PIP_FLAGS) "$(TORCH)" $(BUILT)
	$(VENV_TF5)/bin/pip install $(PIP_FLAGS) --no-build-isolation -e ".[demo,sentence,minilm,test]" "transformers>=5,<6"
	touch $@

# The fast tests and the slow ones with the lowest version of every package that pyproject.toml allows.
test-lowest: $(STAMP_LOWEST)
	$(VENV_LOWEST)/bin/pytest -q $(PARALLEL)
	$(VENV_LOWEST)/bin/pytest -q $(PARALLEL) -m slow

$(STAMP_LOWEST): pyproject.toml setup.py .ci/constraints.txt .ci/lowest.txt $(NATIVE)
	test -x $(VENV_LOWEST)/bin/python || $(PYTHON) -m venv $(VENV_LOWEST)
	$(VENV_LOWEST)/bin/pip install $(PIP_FLAGS) --upgrade pip setuptools wheel
	$(VENV_LOWEST)/bin/pip install $(PIP_FLAGS) -c .ci/lowest.txt "$(TORCH)" $(BUILT)
	$(VENV_LOWEST)/bin/pip install $(PIP_FLAGS) -c .ci/lowest.txt --no-build-isolation -e ".[demo,runtime,test]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV_TF5) $(VENV_LOWEST) build runs *.egg-info export/kernels/*.so

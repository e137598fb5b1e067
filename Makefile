# `make help` lists the targets. The first of them sets the environment up; set-up runs again when pyproject.toml or
# constraints.txt change. Variables, given as in `make study ENV=active`:
#   ENV=active        use the active conda or virtual environment instead of making .venv
#   PYTHON=...        the Python (3.11 to 3.13) to make .venv with; by default the first suitable one found
#   PROFILE=mini      run a profile of configs/ other than params.yaml's, stage by stage, without DVC
#   REPLICATES=10     how many replicates of the whole study; those that are there already are kept. With DVC, which
#                     knows parameters by files, the number is written into the profile.
#   NAMES="..."       the checkpoints that make verify trains again, by default one of a few minutes
#   SHARE=0.1         how much of make test-long is tried; MINUTES=10 after how many minutes each kind of try stops, to go
#                     on where it was when the command is given again
#   MIRROR=...        the folder with the text of a profile of files: corpora/<domain>.* (or corpora/<domain>/, of
#                     shards) and tasks/<task>/<split>.*
#   DONTSTOP_ACCEPT_OTHER_MACHINES=1   read results that machines of another kind have made (dontstop run --help)
#   TORCH_INDEX=...   an index of PyTorch builds, for a certain CUDA, ROCm or CPU build (see PyTorch's install page)

ENV ?=
PYTHON ?=
PROFILE ?=
REPLICATES ?=
MIRROR ?=
SHARE ?= 1
MINUTES ?= inf
ifneq ($(MIRROR),)
# abspath would cut a path at its spaces.
export DONTSTOP_MIRROR := $(if $(filter /%,$(firstword $(MIRROR))),$(MIRROR),$(CURDIR)/$(MIRROR))
endif
ifneq ($(REPLICATES),)
export DONTSTOP_REPLICATES := $(REPLICATES)
endif
params_profile = $(shell sed -n 's/^profile: *//p' params.yaml)
TORCH_INDEX ?=
export TORCH_INDEX

ifeq ($(ENV),active)
environment := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))
ifeq ($(environment),)
$(error ENV=active, but no environment is active: activate one, or leave ENV=active out)
endif
else ifeq ($(ENV),)
environment := .venv
else
$(error ENV=$(ENV): the only value is active)
endif

bin := $(abspath $(environment))/bin
stamp := $(environment)/.dontstop-set-up
export PATH := $(bin):$(PATH)

# Two processes, one test file each at a time, those first that conftest.py names as long, and no plugin that tests do
# not use (Hydra's and nbval's take seconds to import); and how nbval runs a notebook. Side by side on two
# cores, more threads than one each would wait for one another.
unit_tests = OMP_NUM_THREADS=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTEST_PLUGINS=xdist.plugin,_hypothesis_pytestplugin \
	"$(bin)/pytest" -n 2 --dist loadfile --no-loadscope-reorder
notebook_tests = OMP_NUM_THREADS=1 DONTSTOP_PROFILE=smoke "$(bin)/pytest" --nbval-lax --nbval-current-env --nbval-cell-timeout 300
words = *.md docs notebooks src tests benchmarks configs Makefile dvc.yaml

.DEFAULT_GOAL := help
.PHONY: study test test-long test-browser unit-tests notebook-tests lab colab report redraw verify bench slurm lint \
	words clean help set-up

study: $(stamp) ## run the whole study: text, encoders, notebooks, tables, figures
ifeq ($(PROFILE),)
ifneq ($(REPLICATES),)
	@sed -i.before 's/^replicates: .*/replicates: $(REPLICATES)/' "configs/$(params_profile).yaml"
	@rm "configs/$(params_profile).yaml.before"
endif
# DVC knows one place for each result: where those of another kind of processor stand there, ours go beside, without it.
	@if [ "$$("$(bin)/dontstop" place)" = "results/$(params_profile)" ]; then \
		echo "dvc repro"; "$(bin)/dvc" repro && "$(bin)/dontstop" costs; \
	else $(MAKE) --no-print-directory study PROFILE="$(params_profile)" REPLICATES=; fi
else
	"$(bin)/dontstop" prepare -p $(PROFILE)
	@for experiment in base domain_gap dapt tapt dapt_tapt transfer_tapt knn_tapt; do \
		echo "dontstop run $$experiment -p $(PROFILE)"; \
		"$(bin)/dontstop" run "$$experiment" -p $(PROFILE) || exit 1; done
	@for notebook in $(filter-out 07_own_data,$(basename $(notdir $(wildcard notebooks/*.ipynb)))); do \
		echo "dontstop notebook $$notebook -p $(PROFILE)"; \
		"$(bin)/dontstop" notebook "$$notebook" -p $(PROFILE) || exit 1; done
	"$(bin)/dontstop" claims -p $(PROFILE)
	@"$(bin)/dontstop" costs -p $(PROFILE)
endif
	@echo "Tables, figures and executed notebooks are in results/; make lab opens the notebooks."

# Side by side: any of them alone leaves a core idle for half its time.
test: $(stamp) ## lint, the unit tests, and every notebook at the smoke profile (nbval), side by side
	@$(MAKE) --no-print-directory -j 3 lint unit-tests notebook-tests

unit-tests:
	$(unit_tests)

notebook-tests:
	$(notebook_tests) --ignore=notebooks/solutions notebooks tests/test_solutions.py

test-long: $(stamp) ## hours: 200 stops, 10,000 damaged files, 100 times at once, all encoders; writes docs/reliability.md
	DONTSTOP_RELIABILITY=$(SHARE) DONTSTOP_RELIABILITY_MINUTES=$(MINUTES) "$(bin)/pytest" -n0 $(foreach test,damage \
		bad_text planted_leaks kill_outside kill trainer_resumption two_at_once one_answer folders families,tests/test_$(test).py)
	DONTSTOP_COMPILER=inductor "$(bin)/pytest" -n0 tests/test_benchmarks.py

lab: $(stamp) ## open the notebooks in JupyterLab
	@"$(bin)/dontstop" lab

colab: ## write the git remote's address (GitHub) into 00_start_here for Colab: once in a fork
	@place=$$(git remote get-url origin 2>/dev/null | sed -nE 's#^(https://|(ssh://)?git@)github\.com[:/](.+)$$#\3#p'); \
	place=$${place%.git}; book=notebooks/00_start_here.ipynb; if [ -z "$$place" ]; then \
		echo "found: no git remote \`origin\` on GitHub"; echo "expected: one, since Colab opens notebooks from there"; \
		echo "do this: git remote add origin https://github.com/YOU/NAME.git"; exit 1; fi; \
	sed -i.before -E -e "s#(research.google.com/github/)[^)]*#\1$$place/blob/$$(git branch --show-current)/$$book#" \
		-e "s#(repository = )[^ ]*#\1\\\\\"https://github.com/$$place.git\\\\\"#" "$$book" && rm "$$book.before"

report: $(stamp) ## render results, notebooks and docs as a site that needs no network: build/site
	"$(bin)/dontstop" report $(PROFILE)

redraw: $(stamp) ## draw tables and figures again from the records, without training
	"$(bin)/dontstop" redraw $(if $(PROFILE),-p $(PROFILE))

test-browser: $(stamp) ## try the report and JupyterLab in a real browser (Debian's Chromium, set up if need be)
	.ci/browser "$(bin)/python"
	"$(bin)/pytest" -n0 -m browser tests/test_browser.py

verify: $(stamp) ## train a part of the study again and compare with its records (NAMES="tapt_...", PROFILE=)
	"$(bin)/dontstop" verify $(NAMES) $(if $(PROFILE),-p $(PROFILE))

bench: $(stamp) ## measure our training loops against the Transformers Trainer
	"$(bin)/python" -m benchmarks

slurm: ## set up a Slurm on this machine, to test against (root, Debian or Ubuntu)
	.ci/slurm

lint: $(stamp) ## check code and notebooks with ruff, their words and those of the docs with codespell
	"$(bin)/ruff" check .
	"$(bin)/codespell" $(words)

words: $(stamp) ## check spelling, and links of README, docs and notebooks (those within the checkout)
	"$(bin)/codespell" $(words)
	"$(bin)/pytest" -q -n0 tests/test_docs.py -k "links or files"

clean: ## remove scratch and caches; data, checkpoints, results and .venv stay
	rm -rf work build .pytest_cache .ruff_cache
	find src tests benchmarks notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' $(firstword $(MAKEFILE_LIST)) | \
		while read -r target words; do printf '  make %-12s %s\n' "$$target" "$$words"; done

set-up: $(stamp) ## install the pinned packages, where that has not been done

$(stamp): pyproject.toml constraints.txt
ifneq ($(ENV),active)
	@"$(bin)/python" -m pip --version >/dev/null 2>&1 || { \
	for python in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
		if [ -n "$$python" ] && "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
			>/dev/null 2>&1; then chosen=$$python; break; fi; \
		if [ -n "$(PYTHON)" ]; then break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
		echo "found: no suitable $(or $(PYTHON),python3)"; echo "expected: Python 3.11, 3.12 or 3.13"; \
		echo "do this: install one, or name it: make PYTHON=/where/it/is"; exit 1; \
	fi; \
	"$$chosen" -m venv "$(environment)"; }
endif
	@.ci/set-up "$(bin)/python"
	@touch $@

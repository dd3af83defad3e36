# Every command here runs from .venv, which is made from nothing when
# pyproject's compiled list, requirements-dev.txt, changes.

PYTHON   ?= python3
SCENARIO ?= default
# A later Python than .venv's, if this machine has one: the newest ansible-core wants it.
NEWEST_PYTHON ?= $(lastword $(sort $(wildcard /usr/bin/python3.1[2-9] \
	$(HOME)/.pyenv/versions/3.1[2-9]*/bin/python3)))
BIN      := .venv/bin
STAMP    := .venv/.stamp
SAMPLE   := examples/psychology_clinic
FAILURES := .cache/molecule-failures
COMPILE  := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate
# What runs at once: first what measures no times, then what counts requests that are lost. Last comes the scenario that
# measures how soon a killed service is back, alone.
FIRST := molecule-projects molecule-hosts checks
NEXT  := molecule-releases molecule-tls
LAST  := molecule-default
# ansible-lint takes longest and begins first. Within `make --jobs` the others run beside it as that allows.
LINTS := lint-ansible lint-python lint-yaml lint-documents
LINT_JOBS = $(if $(filter --jobserver%,$(MAKEFLAGS)),,--jobs=2)

# ansible-playbook, ansible-lint and molecule find each other through PATH;
# uv must not fall back to an interpreter that it would have to download.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export UV_PYTHON_DOWNLOADS := never
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-clean droplet droplet-down test test-fast checks lint $(LINTS) unit cores molecule images \
        bench docs build sanity site requirements clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  DEMO_RELEASE=13|12, DEMO_SSH_PORT=2222, DEMO_HTTP_PORT=8080, DEMO_HTTPS_PORT=8443"

demo: $(STAMP) ## A droplet on this machine, provisioned and checked: http://127.0.0.1:8080
	@$(BIN)/python -m tools.demo up

demo-clean: ## Remove all that `make demo` made, except .venv and packages (`make clean`)
	@if [ -e $(STAMP) ]; then $(BIN)/python -m tools.demo clean; fi

droplet: $(STAMP) ## Only the bare droplet of the demo: ssh on 127.0.0.1:2222
	@$(BIN)/python -m tools.demo droplet

test: $(STAMP) ## All checks: lint, the unit tests, the Molecule scenarios
	@$(MAKE) --no-print-directory images
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target --keep-going $(FIRST)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going $(NEXT)
	@$(MAKE) --no-print-directory --jobs=1 $(LAST)

test-fast: $(STAMP) ## The checks of some minutes: lint, the unit tests, and a run on one droplet
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target --keep-going molecule-smoke unit lint

checks: lint unit cores

lint: $(STAMP) ## ansible-lint, yamllint, ruff, mypy, and the generated documents
	@$(MAKE) --no-print-directory $(LINT_JOBS) --output-sync=target --keep-going $(LINTS)

lint-ansible: $(STAMP)
	@$(BIN)/ansible-lint --offline -q

lint-python: $(STAMP)
	@$(BIN)/ruff check --quiet --cache-dir .cache/ruff
	@$(BIN)/ruff format --quiet --check --diff --cache-dir .cache/ruff
	@$(BIN)/mypy --no-error-summary --cache-dir .cache/mypy

lint-yaml: $(STAMP)
	@$(BIN)/yamllint --strict .

lint-documents: $(STAMP)
	@$(BIN)/python -m tools.docs --check

unit: $(STAMP) .venv/sample/.stamp ## pytest tests/unit, after the sample project's own tests
	@if [ -e $(SAMPLE)/manage.py ]; then \
		log=.cache/sample-tests.log; mkdir -p .cache; \
		(cd $(SAMPLE) && ../../.venv/sample/bin/python manage.py test) >$$log 2>&1 \
			|| { cat $$log; exit 1; }; \
		tail -n 4 $$log; \
	fi
	@$(BIN)/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder tests/unit

cores: $(STAMP) ## The unit tests that run Ansible, on the oldest ansible-core that is allowed and on the newest
	@$(BIN)/python -m tools.cores $(NEWEST_PYTHON)

molecule: molecule-$(SCENARIO) ## One Molecule scenario on fresh droplets: SCENARIO=default, smoke, releases, tls, projects, hosts or roles

# Molecule's recap is long, and a log is read from its end: what failed is said again after it.
molecule-%: $(STAMP)
	@$(BIN)/python -m tools.engine up
	@rm -f $(FAILURES)/$*
	@$(BIN)/molecule test --scenario-name $* \
		|| { [ ! -e $(FAILURES)/$* ] || cat $(FAILURES)/$*; exit 1; }

images: $(STAMP) # The droplets' images, all at once; a scenario would make them one after the other.
	@$(BIN)/python -m tools.droplet images

bench: $(STAMP) ## Measure provisioning and serving beside a plain bash script, on fresh droplets
	@$(BIN)/python -m tools.bench

docs: $(STAMP) ## Write the generated parts of the documents anew
	@$(BIN)/python -m tools.docs

build: $(STAMP) ## The collection's archive, in build/
	@mkdir -p build
	@$(BIN)/ansible-galaxy collection build --force --output-path build

sanity: .venv/sanity/.stamp ## ansible-test sanity, antsibull-docs and galaxy-importer on the archive: three minutes
	@.venv/sanity/bin/python -m tools.sanity

site: .venv/sanity/.stamp ## The documentation of modules, filters and roles as web pages, in build/site
	@.venv/sanity/bin/python -m tools.sanity site

requirements: $(STAMP) ## Compile the lists of packages with their hashes anew
	@$(COMPILE) --group dev --output-file requirements-dev.txt
	@$(COMPILE) --group sanity --output-file requirements-sanity.txt
	@awk '/^[^ ]/ { mine = /^uv==/ } mine' requirements-dev.txt >roles/app/files/uv.txt
	@$(COMPILE) --output-file roles/certbot/files/certbot.txt roles/certbot/files/certbot.in

clean: demo-clean ## Remove the demo, .venv, .cache and build
	@rm -rf .venv .cache build

# A fresh Debian has python3 without ensurepip. pip only installs uv, by its
# hashes; uv does the rest many times faster.
$(STAMP): requirements-dev.txt
	@echo "Tools: making .venv from requirements-dev.txt"
	@rm -rf .venv
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get -qq update && $$sudo apt-get -qq install -y python3-venv >/dev/null; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r roles/app/files/uv.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync --quiet --require-hashes requirements-dev.txt
	@# As pip does it: Ansible starts a third faster. Modules run on the server, from their sources.
	@$(BIN)/python -m compileall -q -j 2 -x ansible_collections .venv/lib
	@touch $@

.venv/sanity/.stamp: $(STAMP) requirements-sanity.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/sanity
	@VIRTUAL_ENV=$(CURDIR)/.venv/sanity $(BIN)/uv pip sync --quiet --require-hashes requirements-sanity.txt
	@touch $@

# The sample project's own environment, apart from the tools'.
.venv/sample/.stamp: $(STAMP) $(wildcard $(SAMPLE)/requirements.txt)
	@if [ -e $(SAMPLE)/requirements.txt ]; then \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/sample && \
		VIRTUAL_ENV=$(CURDIR)/.venv/sample $(BIN)/uv pip install --quiet -r $(SAMPLE)/requirements.txt; \
	else mkdir -p .venv/sample; fi
	@touch $@

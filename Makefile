# dmarckit: everything below sets itself up on first use (Python 3.11+ and make are enough).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
# Who only looks around needs no test tools: 1.2 GB less to install.
DEMO   := $(if $(wildcard $(READY)),$(READY),$(VENV)/.demo)

.DEFAULT_GOAL := help
.PHONY: help demo test check licences sbom image image-requirements bench docs lab translations clean

help:   ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# An environment is made anew when the requirements change; -c keeps it to tried versions.
$(READY): EXTRA := test
$(VENV)/.demo: EXTRA := demo
$(READY) $(VENV)/.demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("dmarckit needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12 …" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) for $(EXTRA) (once; a minute or two) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA)]'
	@touch $@

demo: $(DEMO)    ## the whole system on this machine: S3 server, mails, lake, page, Slack message
	@$(BIN)/dmarckit demo $(ARGS)

# tests start many processes: each would compile its libraries again
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY)   ## all tests (ARGS="-k lake" for some)
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)  # for two cores: some tests wait

check: $(READY)  ## ruff, mypy (strict on the package), import-linter, pip-audit
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(MAKE) --silent $(TOOLS)/.installed 2>/dev/null || true  # without an index it is skipped
	@$(BIN)/python -m tests.support.audit $(TOOLS)/bin/pip-audit

# What looks at the environment from outside, and is no part of it.
SUPPLY := cyclonedx-bom==7.5.0 pip-audit==2.10.1 pip-licenses==5.5.5 uv==0.13.9
TOOLS  := $(VENV)/tools

$(TOOLS)/.installed: | $(READY)
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 10 $(SUPPLY)
	@touch $@

licences: $(TOOLS)/.installed  ## the licences of all dependencies
	@$(TOOLS)/bin/pip-licenses --python $(BIN)/python --from=mixed --order=license $(ARGS)

sbom: $(TOOLS)/.installed      ## dist/sbom.json: all dependencies as CycloneDX (JSON)
	@mkdir -p dist
	@$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o dist/sbom.json $(BIN)/python
	@echo dist/sbom.json

BASE := python:3.12-slim

image:           ## the image for AWS, on a base that is pinned by its digest
	@digest=$$(docker buildx imagetools inspect $(BASE) --format '{{.Manifest.Digest}}') && \
		docker build -f schedules/aws/Dockerfile --build-arg BASE=$(BASE)@$$digest -t dmarckit $(ARGS) .

IMAGE_EXTRAS := --extra function --extra fast --extra dns --extra google --extra mmdb --extra networks

image-requirements: $(TOOLS)/.installed  ## schedules/aws/requirements.txt: versions of constraints.txt, with hashes
	@echo hatchling | $(TOOLS)/bin/uv pip compile --quiet --no-header --no-annotate --generate-hashes \
		--only-binary :all: --python-version 3.12 --python-platform linux $(IMAGE_EXTRAS) \
		-c constraints.txt pyproject.toml - -o schedules/aws/requirements.txt

docs: $(READY)    ## the tables of README and docs that come from the code
	@$(BIN)/python -m tests.support.docs

bench: $(READY)  ## benchmarks (tests/benchmarks); takes minutes
	@$(BIN)/python -m tests.benchmarks $(ARGS)

lab: $(DEMO)     ## JupyterLab on the notebooks
	@$(BIN)/dmarckit lab $(ARGS)

LOCALE := dmarckit/core/locale
PO     := $(LOCALE)/ja/LC_MESSAGES/dmarckit.po

translations: $(READY)  ## texts into the Japanese catalog (dmarckit/core/locale), and the catalog compiled
	@$(BIN)/pybabel --quiet extract -F $(LOCALE)/babel.cfg -k later -k phrase --add-location=file --sort-by-file -o texts.pot .
	@$(BIN)/pybabel --quiet update -i texts.pot -o $(PO) -l ja --no-wrap --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date
	@# it takes "80 % of" for a format of Python's and reports an error; the tests compare the places
	@$(BIN)/pybabel compile -i $(PO) -o $(PO:.po=.mo) -l ja --statistics 2>&1 | grep translated
	@rm texts.pot

clean:           ## remove the environment and what the demo made
	rm -rf $(VENV) dmarckit-demo dmarckit-data build dist

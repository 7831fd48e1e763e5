# Each target does all of its own set-up; only python3 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Half of the time goes into building graphs, which takes one core: files of tests side by side.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

.PHONY: demo test slow browser lint notebooks docs clean

demo: $(VENV)/.library
	$(BIN)/deepam demo deepam-demo.png

test: $(VENV)/.developer
	$(PYTEST)

slow: $(VENV)/.developer
	$(PYTEST) -m slow

# Needs chromium and its driver, which no Python package brings.
browser: $(VENV)/.developer
	$(BIN)/python -m pytest -m browser

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

notebooks: $(VENV)/.developer
	mkdir -p build/notebooks
	for notebook in docs/notebooks/*.ipynb; do \
	  TF_CPP_MIN_LOG_LEVEL=3 PATH="$(CURDIR)/$(BIN):$$PATH" timeout 600 $(BIN)/python -m nbconvert --to notebook --execute \
	    --output-dir build/notebooks $$notebook || exit 1; \
	done

# The notebooks as `make notebooks` has left them, with what they print, if it has.
docs: $(VENV)/.developer
	rm -rf build/docs build/site && mkdir -p build && cp -r docs build/docs
	if test -d build/notebooks; then cp build/notebooks/*.ipynb build/docs/notebooks/; fi
	NO_MKDOCS_2_WARNING=1 DEEPAM_DOCS=build/docs $(BIN)/python -m mkdocs build

$(VENV)/.library: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.developer: $(VENV)/.library requirements.txt
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

# make demo: pretrain a small model on the bundled faces and make a detector of it. make test: every promise, tested.
# make check: ruff + pyright + tests. make bench: the benchmarks. All in a virtual environment of the checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SLOWEST := tests/test_downstream.py tests/test_hosts.py tests/jobs/test_finetune.py tests/test_end_to_end.py \
    tests/models/test_fsfm.py tests/prepare/test_pool.py tests/train/test_step.py tests/export/test_conversion.py \
    tests/detection/test_features.py tests/jobs/test_finetune_hosts.py tests/weights/test_export_file.py \
    tests/jobs/test_compare.py tests/test_public.py
TESTS := $(SLOWEST) $(filter-out $(SLOWEST),$(sort $(shell find tests -name 'test_*.py')))
DEMO_DIR ?= runs/pretrain_demo
DETECTOR_DIR ?= runs/finetune_demo
STUDY_DIR ?= runs/study

# XLA's persistent compile cache: a second run of anything compiles nothing.
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.cache/jax
# No tool may go looking for weights or data on the network at run time.
export NO_GCE_CHECK := true

.PHONY: demo study has-chromium test test-beam test-pages test-parity test-tpu test-wheel wheel lint types check bench docs fuzz locks sbom clean

$(VENV)/.runtime: requirements/run.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "fsfm_jax needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/run.lock
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.lock
	@touch $@

# Beam has an environment of its own, since its pins contradict those of JAX.
$(VENV)-beam/.made: requirements/beam.lock
	$(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/beam.lock
	@touch $@

# As have the base models of others, with PyTorch, and the converter to ONNX, whose own requirements contradict ours.
$(VENV)-parity/.made: requirements/parity.lock requirements/onnx.lock requirements/dev.lock requirements/run.lock
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/parity.lock
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements/onnx.lock
	@touch $@

# As has the TPU compiler, which compiles for slices that are not there.
$(VENV)-tpu/.made: requirements/tpu.lock requirements/dev.lock requirements/run.lock
	$(PYTHON) -m venv $(VENV)-tpu
	$(VENV)-tpu/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/tpu.lock --requirement requirements/dev.lock
	@touch $@

# As have a browser's driver and what runs notebooks.
$(VENV)-pages/.made: requirements/pages.lock requirements/dev.lock requirements/run.lock
	$(PYTHON) -m venv $(VENV)-pages
	$(VENV)-pages/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/pages.lock
	@touch $@

# As have the fuzzer, and what writes the locks.
$(VENV)-fuzz/.made: requirements/fuzz.lock requirements/run.lock
	$(PYTHON) -m venv $(VENV)-fuzz
	$(VENV)-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/fuzz.lock
	@touch $@

$(VENV)-locks/.made: requirements/locks.lock
	$(PYTHON) -m venv $(VENV)-locks
	$(VENV)-locks/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/locks.lock
	@touch $@

# What builds the site; the pages of the reference are made from the code, in the environment of the checkout.
$(VENV)-docs/.made: requirements/docs.lock
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/docs.lock
	@touch $@

# What builds the wheel, without any of its requirements.
$(VENV)-build/.made: requirements/build.lock
	$(PYTHON) -m venv $(VENV)-build
	$(VENV)-build/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/build.lock
	@touch $@

# What the wheel needs, and nothing of the checkout.
$(VENV)-wheel/.made: requirements/run.lock
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/run.lock
	@touch $@

# After every change of a pin: the hashes beside it, and the table of licences.
locks: $(VENV)-locks/.made
	$(VENV)-locks/bin/python -m supply.locks
	$(VENV)-locks/bin/python -m supply.licences

# The documentation as a site, site/html/index.html. A broken link or anchor fails, and so does a page that would ask
# another host for anything.
docs: $(VENV)/.runtime $(VENV)-docs/.made
	$(BIN)/python -m website.pages site
	cd site && $(abspath $(VENV)-docs)/bin/python -m zensical build --strict --clean
	$(BIN)/python -m website.self_contained site/html

# A bill of materials of all locks, in CycloneDX.
sbom:
	$(PYTHON) -m supply.sbom sbom/fsfm_jax.cdx.json

# Readers of foreign files, two minutes each.
fuzz: $(VENV)-fuzz/.made
	$(VENV)-fuzz/bin/python -m reliability.fuzz

# Stops once on purpose and goes on from its own checkpoint: the second command is the first one again.
demo: $(VENV)/.runtime
	$(BIN)/python -m fsfm_jax.main --config=configs/pretrain_demo.py --workdir=$(DEMO_DIR) --stop_after=60%
	$(BIN)/python -m fsfm_jax.main --config=configs/pretrain_demo.py --workdir=$(DEMO_DIR)
	$(BIN)/python -m fsfm_jax.main --config=configs/finetune_demo.py --workdir=$(DETECTOR_DIR) --config.init=$(DEMO_DIR)

# On folders of pictures, DATA=FOLDER: real/NAME, forged/NAME, NAME/real beside NAME/fake. It goes on where it stopped.
study: $(VENV)/.runtime
	@test -n "$(DATA)" || { echo "make study DATA=FOLDER: a folder with real/NAME and forged/NAME, see docs/study.md"; exit 2; }
	$(BIN)/python -m fsfm_jax.main --config=configs/study.py --config.folder=$(DATA) --workdir=$(STUDY_DIR)

# The slowest files first, so that no process waits for the other at the end. Each is named: beside a folder that holds
# them pytest would forget the order, and xdist would take files with many tests first.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(TESTS)

test-beam: $(VENV)-beam/.made
	$(VENV)-beam/bin/python -m pytest --noconftest -W ignore::DeprecationWarning tests/prepare/test_beam.py

test-parity: $(VENV)-parity/.made
	$(VENV)-parity/bin/python -m pytest tests/parity

test-tpu: $(VENV)-tpu/.made
	$(VENV)-tpu/bin/python -m pytest tests/tpu

test-pages: has-chromium $(VENV)-pages/.made
	$(VENV)-pages/bin/python -m pytest tests/pages

# dist/ holds the one wheel of this version; the same files give the same bytes.
wheel: $(VENV)-build/.made
	rm -rf dist
	$(VENV)-build/bin/python -m build --wheel --no-isolation --outdir dist .

# The wheel in an environment of its own, used in an empty folder.
test-wheel: wheel $(VENV)-wheel/.made
	$(VENV)-build/bin/python -m build --wheel --no-isolation --outdir dist/again . > /dev/null
	cmp dist/*.whl dist/again/*.whl && rm -r dist/again
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --force-reinstall dist/*.whl
	$(VENV)-wheel/bin/python tests/wheel/try_wheel.py dist/*.whl

# The machine brings the browser.
has-chromium:
	@for name in "$$CHROMIUM" chromium chromium-browser; do command -v "$$name" > /dev/null && exit 0; done; \
	echo "test-pages needs Chromium: apt-get install chromium, or CHROMIUM=/path/to/it make test-pages"; exit 1

lint: $(VENV)/.dev
	$(BIN)/ruff check .

# Without the warning, for which it would ask the registry for newer versions; its program comes as a wheel.
types: $(VENV)/.dev
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --warnings --pythonpath $(BIN)/python

check: lint types test

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.masks
	$(BIN)/python -m benchmarks.input
	$(BIN)/python -m benchmarks.prepare
	$(BIN)/python -m benchmarks.video
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.adapter
	$(BIN)/python -m reliability.hostile
	$(BIN)/python -m benchmarks.predict
	$(BIN)/python -m benchmarks.batch

clean:
	rm -rf $(VENV) $(VENV)-beam $(VENV)-build $(VENV)-docs $(VENV)-fuzz $(VENV)-locks $(VENV)-pages $(VENV)-parity $(VENV)-tpu \
	    $(VENV)-wheel .cache dist runs sbom site

# make install: the environment, with the command `equinuclei`, in .venv/
# make demo: set up and run a small study.    make test: set up and run the tests.    make bench: speed, as ratios.
# make verify: the same inputs give the same bytes.    make verify-slurm: so they do through SLURM.
# make campaign: 200 faults at random; those bytes again.
# make conda-test: every rule in its own conda environment.    make lint: all checks of style and structure.

PYTHON ?= python3.11
VENV := .venv
ESCNN := .venv-escnn
READER := .venv-reader
PEERS := .venv-peers
CONDA := .venv-conda
ENVIRONMENTS = $(wildcard envs/*.yaml)
BIN := $(VENV)/bin
TESTS ?= not nightly
PIP_OPTIONS ?=
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS)
READY := $(VENV)/.ready

# Fall back to the system's python3 where there is no python3.11.
ifeq ($(shell command -v $(PYTHON)),)
PYTHON := python3
endif

.PHONY: install campaign demo test tests nightly test-cluster test-others conda-test lint bench verify verify-slurm escnn reader peers clean lock pins

install: $(READY)

demo: $(READY)
	$(BIN)/snakemake study --configfile config/demo.yaml
	scripts/demo_plate.sh

test: $(READY) lint
	$(MAKE) --no-print-directory tests

# The tests of the cluster, which mostly wait, run beside all others; what they say comes in one piece.
tests: $(READY)
	$(MAKE) --no-print-directory --jobs 2 test-others test-cluster

# Those too that take long and are like others.
nightly:
	$(MAKE) --no-print-directory test TESTS="nightly or not nightly"

test-cluster: $(READY)
	log=$$(mktemp) && { OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster -m "$(TESTS)" >$$log 2>&1; \
	  status=$$?; cat $$log; rm $$log; exit $$status; }

# The longest first, so that both workers end at the same time.
test-others: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/environments tests/workflow tests/campaign tests/fuzz tests/oracle tests/unit -m "$(TESTS)" \
	  -n 2 --dist loadfile --no-loadscope-reorder --hypothesis-profile=ci

conda-test: $(READY) $(CONDA)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/environments tests/unit/test_environments.py -m "nightly or not nightly"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakemake --lint

bench: $(READY)
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.training_step --architecture unet --size 64 --batch 4
	$(BIN)/python -m benchmarks.evaluation --exact
	$(BIN)/python -m benchmarks.evaluation --architecture simplified --exact
	$(BIN)/python -m benchmarks.dataset
	$(BIN)/python -m benchmarks.inference
	$(BIN)/python -m benchmarks.scoring

verify: $(READY)
	$(BIN)/python scripts/verify_reproducibility.py

# In a folder that all nodes see.
verify-slurm: $(READY)
	mkdir -p results
	$(BIN)/python scripts/verify_reproducibility.py --slurm --folder results

# It goes on where it was interrupted. FAULTS="--faults 40 --where slurm" goes through the test cluster.
FAULTS ?= --faults 200 --seed 1
campaign: $(READY)
	$(BIN)/python -m tests.campaign $(FAULTS)

clean:
	rm -rf $(VENV) $(ESCNN) $(READER) $(PEERS) $(CONDA) results/demo .pytest_cache .ruff_cache .hypothesis

# Resolve requirements.in anew for Linux (needs uv), in versions that Python 3.11 to 3.13 have. The CUDA libraries are left out: torch's own
# build pins them where it needs them.
lock:
	uv pip compile requirements.in --python-platform linux --python-version 3.11 --no-emit-index-url --no-annotate --no-header --quiet \
	  | grep -vE '^(nvidia-|cuda-|triton)' > .requirements.lock
	mv .requirements.lock requirements.lock

# Pin every package of the conda environments, beside their files; needs conda. CONDA_OVERRIDE_CUDA decides whether PyTorch
# is pinned in a build for GPUs. One environment: make pins ENVIRONMENTS=envs/training.yaml
pins: $(CONDA)/.ready
	$(CONDA)/bin/snakedeploy pin-conda-envs --conda-frontend conda $(ENVIRONMENTS)

$(CONDA)/.ready: tests/environments/requirements.txt
	$(PYTHON) -m venv $(CONDA)
	$(CONDA)/bin/python $(PIP_INSTALL) -r $<
	touch $@

# The oracle of the group convolutions, in an environment of its own (an older numpy). Needs Python 3.11 and a Fortran
# compiler (Debian: gfortran).
escnn: $(ESCNN)/.ready

$(ESCNN)/.ready: tests/oracle/escnn/requirements.txt
	$(PYTHON) -m venv $(ESCNN)
	$(ESCNN)/bin/python $(PIP_INSTALL) -r $<
	touch $@

# The reader that napari opens OME-Zarr with, in an environment of its own (an older dateutil).
reader: $(READER)/.ready

$(READER)/.ready: tests/oracle/ome_zarr/requirements.txt
	$(PYTHON) -m venv $(READER)
	$(READER)/bin/python $(PIP_INSTALL) -r $<
	touch $@

# The programs that benchmarks/peers compares with, each in an environment of its own.
peers: $(patsubst benchmarks/peers/%.txt,$(PEERS)/%/.ready,$(wildcard benchmarks/peers/*.txt))

$(PEERS)/%/.ready: benchmarks/peers/%.txt
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python $(PIP_INSTALL) -r $<
	touch $@

# One environment for everything, with every version pinned. `make` installs it again when the lock changes.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) -r requirements.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --editable .
	touch $@

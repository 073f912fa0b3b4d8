# Two commands do everything on a fresh Debian or Ubuntu machine with python3:
#   make demo   the main job on real input, from training to report.html
#   make test   the tests
# Both create .venv first. PYTHON=python3.12 chooses another interpreter (3.10 to 3.13).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := out/demo
BENCH ?=
# CIFAR-10 as an image folder with train/ and test/, or the .tar.gz of one.
CIFAR10 ?= ../shared/data/cifar10.tar.gz
# What some tests want from the system; installed by `make test` where it runs as root on Debian.
SYSTEM_PACKAGES := avr-libc avrdude chromium gcc gcc-avr libc6-dev libsimavr-dev mmdebstrap openssh-server qemu-user sudo

.PHONY: demo test lint bench evidence setup system clean
.DELETE_ON_ERROR:

setup: $(BIN)/edge

$(BIN)/edge: pyproject.toml .ci/constraints.txt .ci/venv
	@.ci/venv "$(PYTHON)" "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@mkdir -p $(DEMO)
	$(BIN)/edge train simplenet_cifar_310k --data digits --out $(DEMO)/digits.keras
	$(BIN)/edge convert $(DEMO)/digits.keras --to fp32,fp16,dynamic,int8 --calibrate digits --out $(DEMO)
	$(BIN)/edge inspect $(DEMO)/digits-int8.tflite
	$(BIN)/edge profile $(DEMO)/digits-fp32.tflite $(DEMO)/digits-fp16.tflite $(DEMO)/digits-dynamic.tflite \
		$(DEMO)/digits-int8.tflite --on local --out $(DEMO)/profile.json
	$(BIN)/edge report $(DEMO)/profile.json --out $(DEMO)/report.html
	@echo
	@echo "The report: $(abspath $(DEMO))/report.html"

test: setup system
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

system:
	@.ci/system $(SYSTEM_PACKAGES)

bench: setup
	@$(BIN)/python tests/bench $(BENCH)

evidence: setup system
	@$(BIN)/python tests/evidence $(CIFAR10)

clean:
	rm -rf $(VENV) out

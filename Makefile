# `make` lists the targets. All of them run in .venv, which is made when it is missing and again when the requirements change;
# with ROS=jazzy in .venv-jazzy.

PYTHON ?= python3
MINUTES ?= 5

ifneq ($(AMENT_PREFIX_PATH),)
ifdef ROS
$(error ROS=$(ROS) chooses wheels from PyPI, but a ROS installation is sourced and is what would be used: leave ROS= out, or use a shell without it)
endif
# A sourced ROS installation: use its rclpy and messages, through --system-site-packages. PyPI's ROS wheels would be a second,
# different ROS in one process. The distribution's message libraries are compiled against its NumPy, whose major version must stay.
VENV := .venv
VENV_ARGS := --system-site-packages
EXTRAS := demo,test,dev
NUMPY = $(shell $(PYTHON) -c 'import numpy; print("numpy<%d" % (int(numpy.__version__.split(".")[0]) + 1))')
export AMENT_PREFIX_PATH := $(abspath $(VENV)):$(AMENT_PREFIX_PATH)
NO_ROS := ROS is sourced, but $(PYTHON) cannot import its rclpy: name the Python it was built for, as in make PYTHON=/usr/bin/python3, or use a shell without it
else
# Both releases have modules of the same names: each has an environment of its own.
ROS ?= kilted
VENV_kilted := .venv
VENV_jazzy := .venv-jazzy
WHEELS_kilted := ros
WHEELS_jazzy := ros-jazzy
VENV := $(or $(VENV_$(ROS)),$(error ROS=$(ROS) is not known: there are wheels of kilted and of jazzy))
VENV_ARGS :=
EXTRAS := demo,test,dev,$(WHEELS_$(ROS))
NUMPY :=
NO_ROS := no ROS 2 here: source an installation, or use Linux on x86-64 with PYTHON= a Python 3.10 to 3.13, for which there are wheels
endif
READY := $(VENV)/installed

.PHONY: help demo check test test-fast clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo            practise on the simulated robot for MINUTES=5 of robot time; SEED=, OUT=, ARGS= are passed on'
	@echo 'make check           lint, formatting, types, and which layer imports which'
	@echo 'make test            run the tests; ARGS= are passed to pytest'
	@echo 'make test-fast       the tests of logic alone, without ROS and processes, on all cores: within a minute on two'
	@echo 'make bench-NAME      a benchmark: $(patsubst benchmark/%.py,%,$(wildcard benchmark/*.py))'
	@echo 'make clean           remove the environments and what builds left; runs/ stays'
	@echo 'ROS=kilted           which ROS from PyPI, where none is sourced: kilted or jazzy, each in an environment of its own'
	@echo 'PYTHON=python3       the Python to make the environment with (3.10 or newer)'
	@echo 'PIP_ARGS=            for pip, as in PIP_ARGS="--extra-index-url URL" with an index of CPU builds of torch, which save gigabytes'

demo: $(READY)
	$(VENV)/bin/rl_token demo --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT)) $(ARGS)

check: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Tests of logic, and of nodes in one process, on all cores; those with processes one at a time, for they need what cores there are.
test: $(READY)
ifeq ($(ARGS),)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest test/unit -n auto -q
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest test/ros -n auto -q
	$(VENV)/bin/python -m pytest test/process
else
	$(VENV)/bin/python -m pytest $(ARGS)
endif

test-fast: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest test/unit -m 'not slow' -n auto -q $(ARGS)

bench-%: $(READY)
	$(VENV)/bin/python benchmark/$*.py $(ARGS)

# Editable: a change in the source needs no second installation; what `ros2 run` starts is copied, and a new one does.
$(READY): setup.py package.xml scripts
	@echo '== making $(VENV) with $(PYTHON)'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python %d.%d is too old; set PYTHON= to 3.10 or newer" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV_ARGS) $(VENV)
	@echo '== installing rl_token_ros[$(EXTRAS)] and what it needs into $(VENV), 1.5 GB: about a minute from a warm cache'
	$(VENV)/bin/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[$(EXTRAS)]' $(if $(NUMPY),'$(NUMPY)')
	@$(VENV)/bin/python -c 'import rclpy' || { echo '$(NO_ROS)'; exit 1; }
	@touch $@

clean:
	rm -rf .venv .venv-jazzy build dist *.egg-info .pytest_cache .hypothesis .grimp_cache .import_linter_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

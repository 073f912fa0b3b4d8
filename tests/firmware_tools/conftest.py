"""Fixtures for the tests of the instruments: the bench and the firmware, each built once a session."""

from __future__ import annotations

import functools

import pytest
from simulated_meter import SimulatedMeter, bench_missing, bench_program

from firmware_tools.power_meter.build import build


@pytest.fixture(scope="session")
def meter_parts(tmp_path_factory, require_part):
    """The compiled bench, and a function from a chip's name to its firmware's .elf."""
    if lacks := bench_missing():
        require_part(*lacks)
    folder = tmp_path_factory.mktemp("meter")

    @functools.cache
    def elf(chip):
        return build(chip, out=folder, strict=True).elf

    return bench_program(folder), elf


@pytest.fixture
def simulated(meter_parts):
    """SimulatedMeter with the session's bench and firmware."""
    program, elf = meter_parts

    def make(*args, chip="ina226", **settings):
        return SimulatedMeter(*args, chip=chip, program=program, elf=elf(chip), **settings)

    return make

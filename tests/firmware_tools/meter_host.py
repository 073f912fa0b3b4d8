"""A host for the simulated meter: the client, a codec, and the numbers that a counting chip puts into its registers."""

from __future__ import annotations

import time

import numpy as np

from firmware_tools.codecs import edge_frames
from firmware_tools.power_meter.meter_client import MeterClient
from firmware_tools.trace import Trace

# Nominal time between samples at the settings after a reset.
PERIOD_US = {"ina226": 664, "ina219": 808, "ina260": 664}


class Host:
    """A client that has identified its meter, and a codec."""

    def __init__(self, meter):
        self.client = MeterClient(str(meter.port))

    def __enter__(self):
        self.client.__enter__()
        self.identity = self.client.identify()
        return self

    def __exit__(self, *what):
        self.client.__exit__(*what)

    def start(self):
        self.client.start()
        self.state = edge_frames.initial(identity=self.identity)
        self.trace = Trace.empty()

    def take(self, samples, *, deadline_s=100.0):
        """Read until so many more samples have come."""
        until = time.monotonic() + deadline_s
        traces = []
        while sum(map(len, traces)) < samples:
            assert time.monotonic() < until, f"only {sum(map(len, traces))} of {samples} samples came"
            trace, self.state = edge_frames.decode(self.state, self.client.read(wait_s=0.5), 0.0)
            traces.append(trace)
        self.trace = Trace.concatenate(traces)
        return self.trace

    def stop(self):
        """Stop, and return what the meter says it sent and what has come since the last take."""
        stopped = self.client.stop()
        traces = []
        while data := self.client.read(wait_s=0.05):
            trace, self.state = edge_frames.decode(self.state, data, 0.0)
            traces.append(trace)
        return stopped, Trace.concatenate(traces)


def conversions(trace, *, lsb_v):
    """The running numbers of the conversions that a counting chip put into its registers."""
    return np.rint(trace.supply_v / lsb_v).astype(int)


def conversions_of_shunt(host, trace):
    """The same numbers out of the shunt register of an INA226."""
    return np.rint(trace.current_a * host.identity.shunt_uohm * 1e-6 / 2.5e-6).astype(int)

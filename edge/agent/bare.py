"""Stands in for edge.runtime.load until it is there."""

from importlib import metadata
from types import SimpleNamespace

import numpy as np


class BareModel:
    def __init__(self, path, threads):
        from ai_edge_litert.interpreter import Interpreter

        self.i = Interpreter(model_path=path, num_threads=threads)
        self.i.allocate_tensors()
        self.inputs = [SimpleNamespace(shape=tuple(d["shape"]), dtype=d["dtype"]) for d in self.i.get_input_details()]
        self.runtime = SimpleNamespace(name="ai-edge-litert", version=metadata.version("ai-edge-litert"))
        self.invoke = self.i.invoke

    def prepare(self, *arrays):
        for detail, array in zip(self.i.get_input_details(), arrays):
            self.i.set_tensor(detail["index"], array)

    def run(self, *arrays):
        self.prepare(*arrays)
        self.i.invoke()
        return [np.array(self.i.get_tensor(d["index"])) for d in self.i.get_output_details()]

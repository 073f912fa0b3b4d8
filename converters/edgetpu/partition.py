"""Which operators come into the one piece that the compiler hands to the Edge TPU.

The compiler is a TensorFlow Lite delegate: operators are put into sets, each of one kind, a set taking every operator
of its kind whose inputs are there (TensorFlow's tensorflow/lite/graph_info.cc). Only the first set of supported
operators is mapped ("More than one subgraph is not supported"); unsupported ones before it do no harm. Seen:
- QUANTIZE of a float input stays on the CPU, all behind it is mapped (f0cal/google-coral#20; google-coral/edgetpu#659);
- the first set is taken even where a later one is larger: 1 of 191 and 2 of 155 operators (google-coral/edgetpu#433,
  #342, #317);
- a branch that does not depend on what is refused stays mapped (deeplabv3_mnv2_dm05_pascal_quant: two outputs).
"""

from __future__ import annotations

from collections.abc import Collection

from converters.tflite.values import ABSENT, SubgraphInfo


def mapped_set(graph: SubgraphInfo, supported: Collection[int]) -> frozenset[int]:
    """Return the indices of the operators that are mapped.

    Args:
        graph: the main graph, in execution order.
        supported: indices of operators that the Edge TPU could run.
    """
    written = {tensor for operator in graph.operators for tensor in operator.outputs}
    there = {tensor for tensor in range(len(graph.tensors)) if tensor not in written} | {ABSENT}
    waiting = list(graph.operators)
    while waiting:
        ready = [operator for operator in waiting if set(operator.inputs) <= there]
        if not ready:
            return frozenset()
        kind = ready[0].index in supported
        taken = set()
        for operator in waiting:  # execution order: one pass takes chains too
            if (operator.index in supported) == kind and set(operator.inputs) <= there:
                taken.add(operator.index)
                there.update(operator.outputs)
        if kind:
            return frozenset(taken)
        waiting = [operator for operator in waiting if operator.index not in taken]
    return frozenset()

"""What a target would make of a .tflite file, told from the file alone: which operators run where, and how."""

from converters.targets.boards import TARGETS, Target, target_named
from converters.targets.operator_placement import OperatorPlacement, place_operators
from converters.targets.runtimes import RECOMMENDED, SparseRuntime, runtime_named
from converters.targets.sparse_analysis import predict_sparse
from converters.targets.sparse_prediction import Cluster, Reason, SparsePrediction

__all__ = [
    "RECOMMENDED",
    "TARGETS",
    "Cluster",
    "OperatorPlacement",
    "Reason",
    "SparsePrediction",
    "SparseRuntime",
    "Target",
    "place_operators",
    "predict_sparse",
    "runtime_named",
    "target_named",
]

"""Lists the operators and versions that Edge TPU compiler 16.0.384591198 reads; it refuses files with any other.

The compiler is closed and was built in July 2021 around TensorFlow Lite's own interpreter, so it knows what TensorFlow
2.6 knew. Source of the table: TensorFlow's tensorflow/lite/tools/versioning/runtime_version.cc, every entry up to
"2.6.0". It agrees with all refusals that users saw with compiler 16.0 ("Didn't find op for builtin opcode"):
CONV_2D 6 (google-coral/edgetpu#631), TRANSPOSE_CONV 4 (#845), QUANTIZE 3 (#879), EXP 2 (google-coral/libedgetpu#71),
and GELU ("builtin_code out of range"; reported of DeiT exports).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

COMPILER = "16.0.384591198"
# The newest version of each operator.
_TABLE = """
ABS 4, ADD 4, ADD_N 1, ARG_MAX 2, ARG_MIN 2, ASSIGN_VARIABLE 1, AVERAGE_POOL_2D 3, BATCH_MATMUL 4,
BATCH_TO_SPACE_ND 3, BIDIRECTIONAL_SEQUENCE_LSTM 3, BIDIRECTIONAL_SEQUENCE_RNN 3, BROADCAST_ARGS 1, BROADCAST_TO 3,
CALL_ONCE 1, CAST 1, CEIL 1, COMPLEX_ABS 1, CONCATENATION 3, CONV_2D 5, CONV_3D 1, CONV_3D_TRANSPOSE 1, COS 1,
CUMSUM 1, DENSIFY 1, DEPTHWISE_CONV_2D 6, DEPTH_TO_SPACE 2, DEQUANTIZE 4, DIV 2, ELU 1, EMBEDDING_LOOKUP 3,
EMBEDDING_LOOKUP_SPARSE 1, EQUAL 3, EXP 1, EXPAND_DIMS 1, FAKE_QUANT 2, FILL 3, FLOOR 1, FLOOR_DIV 2, FLOOR_MOD 1,
FULLY_CONNECTED 9, GATHER 5, GATHER_ND 3, GREATER 2, GREATER_EQUAL 2, HARD_SWISH 1, HASHTABLE 1, HASHTABLE_FIND 1,
HASHTABLE_IMPORT 1, HASHTABLE_LOOKUP 1, HASHTABLE_SIZE 1, IF 1, IMAG 1, L2_NORMALIZATION 2, L2_POOL_2D 1,
LEAKY_RELU 2, LESS 2, LESS_EQUAL 2, LOCAL_RESPONSE_NORMALIZATION 1, LOG 1, LOGICAL_AND 1, LOGICAL_NOT 1,
LOGICAL_OR 1, LOGISTIC 3, LOG_SOFTMAX 2, LSH_PROJECTION 1, LSTM 4, MATRIX_DIAG 1, MATRIX_SET_DIAG 1, MAXIMUM 4,
MAX_POOL_2D 3, MEAN 3, MINIMUM 4, MIRROR_PAD 2, MUL 5, NEG 1, NON_MAX_SUPPRESSION_V4 1, NON_MAX_SUPPRESSION_V5 1,
NOT_EQUAL 3, ONE_HOT 1, PACK 3, PAD 4, PADV2 4, POW 1, PRELU 1, QUANTIZE 2, RANGE 1, RANK 1, READ_VARIABLE 1, REAL 1,
REDUCE_ALL 1, REDUCE_ANY 1, REDUCE_MAX 3, REDUCE_MIN 3, REDUCE_PROD 2, RELU 3, RELU6 3, RELU_N1_TO_1 1, RESHAPE 1,
RESIZE_BILINEAR 4, RESIZE_NEAREST_NEIGHBOR 4, REVERSE_SEQUENCE 1, REVERSE_V2 3, RFFT2D 1, RNN 3, ROUND 1, RSQRT 2,
SCATTER_ND 1, SEGMENT_SUM 1, SELECT 2, SELECT_V2 1, SHAPE 1, SIN 1, SKIP_GRAM 1, SLICE 5, SOFTMAX 3,
SPACE_TO_BATCH_ND 3, SPACE_TO_DEPTH 2, SPARSE_TO_DENSE 3, SPLIT 4, SPLIT_V 2, SQRT 1, SQUARE 1, SQUARED_DIFFERENCE 2,
SQUEEZE 2, STRIDED_SLICE 6, SUB 5, SUM 2, SVDF 4, TANH 3, TILE 2, TOPK_V2 2, TRANSPOSE 5, TRANSPOSE_CONV 3,
UNIDIRECTIONAL_SEQUENCE_LSTM 3, UNIDIRECTIONAL_SEQUENCE_RNN 3, UNIQUE 1, UNPACK 4, VAR_HANDLE 1, WHERE 1, WHILE 1,
ZEROS_LIKE 1
"""


def _parse(text: str) -> Mapping[str, int]:
    pairs = (entry.split() for entry in text.replace("\n", " ").split(","))
    return MappingProxyType({name: int(version) for name, version in pairs})


NEWEST = _parse(_TABLE)
# Custom operators that the compiler knows and leaves to the CPU (google-coral/edgetpu#515; the PoseNet pairs).
KNOWN_CUSTOM = frozenset({"TFLite_Detection_PostProcess", "PosenetDecoderOp", "AudioSpectrogram", "Mfcc"})

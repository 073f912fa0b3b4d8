"""Lists the inputs and outputs of each builtin operator, those that may be absent, and its options; as data.

Source: the checks at the head of each kernel's Prepare function (tensorflow/lite/kernels). Operators that are not
listed are not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# operator, inputs, outputs, then "?" and the positions of inputs that may be absent, then the table of its options
# where its numbers matter. "n-" is n or more.
_TABLE = """
ABS 1 1
ADD 2 1 AddOptions
ADD_N 1- 1
ARG_MAX 2 1 ArgMaxOptions
ARG_MIN 2 1 ArgMinOptions
ASSIGN_VARIABLE 2 0
ATAN2 2 1
AVERAGE_POOL_2D 1 1 Pool2DOptions
BATCH_MATMUL 2 1 BatchMatMulOptions
BATCH_TO_SPACE_ND 3 1
BIDIRECTIONAL_SEQUENCE_LSTM 48 1-2 ?1,5,9-12,16-18,22,26-29,33,34,39-47 BidirectionalSequenceLSTMOptions
BIDIRECTIONAL_SEQUENCE_RNN 12 1-2 ?9-11 BidirectionalSequenceRNNOptions
BITCAST 1 1
BITWISE_XOR 2 1
BROADCAST_ARGS 2 1
BROADCAST_TO 2 1
BUCKETIZE 1 1 BucketizeOptions
CALL_ONCE 0 0 CallOnceOptions
CAST 1 1
CEIL 1 1
COMPLEX_ABS 1 1
CONCATENATION 1- 1 ConcatenationOptions
CONV_2D 2-3 1 ?2 Conv2DOptions
CONV_3D 2-3 1 ?2 Conv3DOptions
CONV_3D_TRANSPOSE 3-4 1 ?3 Conv3DOptions
COS 1 1
CUMSUM 2 1
DENSIFY 1 1
DEPTHWISE_CONV_2D 2-3 1 ?2 DepthwiseConv2DOptions
DEPTH_TO_SPACE 1 1 DepthToSpaceOptions
DEQUANTIZE 1 1
DILATE 3 1
DIV 2 1 DivOptions
DYNAMIC_UPDATE_SLICE 3 1
ELU 1 1
EMBEDDING_LOOKUP 2 1
EMBEDDING_LOOKUP_SPARSE 5 1 EmbeddingLookupSparseOptions
EQUAL 2 1
EXP 1 1
EXPAND_DIMS 2 1
FAKE_QUANT 1 1 FakeQuantOptions
FILL 2 1
FLOOR 1 1
FLOOR_DIV 2 1
FLOOR_MOD 2 1
FULLY_CONNECTED 2-3 1-2 ?2 FullyConnectedOptions
GATHER 2 1 GatherOptions
GATHER_ND 2 1
GELU 1 1
GREATER 2 1
GREATER_EQUAL 2 1
HARD_SWISH 1 1
HASHTABLE 0 1 HashtableOptions
HASHTABLE_FIND 3 1
HASHTABLE_IMPORT 3 0
HASHTABLE_LOOKUP 3 2
HASHTABLE_SIZE 1 1
IF 1- 0- IfOptions
IMAG 1 1
L2_NORMALIZATION 1 1 L2NormOptions
L2_POOL_2D 1 1 Pool2DOptions
LEAKY_RELU 1 1
LESS 2 1
LESS_EQUAL 2 1
LOCAL_RESPONSE_NORMALIZATION 1 1 LocalResponseNormalizationOptions
LOG 1 1
LOGICAL_AND 2 1
LOGICAL_NOT 1 1
LOGICAL_OR 2 1
LOGISTIC 1 1
LOG_SOFTMAX 1 1
LSH_PROJECTION 2-3 1 ?2 LSHProjectionOptions
LSTM 5-24 1-4 ?1,5,9-12,16,17,20-23 LSTMOptions
MATRIX_DIAG 1 1
MATRIX_SET_DIAG 2 1
MAXIMUM 2 1
MAX_POOL_2D 1 1 Pool2DOptions
MEAN 2 1 ReducerOptions
MINIMUM 2 1
MIRROR_PAD 2 1 MirrorPadOptions
MUL 2 1 MulOptions
MULTINOMIAL 2 1
NEG 1 1
NON_MAX_SUPPRESSION_V4 5 2
NON_MAX_SUPPRESSION_V5 6 3
NOT_EQUAL 2 1
ONE_HOT 4 1 OneHotOptions
PACK 1- 1 PackOptions
PAD 2 1
PADV2 3 1
POW 2 1
PRELU 2 1
QUANTIZE 1 1
RANDOM_STANDARD_NORMAL 1 1
RANDOM_UNIFORM 1 1
RANGE 3 1
RANK 1 1
READ_VARIABLE 1 1
REAL 1 1
REDUCE_ALL 2 1 ReducerOptions
REDUCE_ANY 2 1 ReducerOptions
REDUCE_MAX 2 1 ReducerOptions
REDUCE_MIN 2 1 ReducerOptions
REDUCE_PROD 2 1 ReducerOptions
REDUCE_WINDOW 5 1
RELU 1 1
RELU6 1 1
RELU_0_TO_1 1 1
RELU_N1_TO_1 1 1
RESHAPE 1-2 1 ReshapeOptions
RESIZE_BILINEAR 2 1 ResizeBilinearOptions
RESIZE_NEAREST_NEIGHBOR 2 1 ResizeNearestNeighborOptions
REVERSE_SEQUENCE 2 1 ReverseSequenceOptions
REVERSE_V2 2 1
RFFT2D 2 1
RIGHT_SHIFT 2 1
RNN 5 1-2 RNNOptions
ROUND 1 1
RSQRT 1 1
SCATTER_ND 3 1
SEGMENT_SUM 2 1
SELECT 3 1
SELECT_V2 3 1
SHAPE 1 1
SIGN 1 1
SIN 1 1
SKIP_GRAM 1 1 SkipGramOptions
SLICE 3 1
SOFTMAX 1 1 SoftmaxOptions
SPACE_TO_BATCH_ND 3 1
SPACE_TO_DEPTH 1 1 SpaceToDepthOptions
SPARSE_TO_DENSE 4 1
SPLIT 2 1- SplitOptions
SPLIT_V 3 1- SplitVOptions
SQRT 1 1
SQUARE 1 1
SQUARED_DIFFERENCE 2 1
SQUEEZE 1 1 SqueezeOptions
STRIDED_SLICE 4 1 StridedSliceOptions
SUB 2 1 SubOptions
SUM 2 1 ReducerOptions
SVDF 5 1-2 ?3 SVDFOptions
TANH 1 1
TILE 2 1
TOPK_V2 2 2
TRANSPOSE 2 1
TRANSPOSE_CONV 3-4 1 ?3 TransposeConvOptions
UNIDIRECTIONAL_SEQUENCE_LSTM 20-24 1 ?1,5,9-12,16,17,20-23 UnidirectionalSequenceLSTMOptions
UNIDIRECTIONAL_SEQUENCE_RNN 5 1 SequenceRNNOptions
UNIQUE 1 2
UNPACK 1 1- UnpackOptions
UNSORTED_SEGMENT_MAX 3 1
UNSORTED_SEGMENT_MIN 3 1
UNSORTED_SEGMENT_PROD 3 1
UNSORTED_SEGMENT_SUM 3 1
VAR_HANDLE 0 1 VarHandleOptions
WHERE 1 1
WHILE 1- 0- WhileOptions
ZEROS_LIKE 1 1
"""

_ANY = 1 << 31


@dataclass(frozen=True)
class Arity:
    """The inputs and outputs of an operator; `options` names the table of its options, None where they play no part."""

    inputs: range
    outputs: range
    optional: frozenset[int]
    options: str | None


def _numbers(text: str) -> range:
    low, dash, high = text.partition("-")
    return range(int(low), (int(high) if high else _ANY if dash else int(low)) + 1)


def _arity(inputs: str, outputs: str, rest: list[str]) -> Arity:
    optional: set[int] = set()
    options = None
    for word in rest:
        if word.startswith("?"):
            optional.update(index for part in word[1:].split(",") for index in _numbers(part))
        else:
            options = word
    return Arity(_numbers(inputs), _numbers(outputs), frozenset(optional), options)


def _parse(text: str) -> Mapping[str, Arity]:
    rows = [line.split() for line in text.strip().splitlines()]
    return MappingProxyType({op: _arity(inputs, outputs, rest) for op, inputs, outputs, *rest in rows})


ARITIES = _parse(_TABLE)

# What a field of any operator's options may be. Numbers of steps and sizes divide or allocate in native code.
_SIZE = range(1, 1 << 16)
_TYPE = range(23)
OPTION_RANGES: Mapping[str, range] = MappingProxyType({
    **dict.fromkeys(("stride_w", "stride_h", "stride_d", "filter_width", "filter_height", "block_size"), _SIZE),
    **dict.fromkeys(("dilation_w_factor", "dilation_h_factor", "dilation_d_factor", "num_splits"), _SIZE),
    **dict.fromkeys(("in_data_type", "out_data_type", "out_type", "output_type", "idx_out_type"), _TYPE),
    **dict.fromkeys(("key_dtype", "value_dtype", "quantized_bias_type"), _TYPE),
    "padding": range(2),
    "fused_activation_function": range(6),
    "weights_format": range(2),
    "kernel_type": range(2),
    "mode": range(2),
    "combiner": range(3),
    "depth_multiplier": range(1 << 16),
    "num_bits": range(2, 17),
    "ngram_size": range(1, 1 << 16),
    "max_skip_size": range(1 << 16),
    "radius": range(1 << 16),
})  # fmt: skip

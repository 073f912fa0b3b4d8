"""Checks arithmetic operators: convolutions, pools, dense and recurrent layers, element-wise operators.

Values are refused that native kernels would divide by, index with or allocate from. Shapes with a dimension that may
change are not checked; the runtime computes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from converters.tflite.operator_context import Dims, OperatorContext, get_fixed_shape, product
from converters.tflite.values import TensorInfo

VALID = 1  # the other padding is SAME
MAX_STEP = 1 << 16
QUANTIZED = ("int8", "uint8", "int16", "int4")


def window_output(context: OperatorContext, size: int, kernel: int, axis: str) -> int | None:
    """Return the size of a convolution's or pool's output along "h" or "w"."""
    stride = context.option(f"stride_{axis}")
    reach = (kernel - 1) * context.options.stored.get(f"dilation_{axis}_factor", 1) + 1
    if context.option("padding") == VALID:
        size = size - reach + 1
    out = -(-size // stride)
    if kernel < 1 or out < 1:
        raise context.refuse(f"a window of {reach} does not fit into {size}")
    return out


def need_scales(context: OperatorContext, tensors: Sequence[TensorInfo], types: Sequence[str] = QUANTIZED) -> None:
    """Refuse 8-bit and 16-bit arithmetic on tensors without a scale: kernels divide by it."""
    for tensor in tensors:
        if tensor.dtype in types and not tensor.scales:
            raise context.refuse(f"the {tensor.dtype} tensor {tensor.name!r} has no scale")


def need_all_scales(context: OperatorContext) -> None:
    """Refuse 8-bit and 16-bit inputs and outputs without a scale."""
    need_scales(context, [*context.inputs, *context.outputs])


def need_bounded(context: OperatorContext, elements: int) -> None:
    """Refuse an output of more than 2^31 elements."""
    if elements > 1 << 31:
        raise context.refuse(f"would give {elements} elements", "outputs[0]")


def need_bias(context: OperatorContext, place: int, count: int) -> None:
    """Refuse a bias without one element per channel."""
    bias = context.input(place)
    if bias is not None and bias.elements != count:
        raise context.refuse(f"the bias has {bias.elements} elements for {count} channels", f"inputs[{place}]")


def filter_dims(context: OperatorContext, place: int, *ranks: int) -> Dims | None:
    """Return the known dimensions of a filter, refusing empty ones."""
    dims = context.require_rank(place, *ranks)
    if dims is not None and min(dims) < 1:
        raise context.refuse(f"the filter's shape is {list(dims)}", f"inputs[{place}]")
    return dims


def check_conv_2d(context: OperatorContext) -> None:
    """Check CONV_2D."""
    need_all_scales(context)
    data, kernel = context.require_rank(0, 4), filter_dims(context, 1, 4)
    if data is None or kernel is None:
        return
    groups, rest = divmod(data[3], kernel[3])
    if rest or not groups or kernel[0] % groups:
        raise context.refuse(f"{data[3]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
    need_bias(context, 2, kernel[0])
    height, width = window_output(context, data[1], kernel[1], "h"), window_output(context, data[2], kernel[2], "w")
    context.require_output((data[0], height, width, kernel[0]))


def check_depthwise_conv_2d(context: OperatorContext) -> None:
    """Check DEPTHWISE_CONV_2D."""
    need_all_scales(context)
    data, kernel = context.require_rank(0, 4), filter_dims(context, 1, 4)
    if data is None or kernel is None:
        return
    multiplier = context.option("depth_multiplier")
    if kernel[0] != 1 or data[3] < 1 or kernel[3] % data[3] or multiplier not in (0, kernel[3] // data[3]):
        what = f"{data[3]} channels times {multiplier} do not fit a filter of shape {list(kernel)}"
        raise context.refuse(what, "inputs[1]")
    need_bias(context, 2, kernel[3])
    height, width = window_output(context, data[1], kernel[1], "h"), window_output(context, data[2], kernel[2], "w")
    context.require_output((data[0], height, width, kernel[3]))


def check_transpose_conv(context: OperatorContext) -> None:
    """Check TRANSPOSE_CONV."""
    need_all_scales(context)
    shape, kernel, data = context.integers(0), filter_dims(context, 1, 4), context.require_rank(2, 4)
    if kernel is None or data is None:
        return
    if data[3] != kernel[3]:
        raise context.refuse(f"{data[3]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
    need_bias(context, 3, kernel[0])
    if shape is not None:
        if len(shape) != 4 or min(shape) < 1 or shape[0] != data[0] or shape[3] != kernel[0]:
            raise context.refuse(f"cannot give the shape {list(shape)}", "inputs[0]")
        need_bounded(context, product(shape))
        for axis, size, window, given in (("h", shape[1], kernel[1], data[1]), ("w", shape[2], kernel[2], data[2])):
            if window_output(context, size, window, axis) != given:
                raise context.refuse(f"{given} steps cannot give {size}", "inputs[0]")
        context.require_output(shape)


def check_conv_3d(context: OperatorContext) -> None:
    """Check CONV_3D."""
    data, kernel = context.require_rank(0, 5), filter_dims(context, 1, 5)
    if data is not None and kernel is not None:
        if data[4] != kernel[3]:
            raise context.refuse(f"{data[4]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
        need_bias(context, 2, kernel[4])


def check_fully_connected(context: OperatorContext) -> None:
    """Check FULLY_CONNECTED."""
    need_all_scales(context)
    data, weights = get_fixed_shape(context.require(0)), filter_dims(context, 1, 2)
    if data is None or weights is None:
        return
    rows, rest = divmod(product(data), weights[1])
    if rest:
        raise context.refuse(f"{product(data)} values do not divide into rows of {weights[1]}", "inputs[0]")
    need_bias(context, 2, weights[0])
    out = get_fixed_shape(context.output())
    if out is not None and (product(out) != rows * weights[0] or not out or out[-1] != weights[0]):
        raise context.refuse(f"the output's shape is {list(out)} for {rows} rows of {weights[0]}", "outputs[0]")


def check_pool(context: OperatorContext) -> None:
    """Check AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D."""
    data = context.require_rank(0, 4)
    if data is not None:
        height = window_output(context, data[1], context.option("filter_height"), "h")
        width = window_output(context, data[2], context.option("filter_width"), "w")
        context.require_output((data[0], height, width, data[3]))


def check_resize(context: OperatorContext) -> None:
    """Check RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""
    data, size = context.require_rank(0, 4), context.integers(1)
    if data is None or size is None:
        return
    if len(size) != 2 or min(size) < 1 or max(size) > MAX_STEP or min(data) < 1:
        raise context.refuse(f"cannot resize {list(data)} to {list(size)}", "inputs[1]")
    need_bounded(context, data[0] * size[0] * size[1] * data[3])
    context.require_output((data[0], *size, data[3]))


def check_lstm(context: OperatorContext) -> None:
    """Check that the weights of an LSTM agree in the number of inputs, cells and outputs."""
    if len(context.operator.inputs) < 20:
        return
    need_scales(context, context.outputs)
    data, weights, recurrent = (
        get_fixed_shape(context.require(0)),
        get_fixed_shape(context.require(2)),
        get_fixed_shape(context.require(6)),
    )
    if data is None or weights is None or recurrent is None:
        return
    if len(weights) != 2 or len(recurrent) != 2 or not data or weights[1] != data[-1] or recurrent[0] != weights[0]:
        raise context.refuse(f"weights of {list(weights)} and {list(recurrent)} do not fit inputs of {list(data)}")
    cells, outputs = recurrent
    for places, shape in (((1, 2, 3, 4), weights), ((5, 6, 7, 8), recurrent), ((9, 10, 11), (cells,)),
                          ((12, 13, 14, 15), (cells,)), ((16,), (outputs, cells)), ((17,), (outputs,)),
                          ((20, 21, 22, 23), (cells,))):  # fmt: skip
        for place in places:
            tensor = context.input(place)
            if tensor is not None and tensor.shape != shape:
                raise context.refuse(f"the shape is {list(tensor.shape)}; it must be {list(shape)}", f"inputs[{place}]")
    for place, count in ((18, outputs), (19, cells)):
        if context.require(place).elements % max(count, 1):
            raise context.refuse(f"a state of {context.require(place).elements} for {count}", f"inputs[{place}]")


def check_batch_matmul(context: OperatorContext) -> None:
    """Check BATCH_MATMUL."""
    need_all_scales(context)
    left, right = get_fixed_shape(context.require(0)), get_fixed_shape(context.require(1))
    if left is None or right is None:
        return
    if len(left) < 2 or len(right) < 2:
        raise context.refuse(f"{list(left)} and {list(right)} are not matrices")
    inner = left[-2] if context.option("adj_x") else left[-1]
    if inner != (right[-1] if context.option("adj_y") else right[-2]):
        raise context.refuse(f"{list(left)} and {list(right)} do not match")


def check_same_shape(context: OperatorContext) -> None:
    """Check ABS, NEG and similar operators."""
    dims = get_fixed_shape(context.require(0))
    if dims is not None:
        context.require_output(dims)


def check_same_scaled(context: OperatorContext) -> None:
    """Check RELU, RELU6 and similar operators."""
    need_all_scales(context)
    check_same_shape(context)


def check_broadcast(context: OperatorContext) -> None:
    """Check DIV, MAXIMUM and similar operators."""
    shapes = [get_fixed_shape(tensor) for tensor in context.inputs]
    fixed = [shape for shape in shapes if shape is not None]
    if len(fixed) != len(shapes):
        return
    rank = max(map(len, fixed))
    wide = [(1,) * (rank - len(shape)) + shape for shape in fixed]
    columns = [set(column) - {1} or {1} for column in zip(*wide, strict=True)]
    if any(len(column) > 1 for column in columns):
        raise context.refuse(f"the shapes {[list(shape) for shape in fixed]} do not match")
    context.require_output([column.pop() for column in columns])


def check_broadcast_scaled(context: OperatorContext) -> None:
    """Check ADD, SUB, MUL and similar operators; 16-bit integers may be plain numbers there."""
    need_scales(context, [*context.inputs, *context.outputs], ("int8", "uint8"))
    check_broadcast(context)


def check_quantize(context: OperatorContext) -> None:
    """Check QUANTIZE."""
    need_scales(context, context.outputs)
    check_same_shape(context)


def check_dequantize(context: OperatorContext) -> None:
    """Check DEQUANTIZE."""
    if context.require(0).dtype != "float16":
        need_scales(context, context.inputs)
    check_same_shape(context)


def check_densify(context: OperatorContext) -> None:
    """Check DENSIFY."""
    if context.require(0).sparsity is None:
        raise context.refuse("the input is not sparse", "inputs[0]")
    check_same_shape(context)

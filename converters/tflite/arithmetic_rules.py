"""Rules of arithmetic: convolutions, pools, dense and recurrent layers, and what works element by element.

What is refused is what native kernels divide by, index with or allocate from. A shape with a dimension that may change
is not judged; the runtime computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from converters.tflite.contents import Tensor
from converters.tflite.operator_context import Call, Dims, known, product

VALID = 1  # the other padding is SAME
MAX_STEP = 1 << 16
QUANTIZED = ("INT8", "UINT8", "INT16", "INT4")


def window_output(call: Call, size: int, kernel: int, axis: str) -> int | None:
    """Return the size of a convolution's or pool's output along "h" or "w"."""
    stride = call.option(f"stride_{axis}")
    reach = (kernel - 1) * call.options.get(f"dilation_{axis}_factor", 1) + 1
    if call.option("padding") == VALID:
        size = size - reach + 1
    out = -(-size // stride)
    if kernel < 1 or out < 1:
        raise call.refuse(f"a window of {reach} does not fit into {size}")
    return out


def need_scales(call: Call, tensors: Sequence[Tensor], types: Sequence[str] = QUANTIZED) -> None:
    """Refuse 8-bit and 16-bit arithmetic on tensors without a scale: kernels divide by it."""
    for tensor in tensors:
        if tensor.type in types and not tensor.scales():
            raise call.refuse(f"the {tensor.type} tensor {tensor.name!r} has no scale")


def need_all_scales(call: Call) -> None:
    """Refuse 8-bit and 16-bit inputs and outputs without a scale."""
    need_scales(call, [*call.input_tensors, *call.output_tensors])


def need_bounded(call: Call, elements: int) -> None:
    """Refuse an output of more than 2^31 elements."""
    if elements > 1 << 31:
        raise call.refuse(f"would give {elements} elements", "outputs[0]")


def need_bias(call: Call, place: int, count: int) -> None:
    """Refuse a bias that has not one element per channel."""
    bias = call.input(place)
    if bias is not None and bias.elements != count:
        raise call.refuse(f"the bias has {bias.elements} elements for {count} channels", f"inputs[{place}]")


def filter_dims(call: Call, place: int, *ranks: int) -> Dims | None:
    """Return the known dimensions of a filter, refusing empty ones."""
    dims = call.rank(place, *ranks)
    if dims is not None and min(dims) < 1:
        raise call.refuse(f"the filter's shape is {list(dims)}", f"inputs[{place}]")
    return dims


def check_conv_2d(call: Call) -> None:
    """Judge CONV_2D."""
    need_all_scales(call)
    data, kernel = call.rank(0, 4), filter_dims(call, 1, 4)
    if data is None or kernel is None:
        return
    groups, rest = divmod(data[3], kernel[3])
    if rest or not groups or kernel[0] % groups:
        raise call.refuse(f"{data[3]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
    need_bias(call, 2, kernel[0])
    height, width = window_output(call, data[1], kernel[1], "h"), window_output(call, data[2], kernel[2], "w")
    call.expect((data[0], height, width, kernel[0]))


def check_depthwise_conv_2d(call: Call) -> None:
    """Judge DEPTHWISE_CONV_2D."""
    need_all_scales(call)
    data, kernel = call.rank(0, 4), filter_dims(call, 1, 4)
    if data is None or kernel is None:
        return
    multiplier = call.option("depth_multiplier")
    if kernel[0] != 1 or data[3] < 1 or kernel[3] % data[3] or multiplier not in (0, kernel[3] // data[3]):
        what = f"{data[3]} channels times {multiplier} do not fit a filter of shape {list(kernel)}"
        raise call.refuse(what, "inputs[1]")
    need_bias(call, 2, kernel[3])
    height, width = window_output(call, data[1], kernel[1], "h"), window_output(call, data[2], kernel[2], "w")
    call.expect((data[0], height, width, kernel[3]))


def check_transpose_conv(call: Call) -> None:
    """Judge TRANSPOSE_CONV."""
    need_all_scales(call)
    shape, kernel, data = call.constant(0), filter_dims(call, 1, 4), call.rank(2, 4)
    if kernel is None or data is None:
        return
    if data[3] != kernel[3]:
        raise call.refuse(f"{data[3]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
    need_bias(call, 3, kernel[0])
    if shape is not None:
        if len(shape) != 4 or min(shape) < 1 or shape[0] != data[0] or shape[3] != kernel[0]:
            raise call.refuse(f"cannot give the shape {list(shape)}", "inputs[0]")
        need_bounded(call, product(shape))
        for axis, size, window, given in (("h", shape[1], kernel[1], data[1]), ("w", shape[2], kernel[2], data[2])):
            if window_output(call, size, window, axis) != given:
                raise call.refuse(f"{given} steps cannot give {size}", "inputs[0]")
        call.expect(shape)


def check_conv_3d(call: Call) -> None:
    """Judge CONV_3D."""
    data, kernel = call.rank(0, 5), filter_dims(call, 1, 5)
    if data is not None and kernel is not None:
        if data[4] != kernel[3]:
            raise call.refuse(f"{data[4]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
        need_bias(call, 2, kernel[4])


def check_fully_connected(call: Call) -> None:
    """Judge FULLY_CONNECTED."""
    need_all_scales(call)
    data, weights = known(call.need(0)), filter_dims(call, 1, 2)
    if data is None or weights is None:
        return
    rows, rest = divmod(product(data), weights[1])
    if rest:
        raise call.refuse(f"{product(data)} values do not divide into rows of {weights[1]}", "inputs[0]")
    need_bias(call, 2, weights[0])
    out = known(call.output())
    if out is not None and (product(out) != rows * weights[0] or not out or out[-1] != weights[0]):
        raise call.refuse(f"the output's shape is {list(out)} for {rows} rows of {weights[0]}", "outputs[0]")


def check_pool(call: Call) -> None:
    """Judge AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D."""
    data = call.rank(0, 4)
    if data is not None:
        height = window_output(call, data[1], call.option("filter_height"), "h")
        width = window_output(call, data[2], call.option("filter_width"), "w")
        call.expect((data[0], height, width, data[3]))


def check_resize(call: Call) -> None:
    """Judge RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""
    data, size = call.rank(0, 4), call.constant(1)
    if data is None or size is None:
        return
    if len(size) != 2 or min(size) < 1 or max(size) > MAX_STEP or min(data) < 1:
        raise call.refuse(f"cannot resize {list(data)} to {list(size)}", "inputs[1]")
    need_bounded(call, data[0] * size[0] * size[1] * data[3])
    call.expect((data[0], *size, data[3]))


def check_lstm(call: Call) -> None:
    """Check that the weights of an LSTM belong to one number of inputs, cells and outputs."""
    if len(call.operator.inputs) < 20:
        return
    need_scales(call, call.output_tensors)
    data, weights, recurrent = known(call.need(0)), known(call.need(2)), known(call.need(6))
    if data is None or weights is None or recurrent is None:
        return
    if len(weights) != 2 or len(recurrent) != 2 or not data or weights[1] != data[-1] or recurrent[0] != weights[0]:
        raise call.refuse(f"weights of {list(weights)} and {list(recurrent)} do not fit inputs of {list(data)}")
    cells, outputs = recurrent
    for places, shape in (((1, 2, 3, 4), weights), ((5, 6, 7, 8), recurrent), ((9, 10, 11), (cells,)),
                          ((12, 13, 14, 15), (cells,)), ((16,), (outputs, cells)), ((17,), (outputs,)),
                          ((20, 21, 22, 23), (cells,))):  # fmt: skip
        for place in places:
            tensor = call.input(place)
            if tensor is not None and tensor.shape != shape:
                raise call.refuse(f"the shape is {list(tensor.shape)}; it must be {list(shape)}", f"inputs[{place}]")
    for place, count in ((18, outputs), (19, cells)):
        if call.need(place).elements % max(count, 1):
            raise call.refuse(f"a state of {call.need(place).elements} for {count}", f"inputs[{place}]")


def check_batch_matmul(call: Call) -> None:
    """Judge BATCH_MATMUL."""
    need_all_scales(call)
    left, right = known(call.need(0)), known(call.need(1))
    if left is None or right is None:
        return
    if len(left) < 2 or len(right) < 2:
        raise call.refuse(f"{list(left)} and {list(right)} are no matrices")
    inner = left[-2] if call.option("adj_x") else left[-1]
    if inner != (right[-1] if call.option("adj_y") else right[-2]):
        raise call.refuse(f"{list(left)} and {list(right)} do not go together")


def check_same_shape(call: Call) -> None:
    """Judge ABS, NEG and their like."""
    dims = known(call.need(0))
    if dims is not None:
        call.expect(dims)


def check_same_scaled(call: Call) -> None:
    """Judge RELU, RELU6 and their like."""
    need_all_scales(call)
    check_same_shape(call)


def check_broadcast(call: Call) -> None:
    """Judge DIV, MAXIMUM and their like."""
    shapes = [known(tensor) for tensor in call.input_tensors]
    fixed = [shape for shape in shapes if shape is not None]
    if len(fixed) != len(shapes):
        return
    rank = max(map(len, fixed))
    wide = [(1,) * (rank - len(shape)) + shape for shape in fixed]
    columns = [set(column) - {1} or {1} for column in zip(*wide, strict=True)]
    if any(len(column) > 1 for column in columns):
        raise call.refuse(f"the shapes {[list(shape) for shape in fixed]} do not go together")
    call.expect([column.pop() for column in columns])


def check_broadcast_scaled(call: Call) -> None:
    """Judge ADD, SUB, MUL and their like; 16-bit integers may be plain numbers there."""
    need_scales(call, [*call.input_tensors, *call.output_tensors], ("INT8", "UINT8"))
    check_broadcast(call)


def check_quantize(call: Call) -> None:
    """Judge QUANTIZE."""
    need_scales(call, call.output_tensors)
    check_same_shape(call)


def check_dequantize(call: Call) -> None:
    """Judge DEQUANTIZE."""
    if call.need(0).type != "FLOAT16":
        need_scales(call, call.input_tensors)
    check_same_shape(call)


def check_densify(call: Call) -> None:
    """Judge DENSIFY."""
    if call.need(0).sparsity is None:
        raise call.refuse("the input is not sparse", "inputs[0]")
    check_same_shape(call)

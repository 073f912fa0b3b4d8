"""The rules of shapes, axes and constants, operator by operator.

What is refused is what native kernels divide by, index with or allocate from. A shape with a dimension that may change
is not judged; the runtime computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from edge.runtime.call import Call, Dims, known, product
from edge.runtime.contents import Tensor

Rule = Callable[[Call], None]
SAME, VALID = 0, 1
MAX_STEP = 1 << 16
_QUANTIZED = ("INT8", "UINT8", "INT16", "INT4")


def _window(call: Call, size: int, kernel: int, axis: str) -> int | None:
    """Return the size of a convolution's or pool's output along "h" or "w"."""
    stride = call.option(f"stride_{axis}")
    reach = (kernel - 1) * call.options.get(f"dilation_{axis}_factor", 1) + 1
    if call.option("padding") == VALID:
        size = size - reach + 1
    out = -(-size // stride)
    if kernel < 1 or out < 1:
        raise call.refuse(f"a window of {reach} does not fit into {size}")
    return out


def _scaled(call: Call, tensors: Sequence[Tensor]) -> None:
    """Refuse 8-bit and 16-bit arithmetic on tensors without a scale: kernels divide by it."""
    for tensor in tensors:
        if tensor.type in _QUANTIZED and not tensor.scales():
            raise call.refuse(f"the {tensor.type} tensor {tensor.name!r} has no scale")


def _arithmetic(call: Call) -> None:
    _scaled(call, [*call.input_tensors, *call.output_tensors])


def _bias(call: Call, place: int, count: int) -> None:
    bias = call.input(place)
    if bias is not None and bias.elements != count:
        raise call.refuse(f"the bias has {bias.elements} elements for {count} channels", f"inputs[{place}]")


def _filter(call: Call, place: int, *ranks: int) -> Dims | None:
    dims = call.rank(place, *ranks)
    if dims is not None and min(dims) < 1:
        raise call.refuse(f"the filter's shape is {list(dims)}", f"inputs[{place}]")
    return dims


def _conv_2d(call: Call) -> None:
    _arithmetic(call)
    data, kernel = call.rank(0, 4), _filter(call, 1, 4)
    if data is None or kernel is None:
        return
    groups, rest = divmod(data[3], kernel[3])
    if rest or not groups or kernel[0] % groups:
        raise call.refuse(f"{data[3]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
    _bias(call, 2, kernel[0])
    height, width = _window(call, data[1], kernel[1], "h"), _window(call, data[2], kernel[2], "w")
    call.expect((data[0], height, width, kernel[0]))


def _depthwise_conv_2d(call: Call) -> None:
    _arithmetic(call)
    data, kernel = call.rank(0, 4), _filter(call, 1, 4)
    if data is None or kernel is None:
        return
    multiplier = call.option("depth_multiplier")
    if kernel[0] != 1 or data[3] < 1 or kernel[3] % data[3] or multiplier not in (0, kernel[3] // data[3]):
        what = f"{data[3]} channels times {multiplier} do not fit a filter of shape {list(kernel)}"
        raise call.refuse(what, "inputs[1]")
    _bias(call, 2, kernel[3])
    height, width = _window(call, data[1], kernel[1], "h"), _window(call, data[2], kernel[2], "w")
    call.expect((data[0], height, width, kernel[3]))


def _transpose_conv(call: Call) -> None:
    _arithmetic(call)
    shape, kernel, data = call.constant(0), _filter(call, 1, 4), call.rank(2, 4)
    if kernel is None or data is None:
        return
    if data[3] != kernel[3]:
        raise call.refuse(f"{data[3]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
    _bias(call, 3, kernel[0])
    if shape is not None:
        if len(shape) != 4 or min(shape) < 1 or shape[0] != data[0] or shape[3] != kernel[0]:
            raise call.refuse(f"cannot give the shape {list(shape)}", "inputs[0]")
        _bounded(call, product(shape))
        for axis, size, window, given in (("h", shape[1], kernel[1], data[1]), ("w", shape[2], kernel[2], data[2])):
            if _window(call, size, window, axis) != given:
                raise call.refuse(f"{given} steps cannot give {size}", "inputs[0]")
        call.expect(shape)


def _conv_3d(call: Call) -> None:
    data, kernel = call.rank(0, 5), _filter(call, 1, 5)
    if data is not None and kernel is not None:
        if data[4] != kernel[3]:
            raise call.refuse(f"{data[4]} channels do not fit a filter of shape {list(kernel)}", "inputs[1]")
        _bias(call, 2, kernel[4])


def _fully_connected(call: Call) -> None:
    _arithmetic(call)
    data, weights = known(call.need(0)), _filter(call, 1, 2)
    if data is None or weights is None:
        return
    rows, rest = divmod(product(data), weights[1])
    if rest:
        raise call.refuse(f"{product(data)} values do not divide into rows of {weights[1]}", "inputs[0]")
    _bias(call, 2, weights[0])
    out = known(call.output())
    if out is not None and (product(out) != rows * weights[0] or not out or out[-1] != weights[0]):
        raise call.refuse(f"the output's shape is {list(out)} for {rows} rows of {weights[0]}", "outputs[0]")


def _pool(call: Call) -> None:
    _arithmetic(call)
    data = call.rank(0, 4)
    if data is not None:
        height = _window(call, data[1], call.option("filter_height"), "h")
        width = _window(call, data[2], call.option("filter_width"), "w")
        call.expect((data[0], height, width, data[3]))


def _same_shape(call: Call) -> None:
    dims = known(call.need(0))
    if dims is not None:
        call.expect(dims)


def _same_scaled(call: Call) -> None:
    _arithmetic(call)
    _same_shape(call)


def _broadcast(call: Call) -> None:
    shapes = [known(tensor) if tensor.data is not None or tensor.shape else () for tensor in call.input_tensors]
    fixed = [shape for shape in shapes if shape is not None]
    if len(fixed) != len(shapes):
        return
    rank = max(map(len, fixed))
    wide = [(1,) * (rank - len(shape)) + shape for shape in fixed]
    columns = [set(column) - {1} or {1} for column in zip(*wide, strict=True)]
    if any(len(column) > 1 for column in columns):
        raise call.refuse(f"the shapes {[list(shape) for shape in fixed]} do not go together")
    call.expect([column.pop() for column in columns])


def _broadcast_scaled(call: Call) -> None:
    _arithmetic(call)
    _broadcast(call)


def _concatenation(call: Call) -> None:
    _arithmetic(call)
    shapes = [known(tensor) for tensor in call.input_tensors]
    fixed = [shape for shape in shapes if shape is not None]
    if len(fixed) != len(shapes) or not fixed:
        return
    axis = call.axis(call.option("axis"), len(fixed[0]), "builtin_options.axis")
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in fixed}
    if len(rests) != 1 or len({len(shape) for shape in fixed}) != 1:
        raise call.refuse(f"the shapes {[list(shape) for shape in fixed]} do not go together along {axis}")
    total = sum(shape[axis] for shape in fixed)
    call.expect((*fixed[0][:axis], total, *fixed[0][axis + 1 :]))


def _reshape(call: Call) -> None:
    data = known(call.need(0))
    wanted = call.constant(1) if len(call.operator.inputs) > 1 else _option_vector(call, "new_shape")
    if wanted is not None and (min(wanted, default=0) < -1 or wanted.count(-1) > 1 or len(wanted) > 8):
        raise call.refuse(f"cannot give the shape {list(wanted)}", "inputs[1]")
    out = known(call.output())
    if data is None:
        return
    if wanted and -1 not in wanted and product(wanted) != product(data):
        raise call.refuse(f"{list(data)} has not as many elements as {list(wanted)}", "inputs[1]")
    if out is not None and product(out) != product(data):
        raise call.refuse(f"{list(data)} has not as many elements as {list(out)}", "outputs[0]")


def _option_vector(call: Call, name: str) -> Dims | None:
    value = call.options.get(name)
    return None if value is None else tuple(value.tolist())


def _axes(call: Call) -> None:
    dims, axes = known(call.need(0)), call.constant(1)
    if dims is not None and axes is not None:
        for axis in axes:
            call.axis(axis, len(dims), "inputs[1]")


def _mean(call: Call) -> None:
    _arithmetic(call)
    _axes(call)


def _transpose(call: Call) -> None:
    dims, order = known(call.need(0)), call.constant(1)
    if dims is None or order is None:
        return
    places = [call.axis(axis, len(dims), "inputs[1]") for axis in order]
    if sorted(places) != list(range(len(dims))):
        raise call.refuse(f"{list(order)} is no order of {len(dims)} dimensions", "inputs[1]")
    call.expect([dims[place] for place in places])


def _pairs(call: Call, place: int, count: int) -> list[tuple[int, int]] | None:
    values = call.constant(place)
    if values is None:
        return None
    if len(values) != 2 * count or min(values, default=0) < 0 or max(values, default=0) > MAX_STEP:
        raise call.refuse(f"{list(values[:16])} are no paddings of {count} dimensions", f"inputs[{place}]")
    return list(zip(values[::2], values[1::2], strict=True))


def _pad(call: Call) -> None:
    dims = known(call.need(0))
    pairs = None if dims is None else _pairs(call, 1, len(dims))
    if dims is None or pairs is None:
        return
    short = 1 - call.option("mode")  # REFLECT cannot repeat the edge itself
    if call.operator.op == "MIRROR_PAD" and any(max(pair) > d - short for pair, d in zip(pairs, dims, strict=True)):
        raise call.refuse(f"{list(dims)} cannot be mirrored by {pairs}", "inputs[1]")
    out = [size + before + after for size, (before, after) in zip(dims, pairs, strict=True)]
    _bounded(call, product(out))
    call.expect(out)


def _bounded(call: Call, elements: int) -> None:
    if elements > 1 << 31:
        raise call.refuse(f"would give {elements} elements", "outputs[0]")


def _gather(call: Call) -> None:
    dims, indices = known(call.need(0)), call.constant(1)
    if dims is None:
        return
    axis = call.axis(call.option("axis"), len(dims), "builtin_options.axis")
    batch = call.option("batch_dims")
    if not -len(call.need(1).shape) <= batch <= min(len(call.need(1).shape), len(dims)):
        raise call.refuse(f"has batch_dims = {batch}", "builtin_options.batch_dims")
    if indices and not (min(indices) >= 0 and max(indices) < dims[axis]):
        raise call.refuse(f"an index is outside dimension {axis} of {list(dims)}", "inputs[1]")


def _embedding_lookup(call: Call) -> None:
    rows, indices = call.need(1).shape, call.constant(0)
    if len(rows) < 2 or (indices and not (min(indices) >= 0 and max(indices) < rows[0])):
        raise call.refuse(f"an index is outside a table of shape {list(rows)}")


def _split(call: Call) -> None:
    dims, axes, count = known(call.need(1)), call.constant(0), call.option("num_splits")
    if count != len(call.operator.outputs):
        raise call.refuse(f"has num_splits = {count} and {len(call.operator.outputs)} outputs", "outputs")
    if dims is None or axes is None:
        return
    axis = call.axis(axes[0] if len(axes) == 1 else len(dims), len(dims), "inputs[0]")
    if dims[axis] % count:
        raise call.refuse(f"{count} parts do not divide dimension {axis} of {list(dims)}", "inputs[1]")
    for place in range(count):
        call.expect([size // count if each == axis else size for each, size in enumerate(dims)], place)


def _split_v(call: Call) -> None:
    dims, sizes, axes = known(call.need(0)), call.constant(1), call.constant(2)
    count = len(call.operator.outputs)
    if call.option("num_splits") != count:
        raise call.refuse(f"has num_splits = {call.option('num_splits')} and {count} outputs", "outputs")
    if dims is None or sizes is None or axes is None:
        return
    axis = call.axis(axes[0] if len(axes) == 1 else len(dims), len(dims), "inputs[2]")
    rest = dims[axis] - sum(size for size in sizes if size >= 0)
    whole = rest >= 0 if -1 in sizes else rest == 0
    if len(sizes) != count or min(sizes) < -1 or sizes.count(-1) > 1 or not whole:
        raise call.refuse(f"the sizes {list(sizes[:16])} do not divide dimension {axis} of {list(dims)}", "inputs[1]")


def _squeeze(call: Call) -> None:
    dims = known(call.need(0))
    for axis in _option_vector(call, "squeeze_dims") or ():
        if dims is not None and dims[call.axis(axis, len(dims), "builtin_options.squeeze_dims")] != 1:
            raise call.refuse(f"dimension {axis} of {list(dims)} is not 1", "builtin_options.squeeze_dims")
    out = known(call.output())
    if dims is not None and out is not None and product(out) != product(dims):
        raise call.refuse(f"{list(dims)} has not as many elements as {list(out)}", "outputs[0]")


def _strided_slice(call: Call) -> None:
    rank = len(call.need(0).shape)
    counts = {call.need(place).elements for place in (1, 2, 3) if call.need(place).data is not None}
    # Each new axis is one more entry than the input has dimensions.
    if len(counts) > 1 or max(counts, default=0) > rank + call.option("new_axis_mask").bit_count():
        raise call.refuse(f"begin, end and strides have {sorted(counts)} entries for {rank} dimensions")
    if 0 in (call.constant(3) or ()):
        raise call.refuse("has a stride of 0", "inputs[3]")


def _slice(call: Call) -> None:
    dims, begin, size = known(call.need(0)), call.constant(1), call.constant(2)
    if dims is None or begin is None or size is None:
        return
    if len(begin) != len(dims) or len(size) != len(dims):
        raise call.refuse(f"{list(begin)} and {list(size)} do not fit {list(dims)}")
    for start, count, limit in zip(begin, size, dims, strict=True):
        if start < 0 or count < -1 or start + max(count, 0) > limit:
            raise call.refuse(f"{list(begin)} to {list(size)} lies outside {list(dims)}")


def _resize(call: Call) -> None:
    _arithmetic(call)
    data, size = call.rank(0, 4), call.constant(1)
    if data is None or size is None:
        return
    if len(size) != 2 or min(size) < 1 or max(size) > MAX_STEP or min(data) < 1:
        raise call.refuse(f"cannot resize {list(data)} to {list(size)}", "inputs[1]")
    _bounded(call, data[0] * size[0] * size[1] * data[3])
    call.expect((data[0], *size, data[3]))


def _axis_option(call: Call) -> None:
    """Check the axis of PACK (which adds one) and UNPACK (which takes one away)."""
    dims = known(call.need(0))
    if dims is None:
        return
    axis = call.axis(call.option("axis"), len(dims) + (call.operator.op == "PACK"), "builtin_options.axis")
    if call.operator.op == "PACK":
        if call.option("values_count") != len(call.operator.inputs):
            raise call.refuse(f"has values_count = {call.option('values_count')}", "inputs")
        if any(known(tensor) not in (None, dims) for tensor in call.input_tensors):
            raise call.refuse("the inputs' shapes differ")
        call.expect((*dims[:axis], len(call.operator.inputs), *dims[axis:]))
    elif not call.option("num") == len(call.operator.outputs) == dims[axis]:
        raise call.refuse(f"dimension {axis} of {list(dims)} gives not {len(call.operator.outputs)} outputs", "outputs")


def _axis_input(call: Call) -> None:
    """Check the axis of EXPAND_DIMS (which adds one), ARG_MAX, ARG_MIN and CUMSUM."""
    dims, axes = known(call.need(0)), call.constant(1)
    if dims is not None and axes is not None:
        more = call.operator.op == "EXPAND_DIMS"
        call.axis(axes[0] if len(axes) == 1 else len(dims) + 1, len(dims) + more, "inputs[1]")


def _counts(call: Call) -> None:
    """Check the sizes that TILE, FILL, BROADCAST_TO and TOPK_V2 are told."""
    place = 0 if call.operator.op == "FILL" else 1
    values = call.constant(place)
    if values is None:
        return
    if min(values, default=0) < 0:
        raise call.refuse(f"is told {list(values[:16])}", f"inputs[{place}]")
    if call.operator.op == "TOPK_V2":
        dims = known(call.need(0))
        if len(values) != 1 or (dims is not None and (not dims or values[0] > dims[-1])):
            raise call.refuse(f"cannot take {list(values[:16])} of {dims}", f"inputs[{place}]")
        return
    whole = product(call.need(0).shape) if call.operator.op == "TILE" else 1
    _bounded(call, whole * product(values))


def _blocks(call: Call) -> None:
    """Check the blocks of SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND and their paddings or crops."""
    dims, blocks = known(call.need(0)), call.constant(1)
    if blocks is None or dims is None:
        return
    pairs = _pairs(call, 2, len(blocks))
    if min(blocks, default=1) < 1 or max(blocks, default=1) > MAX_STEP or len(blocks) >= len(dims):
        raise call.refuse(f"the blocks are {list(blocks)} for {list(dims)}", "inputs[1]")
    if call.operator.op == "BATCH_TO_SPACE_ND":
        sizes = [size * block for size, block in zip(dims[1:], blocks, strict=False)]
        if dims[0] % product(blocks) or (pairs and any(sum(p) > s for p, s in zip(pairs, sizes, strict=True))):
            raise call.refuse(f"{list(dims)} does not divide into blocks of {list(blocks)}", "inputs[1]")
    elif pairs and any((s + sum(p)) % b for s, p, b in zip(dims[1:], pairs, blocks, strict=False)):
        raise call.refuse(f"{list(dims)} does not divide into blocks of {list(blocks)}", "inputs[1]")


def _block_size(call: Call) -> None:
    data, block = call.rank(0, 4), call.option("block_size")
    if data is None:
        return
    if call.operator.op == "DEPTH_TO_SPACE":
        fits, out = data[3] % block**2 == 0, (data[0], data[1] * block, data[2] * block, data[3] // block**2)
    else:
        fits, out = (
            not (data[1] % block or data[2] % block),
            (data[0], data[1] // block, data[2] // block, data[3] * block**2),
        )
    if not fits:
        raise call.refuse(f"blocks of {block} do not fit {list(data)}", "builtin_options.block_size")
    call.expect(out)


def _lstm(call: Call) -> None:
    """Check that the weights of an LSTM belong to one number of inputs, cells and outputs."""
    if len(call.operator.inputs) < 20:
        return
    _scaled(call, call.output_tensors)
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


def _densify(call: Call) -> None:
    if call.need(0).sparsity is None:
        raise call.refuse("the input is not sparse", "inputs[0]")
    _same_shape(call)


def _batch_matmul(call: Call) -> None:
    _arithmetic(call)
    left, right = known(call.need(0)), known(call.need(1))
    if left is None or right is None:
        return
    if len(left) < 2 or len(right) < 2:
        raise call.refuse(f"{list(left)} and {list(right)} are no matrices")
    inner = left[-2] if call.option("adj_x") else left[-1]
    if inner != (right[-1] if call.option("adj_y") else right[-2]):
        raise call.refuse(f"{list(left)} and {list(right)} do not go together")


def _quantize(call: Call) -> None:
    _scaled(call, call.output_tensors)
    _same_shape(call)


def _dequantize(call: Call) -> None:
    if call.need(0).type != "FLOAT16":
        _scaled(call, call.input_tensors)
    _same_shape(call)


RULES: Mapping[str, Rule] = MappingProxyType({
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX",
                     "HARD_SWISH", "LEAKY_RELU", "ELU", "GELU", "L2_NORMALIZATION", "RSQRT", "SQRT", "EXP",
                     "LOCAL_RESPONSE_NORMALIZATION"), _same_scaled),
    **dict.fromkeys(("ABS", "NEG", "FLOOR", "CEIL", "ROUND", "SIN", "COS", "LOG", "SQUARE", "SIGN", "LOGICAL_NOT",
                     "CAST", "ZEROS_LIKE", "FAKE_QUANT", "REVERSE_V2"), _same_shape),
    **dict.fromkeys(("ADD", "SUB", "MUL", "PRELU", "SQUARED_DIFFERENCE"), _broadcast_scaled),
    **dict.fromkeys(("DIV", "MAXIMUM", "MINIMUM", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "POW",
                     "NOT_EQUAL", "FLOOR_DIV", "FLOOR_MOD", "LOGICAL_AND", "LOGICAL_OR", "BITWISE_XOR",
                     "SELECT_V2"), _broadcast),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), _pool),
    **dict.fromkeys(("SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL"), _axes),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize),
    **dict.fromkeys(("PACK", "UNPACK"), _axis_option),
    **dict.fromkeys(("EXPAND_DIMS", "ARG_MAX", "ARG_MIN", "CUMSUM"), _axis_input),
    **dict.fromkeys(("TILE", "FILL", "BROADCAST_TO", "TOPK_V2"), _counts),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), _blocks),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _block_size),
    **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"), _lstm),
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": _concatenation,
    "RESHAPE": _reshape,
    "MEAN": _mean,
    "TRANSPOSE": _transpose,
    "GATHER": _gather,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "BATCH_MATMUL": _batch_matmul,
    "DENSIFY": _densify,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
})  # fmt: skip

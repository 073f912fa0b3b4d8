"""Checks operators that move values: axes, paddings, slices, indices and blocks, given by options or constants.

Values are refused that native kernels would divide by, index with or allocate from. Shapes with a dimension that may
change are not checked; the runtime computes them.
"""

from __future__ import annotations

from converters.tflite.arithmetic_rules import MAX_STEP, need_all_scales, need_bounded
from converters.tflite.operator_context import Dims, OperatorContext, get_fixed_shape, product


def check_concatenation(context: OperatorContext) -> None:
    """Check CONCATENATION."""
    shapes = [get_fixed_shape(tensor) for tensor in context.inputs]
    fixed = [shape for shape in shapes if shape is not None]
    if len(fixed) != len(shapes) or not fixed:
        return
    axis = context.require_axis(context.option("axis"), len(fixed[0]), "builtin_options.axis")
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in fixed}
    if len(rests) != 1 or len({len(shape) for shape in fixed}) != 1:
        raise context.refuse(f"the shapes {[list(shape) for shape in fixed]} do not match along {axis}")
    total = sum(shape[axis] for shape in fixed)
    context.require_output((*fixed[0][:axis], total, *fixed[0][axis + 1 :]))


def check_reshape(context: OperatorContext) -> None:
    """Check RESHAPE."""
    data = get_fixed_shape(context.require(0))
    wanted = context.integers(1) if len(context.operator.inputs) > 1 else option_vector(context, "new_shape")
    if wanted is not None and (min(wanted, default=0) < -1 or wanted.count(-1) > 1 or len(wanted) > 8):
        raise context.refuse(f"cannot give the shape {list(wanted)}", "inputs[1]")
    out = get_fixed_shape(context.output())
    if data is None:
        return
    if wanted and -1 not in wanted and product(wanted) != product(data):
        raise context.refuse(f"{list(data)} does not have as many elements as {list(wanted)}", "inputs[1]")
    if out is not None and product(out) != product(data):
        raise context.refuse(f"{list(data)} does not have as many elements as {list(out)}", "outputs[0]")


def option_vector(context: OperatorContext, name: str) -> Dims | None:
    """Return a vector of the options, None where it is absent."""
    value = context.options.stored.get(name)
    return None if value is None else tuple(value.tolist())


def check_axes(context: OperatorContext) -> None:
    """Check SUM, REDUCE_PROD and similar operators."""
    dims, axes = get_fixed_shape(context.require(0)), context.integers(1)
    if dims is not None and axes is not None:
        for axis in axes:
            context.require_axis(axis, len(dims), "inputs[1]")


def check_mean(context: OperatorContext) -> None:
    """Check MEAN."""
    need_all_scales(context)
    check_axes(context)


def check_transpose(context: OperatorContext) -> None:
    """Check TRANSPOSE."""
    dims, order = get_fixed_shape(context.require(0)), context.integers(1)
    if dims is None or order is None:
        return
    places = [context.require_axis(axis, len(dims), "inputs[1]") for axis in order]
    if sorted(places) != list(range(len(dims))):
        raise context.refuse(f"{list(order)} is not an order of {len(dims)} dimensions", "inputs[1]")
    context.require_output([dims[place] for place in places])


def padding_pairs(context: OperatorContext, place: int, count: int) -> list[tuple[int, int]] | None:
    """Return the paddings of each dimension, None where they are not constant."""
    values = context.integers(place)
    if values is None:
        return None
    if len(values) != 2 * count or min(values, default=0) < 0 or max(values, default=0) > MAX_STEP:
        raise context.refuse(f"{list(values[:16])} are not paddings of {count} dimensions", f"inputs[{place}]")
    return list(zip(values[::2], values[1::2], strict=True))


def check_pad(context: OperatorContext) -> None:
    """Check PAD, PADV2 and MIRROR_PAD."""
    dims = get_fixed_shape(context.require(0))
    pairs = None if dims is None else padding_pairs(context, 1, len(dims))
    if dims is None or pairs is None:
        return
    short = 1 - context.option("mode")  # REFLECT cannot repeat the edge itself
    if context.name == "MIRROR_PAD" and any(max(pair) > d - short for pair, d in zip(pairs, dims, strict=True)):
        raise context.refuse(f"{list(dims)} cannot be mirrored by {pairs}", "inputs[1]")
    out = [size + before + after for size, (before, after) in zip(dims, pairs, strict=True)]
    need_bounded(context, product(out))
    context.require_output(out)


def check_gather(context: OperatorContext) -> None:
    """Check GATHER."""
    dims, indices = get_fixed_shape(context.require(0)), context.integers(1)
    if dims is None:
        return
    axis = context.require_axis(context.option("axis"), len(dims), "builtin_options.axis")
    batch = context.option("batch_dims")
    if not -len(context.require(1).shape) <= batch <= min(len(context.require(1).shape), len(dims)):
        raise context.refuse(f"has batch_dims = {batch}", "builtin_options.batch_dims")
    if indices and not (min(indices) >= 0 and max(indices) < dims[axis]):
        raise context.refuse(f"an index is outside dimension {axis} of {list(dims)}", "inputs[1]")


def check_embedding_lookup(context: OperatorContext) -> None:
    """Check EMBEDDING_LOOKUP."""
    rows, indices = context.require(1).shape, context.integers(0)
    if len(rows) < 2 or (indices and not (min(indices) >= 0 and max(indices) < rows[0])):
        raise context.refuse(f"an index is outside a table of shape {list(rows)}")


def check_split(context: OperatorContext) -> None:
    """Check SPLIT."""
    dims, axes, count = get_fixed_shape(context.require(1)), context.integers(0), context.option("num_splits")
    if count != len(context.operator.outputs):
        raise context.refuse(f"has num_splits = {count} and {len(context.operator.outputs)} outputs", "outputs")
    if dims is None or axes is None:
        return
    axis = context.require_axis(axes[0] if len(axes) == 1 else len(dims), len(dims), "inputs[0]")
    if dims[axis] % count:
        raise context.refuse(f"{count} parts do not divide dimension {axis} of {list(dims)}", "inputs[1]")
    for place in range(count):
        context.require_output([size // count if each == axis else size for each, size in enumerate(dims)], place)


def check_split_v(context: OperatorContext) -> None:
    """Check SPLIT_V."""
    dims, sizes, axes = get_fixed_shape(context.require(0)), context.integers(1), context.integers(2)
    count = len(context.operator.outputs)
    if context.option("num_splits") != count:
        raise context.refuse(f"has num_splits = {context.option('num_splits')} and {count} outputs", "outputs")
    if dims is None or sizes is None or axes is None:
        return
    axis = context.require_axis(axes[0] if len(axes) == 1 else len(dims), len(dims), "inputs[2]")
    rest = dims[axis] - sum(size for size in sizes if size >= 0)
    whole = rest >= 0 if -1 in sizes else rest == 0
    if len(sizes) != count or min(sizes) < -1 or sizes.count(-1) > 1 or not whole:
        raise context.refuse(
            f"the sizes {list(sizes[:16])} do not divide dimension {axis} of {list(dims)}", "inputs[1]"
        )


def check_squeeze(context: OperatorContext) -> None:
    """Check SQUEEZE."""
    dims = get_fixed_shape(context.require(0))
    for axis in option_vector(context, "squeeze_dims") or ():
        if dims is not None and dims[context.require_axis(axis, len(dims), "builtin_options.squeeze_dims")] != 1:
            raise context.refuse(f"dimension {axis} of {list(dims)} is not 1", "builtin_options.squeeze_dims")
    out = get_fixed_shape(context.output())
    if dims is not None and out is not None and product(out) != product(dims):
        raise context.refuse(f"{list(dims)} does not have as many elements as {list(out)}", "outputs[0]")


def check_strided_slice(context: OperatorContext) -> None:
    """Check STRIDED_SLICE."""
    rank = len(context.require(0).shape)
    counts = {context.require(place).elements for place in (1, 2, 3) if context.require(place).is_constant}
    # Each new axis is one more entry than the input has dimensions.
    if len(counts) > 1 or max(counts, default=0) > rank + context.option("new_axis_mask").bit_count():
        raise context.refuse(f"begin, end and strides have {sorted(counts)} entries for {rank} dimensions")
    if 0 in (context.integers(3) or ()):
        raise context.refuse("has a stride of 0", "inputs[3]")


def check_slice(context: OperatorContext) -> None:
    """Check SLICE."""
    dims, begin, size = get_fixed_shape(context.require(0)), context.integers(1), context.integers(2)
    if dims is None or begin is None or size is None:
        return
    if len(begin) != len(dims) or len(size) != len(dims):
        raise context.refuse(f"{list(begin)} and {list(size)} do not fit {list(dims)}")
    for start, count, limit in zip(begin, size, dims, strict=True):
        if start < 0 or count < -1 or start + max(count, 0) > limit:
            raise context.refuse(f"{list(begin)} to {list(size)} lies outside {list(dims)}")


def check_axis_option(context: OperatorContext) -> None:
    """Check the axis of PACK (which adds one) and UNPACK (which takes one away)."""
    dims = get_fixed_shape(context.require(0))
    if dims is None:
        return
    axis = context.require_axis(context.option("axis"), len(dims) + (context.name == "PACK"), "builtin_options.axis")
    if context.name == "PACK":
        if context.option("values_count") != len(context.operator.inputs):
            raise context.refuse(f"has values_count = {context.option('values_count')}", "inputs")
        if any(get_fixed_shape(tensor) not in (None, dims) for tensor in context.inputs):
            raise context.refuse("the inputs' shapes differ")
        context.require_output((*dims[:axis], len(context.operator.inputs), *dims[axis:]))
    elif not context.option("num") == len(context.operator.outputs) == dims[axis]:
        raise context.refuse(
            f"dimension {axis} of {list(dims)} gives not {len(context.operator.outputs)} outputs", "outputs"
        )


def check_axis_input(context: OperatorContext) -> None:
    """Check the axis of EXPAND_DIMS (which adds one), ARG_MAX, ARG_MIN and CUMSUM."""
    dims, axes = get_fixed_shape(context.require(0)), context.integers(1)
    if dims is not None and axes is not None:
        more = context.name == "EXPAND_DIMS"
        context.require_axis(axes[0] if len(axes) == 1 else len(dims) + 1, len(dims) + more, "inputs[1]")


def check_counts(context: OperatorContext) -> None:
    """Check the sizes that TILE, FILL, BROADCAST_TO and TOPK_V2 are given."""
    place = 0 if context.name == "FILL" else 1
    values = context.integers(place)
    if values is None:
        return
    if min(values, default=0) < 0:
        raise context.refuse(f"is given {list(values[:16])}", f"inputs[{place}]")
    if context.name == "TOPK_V2":
        dims = get_fixed_shape(context.require(0))
        if len(values) != 1 or (dims is not None and (not dims or values[0] > dims[-1])):
            raise context.refuse(f"cannot take {list(values[:16])} of {dims}", f"inputs[{place}]")
        return
    whole = product(context.require(0).shape) if context.name == "TILE" else 1
    need_bounded(context, whole * product(values))


def check_blocks(context: OperatorContext) -> None:
    """Check the blocks of SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND and their paddings or crops."""
    dims, blocks = get_fixed_shape(context.require(0)), context.integers(1)
    if blocks is None or dims is None:
        return
    pairs = padding_pairs(context, 2, len(blocks))
    if min(blocks, default=1) < 1 or max(blocks, default=1) > MAX_STEP or len(blocks) >= len(dims):
        raise context.refuse(f"the blocks are {list(blocks)} for {list(dims)}", "inputs[1]")
    if context.name == "BATCH_TO_SPACE_ND":
        sizes = [size * block for size, block in zip(dims[1:], blocks, strict=False)]
        if dims[0] % product(blocks) or (pairs and any(sum(p) > s for p, s in zip(pairs, sizes, strict=True))):
            raise context.refuse(f"{list(dims)} does not divide into blocks of {list(blocks)}", "inputs[1]")
    elif pairs and any((s + sum(p)) % b for s, p, b in zip(dims[1:], pairs, blocks, strict=False)):
        raise context.refuse(f"{list(dims)} does not divide into blocks of {list(blocks)}", "inputs[1]")


def check_block_size(context: OperatorContext) -> None:
    """Check DEPTH_TO_SPACE and SPACE_TO_DEPTH."""
    data, block = context.require_rank(0, 4), context.option("block_size")
    if data is None:
        return
    if context.name == "DEPTH_TO_SPACE":
        fits, out = data[3] % block**2 == 0, (data[0], data[1] * block, data[2] * block, data[3] // block**2)
    else:
        fits, out = (
            not (data[1] % block or data[2] % block),
            (data[0], data[1] // block, data[2] // block, data[3] * block**2),
        )
    if not fits:
        raise context.refuse(f"blocks of {block} do not fit {list(data)}", "builtin_options.block_size")
    context.require_output(out)

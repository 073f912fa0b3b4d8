"""Rules of what moves values about: axes, paddings, slices, indices and blocks, given by options or constants.

What is refused is what native kernels divide by, index with or allocate from. A shape with a dimension that may change
is not judged; the runtime computes it.
"""

from __future__ import annotations

from converters.tflite.arithmetic_rules import MAX_STEP, need_all_scales, need_bounded
from converters.tflite.operator_context import Call, Dims, known, product


def check_concatenation(call: Call) -> None:
    """Judge CONCATENATION."""
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


def check_reshape(call: Call) -> None:
    """Judge RESHAPE."""
    data = known(call.need(0))
    wanted = call.constant(1) if len(call.operator.inputs) > 1 else option_vector(call, "new_shape")
    if wanted is not None and (min(wanted, default=0) < -1 or wanted.count(-1) > 1 or len(wanted) > 8):
        raise call.refuse(f"cannot give the shape {list(wanted)}", "inputs[1]")
    out = known(call.output())
    if data is None:
        return
    if wanted and -1 not in wanted and product(wanted) != product(data):
        raise call.refuse(f"{list(data)} has not as many elements as {list(wanted)}", "inputs[1]")
    if out is not None and product(out) != product(data):
        raise call.refuse(f"{list(data)} has not as many elements as {list(out)}", "outputs[0]")


def option_vector(call: Call, name: str) -> Dims | None:
    """Return a vector of the options, None where it is absent."""
    value = call.options.get(name)
    return None if value is None else tuple(value.tolist())


def check_axes(call: Call) -> None:
    """Judge SUM, REDUCE_PROD and their like."""
    dims, axes = known(call.need(0)), call.constant(1)
    if dims is not None and axes is not None:
        for axis in axes:
            call.axis(axis, len(dims), "inputs[1]")


def check_mean(call: Call) -> None:
    """Judge MEAN."""
    need_all_scales(call)
    check_axes(call)


def check_transpose(call: Call) -> None:
    """Judge TRANSPOSE."""
    dims, order = known(call.need(0)), call.constant(1)
    if dims is None or order is None:
        return
    places = [call.axis(axis, len(dims), "inputs[1]") for axis in order]
    if sorted(places) != list(range(len(dims))):
        raise call.refuse(f"{list(order)} is no order of {len(dims)} dimensions", "inputs[1]")
    call.expect([dims[place] for place in places])


def padding_pairs(call: Call, place: int, count: int) -> list[tuple[int, int]] | None:
    """Return the paddings of each dimension, None where they are not constant."""
    values = call.constant(place)
    if values is None:
        return None
    if len(values) != 2 * count or min(values, default=0) < 0 or max(values, default=0) > MAX_STEP:
        raise call.refuse(f"{list(values[:16])} are no paddings of {count} dimensions", f"inputs[{place}]")
    return list(zip(values[::2], values[1::2], strict=True))


def check_pad(call: Call) -> None:
    """Judge PAD, PADV2 and MIRROR_PAD."""
    dims = known(call.need(0))
    pairs = None if dims is None else padding_pairs(call, 1, len(dims))
    if dims is None or pairs is None:
        return
    short = 1 - call.option("mode")  # REFLECT cannot repeat the edge itself
    if call.operator.op == "MIRROR_PAD" and any(max(pair) > d - short for pair, d in zip(pairs, dims, strict=True)):
        raise call.refuse(f"{list(dims)} cannot be mirrored by {pairs}", "inputs[1]")
    out = [size + before + after for size, (before, after) in zip(dims, pairs, strict=True)]
    need_bounded(call, product(out))
    call.expect(out)


def check_gather(call: Call) -> None:
    """Judge GATHER."""
    dims, indices = known(call.need(0)), call.constant(1)
    if dims is None:
        return
    axis = call.axis(call.option("axis"), len(dims), "builtin_options.axis")
    batch = call.option("batch_dims")
    if not -len(call.need(1).shape) <= batch <= min(len(call.need(1).shape), len(dims)):
        raise call.refuse(f"has batch_dims = {batch}", "builtin_options.batch_dims")
    if indices and not (min(indices) >= 0 and max(indices) < dims[axis]):
        raise call.refuse(f"an index is outside dimension {axis} of {list(dims)}", "inputs[1]")


def check_embedding_lookup(call: Call) -> None:
    """Judge EMBEDDING_LOOKUP."""
    rows, indices = call.need(1).shape, call.constant(0)
    if len(rows) < 2 or (indices and not (min(indices) >= 0 and max(indices) < rows[0])):
        raise call.refuse(f"an index is outside a table of shape {list(rows)}")


def check_split(call: Call) -> None:
    """Judge SPLIT."""
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


def check_split_v(call: Call) -> None:
    """Judge SPLIT_V."""
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


def check_squeeze(call: Call) -> None:
    """Judge SQUEEZE."""
    dims = known(call.need(0))
    for axis in option_vector(call, "squeeze_dims") or ():
        if dims is not None and dims[call.axis(axis, len(dims), "builtin_options.squeeze_dims")] != 1:
            raise call.refuse(f"dimension {axis} of {list(dims)} is not 1", "builtin_options.squeeze_dims")
    out = known(call.output())
    if dims is not None and out is not None and product(out) != product(dims):
        raise call.refuse(f"{list(dims)} has not as many elements as {list(out)}", "outputs[0]")


def check_strided_slice(call: Call) -> None:
    """Judge STRIDED_SLICE."""
    rank = len(call.need(0).shape)
    counts = {call.need(place).elements for place in (1, 2, 3) if call.need(place).data is not None}
    # Each new axis is one more entry than the input has dimensions.
    if len(counts) > 1 or max(counts, default=0) > rank + call.option("new_axis_mask").bit_count():
        raise call.refuse(f"begin, end and strides have {sorted(counts)} entries for {rank} dimensions")
    if 0 in (call.constant(3) or ()):
        raise call.refuse("has a stride of 0", "inputs[3]")


def check_slice(call: Call) -> None:
    """Judge SLICE."""
    dims, begin, size = known(call.need(0)), call.constant(1), call.constant(2)
    if dims is None or begin is None or size is None:
        return
    if len(begin) != len(dims) or len(size) != len(dims):
        raise call.refuse(f"{list(begin)} and {list(size)} do not fit {list(dims)}")
    for start, count, limit in zip(begin, size, dims, strict=True):
        if start < 0 or count < -1 or start + max(count, 0) > limit:
            raise call.refuse(f"{list(begin)} to {list(size)} lies outside {list(dims)}")


def check_axis_option(call: Call) -> None:
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


def check_axis_input(call: Call) -> None:
    """Check the axis of EXPAND_DIMS (which adds one), ARG_MAX, ARG_MIN and CUMSUM."""
    dims, axes = known(call.need(0)), call.constant(1)
    if dims is not None and axes is not None:
        more = call.operator.op == "EXPAND_DIMS"
        call.axis(axes[0] if len(axes) == 1 else len(dims) + 1, len(dims) + more, "inputs[1]")


def check_counts(call: Call) -> None:
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
    need_bounded(call, whole * product(values))


def check_blocks(call: Call) -> None:
    """Check the blocks of SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND and their paddings or crops."""
    dims, blocks = known(call.need(0)), call.constant(1)
    if blocks is None or dims is None:
        return
    pairs = padding_pairs(call, 2, len(blocks))
    if min(blocks, default=1) < 1 or max(blocks, default=1) > MAX_STEP or len(blocks) >= len(dims):
        raise call.refuse(f"the blocks are {list(blocks)} for {list(dims)}", "inputs[1]")
    if call.operator.op == "BATCH_TO_SPACE_ND":
        sizes = [size * block for size, block in zip(dims[1:], blocks, strict=False)]
        if dims[0] % product(blocks) or (pairs and any(sum(p) > s for p, s in zip(pairs, sizes, strict=True))):
            raise call.refuse(f"{list(dims)} does not divide into blocks of {list(blocks)}", "inputs[1]")
    elif pairs and any((s + sum(p)) % b for s, p, b in zip(dims[1:], pairs, blocks, strict=False)):
        raise call.refuse(f"{list(dims)} does not divide into blocks of {list(blocks)}", "inputs[1]")


def check_block_size(call: Call) -> None:
    """Judge DEPTH_TO_SPACE and SPACE_TO_DEPTH."""
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

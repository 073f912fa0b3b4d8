"""Checks operators that move or resize values: concatenation, padding, slices, changes of shape."""

from __future__ import annotations

import math

import numpy as np

from converters.edgetpu.compute_rules import check_no_activation
from converters.edgetpu.operator_view import (
    CONSTANT,
    LIMIT,
    Doubt,
    MappingRefusal,
    Verdict,
    constant_axes,
    data_inputs,
    format_shape,
    get_spatial_shape,
    main_input,
)
from converters.tflite.operator_context import OperatorContext

# Activations lie in 16 tiles' narrow memories; no compiled file uses more than 192 KiB of one.
ACTIVATION_BYTES = 16 * 192 * 1024
_LANES = 4  # channels are stored in groups of this many
# One row of boxes or scores: 2034 x 91 is mapped (SSDLite MobileDet), 19,206 x 9 and 27,621 x 5 are not, 8,400 x 64
# neither (google-coral/edgetpu#490, #656; ultralytics/hub#1136).
_LONGEST_ROW_BYTES = 200 * 1024
# Transposes that were refused are of whole pictures (google-coral/edgetpu#433), those mapped of 65,856 values at most.
_LARGEST_TRANSPOSE = 100_000
_ENLARGEMENT_SEEN = 4


def count_stored_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes of an 8-bit tensor in the Edge TPU's memory."""
    height, width, channels = get_spatial_shape(shape)
    return height * width * -(-channels // _LANES) * _LANES


def check_row_length(context: OperatorContext) -> Verdict:
    """Refuse a row of results that is too long: "certain reshapes might not be mapped for large tensor sizes"."""
    shapes = [context.output().shape, *(tensor.shape for tensor in data_inputs(context))]
    rows = [shape for shape in shapes if get_spatial_shape(shape)[0] == 1 and get_spatial_shape(shape)[1] > 1]
    largest = max(rows, key=count_stored_bytes, default=())
    if not largest or count_stored_bytes(largest) <= _LONGEST_ROW_BYTES:
        return None
    what = f"handles {format_shape(largest)} in one row: {count_stored_bytes(largest):,} bytes"
    return MappingRefusal(LIMIT, f"{what}, and rows beyond about {_LONGEST_ROW_BYTES:,} were refused",
                          "use a smaller input, or fewer anchors and classes", certain=False)  # fmt: skip


def check_concatenation(context: OperatorContext) -> Verdict:
    """No fused activation, not along the batch; a constant only as one of two inputs, and zero (vendor's table)."""
    shape = context.output().shape
    axis = int(context.options.fields.get("axis", -1)) % max(len(shape), 1)
    if axis < len(shape) - 3:
        return MappingRefusal(LIMIT, f"joins along the batch (axis {axis})", "join along height, width or channels")
    constants = [place for place in range(len(context.operator.inputs)) if _is_constant(context, place)]
    if constants and (len(context.operator.inputs) != 2 or not all(_is_zero(context, place) for place in constants)):
        what = "joins a constant that is not all zero, or more than two inputs with a constant"
        return MappingRefusal(CONSTANT, what, "add the constant after the model")
    return check_no_activation(context) or check_row_length(context)


def _is_constant(context: OperatorContext, place: int) -> bool:
    tensor = context.input(place)
    return tensor is not None and tensor.is_constant


def _is_zero(context: OperatorContext, place: int) -> bool:
    tensor, values = context.input(place), context.values(place)
    assert tensor is not None
    zeros = (0,) if tensor.quantization is None else tensor.quantization.zero_points or (0,)
    return values is not None and bool(np.all(values == zeros[0]))


def check_pack(context: OperatorContext) -> Verdict:
    """Not along the batch (vendor's table)."""
    shape = context.output().shape
    axis = int(context.options.fields.get("axis", 0)) % max(len(shape), 1)
    if axis < len(shape) - 3:
        return MappingRefusal(LIMIT, f"stacks along the batch (axis {axis})", "stack along another axis")
    return None


def check_split(context: OperatorContext) -> Verdict:
    """Not along the batch (vendor's table)."""
    shape = main_input(context).shape
    axes = constant_axes(context, 0, len(shape))
    if axes and axes[0] < len(shape) - 3:
        return MappingRefusal(LIMIT, "splits the batch", "split along height, width or channels")
    return None


def check_pad(context: OperatorContext) -> Verdict:
    """Height and width only (vendor's table)."""
    amounts = context.values(1)
    rank = len(main_input(context).shape)
    wrong = [] if amounts is None else [axis for axis, pair in enumerate(amounts.reshape(-1, 2)) if pair.any()]
    if any(not rank - 3 <= axis <= rank - 2 for axis in wrong):
        return MappingRefusal(LIMIT, f"pads the axes {tuple(wrong)}", "pad height and width only")
    return None


def check_squeeze(context: OperatorContext) -> Verdict:
    """Only leading dimensions of 1 (vendor's table); but detection models squeeze (1, boxes, 1, 4).

    Of those, all but DEQUANTIZE and the custom operator were mapped (tensorflow/models#9033).
    """
    shape = main_input(context).shape
    taken = [int(axis) % max(len(shape), 1) for axis in context.options.fields.get("squeeze_dims", ()) or ()]
    taken = taken or [axis for axis, size in enumerate(shape) if size == 1]
    behind = [axis for axis in taken if math.prod(shape[:axis]) > 1]
    if behind and behind != [len(shape) - 1]:
        return Doubt(
            f"a dimension is taken out of the middle of {format_shape(shape)}; the vendor documents leading ones"
        )
    return None


def check_strided_slice(context: OperatorContext) -> Verdict:
    """Strides of 1, no ellipsis, no new axis (vendor's table)."""
    strides = context.values(3)
    if strides is not None and (strides != 1).any():
        return MappingRefusal(
            LIMIT, f"has strides of {format_shape(tuple(np.ravel(strides).tolist()))}", "use strides of 1"
        )
    if context.options.fields.get("ellipsis_mask") or context.options.fields.get("new_axis_mask"):
        return MappingRefusal(LIMIT, "has an ellipsis or a new axis", "slice every dimension explicitly")
    return None


def check_transpose(context: OperatorContext) -> Verdict:
    """The batch stays in place; large ones stay on the CPU (google-coral/edgetpu#433)."""
    size = math.prod(context.output().shape)
    if size > _LARGEST_TRANSPOSE:
        shapes = f"{format_shape(main_input(context).shape)} to {format_shape(context.output().shape)}"
        return MappingRefusal(LIMIT, f"moves {size:,} values ({shapes})",
                       "convert with channels last, so that nothing is transposed", certain=False)  # fmt: skip
    return None


def check_tile(context: OperatorContext) -> Verdict:
    """Seen mapped: one pixel repeated over a picture (deeplab_mobilenet_edgetpu_slim_cityscapes_quant)."""
    height, width, _ = get_spatial_shape(main_input(context).shape)
    times = context.values(1)
    if times is not None and (height, width) == (1, 1) and times.ravel()[-1] == 1:
        return None
    return Doubt("a TILE of more than one pixel; the vendor documents none")


def check_resize(context: OperatorContext) -> Verdict:
    """Refuse results that do not fit, and bilinear enlargements of one pixel.

    Results of 513x513x19 and 512x512x32 were refused, of 128x128x32 mapped (the deeplab pairs; google-coral/edgetpu#31,
    #597); 1x1 to 33x33 was refused (deeplabv3_mnv2_dm05_pascal_quant), 33x33 to 33x33 mapped.
    """
    before, after = get_spatial_shape(main_input(context).shape), get_spatial_shape(context.output().shape)
    if count_stored_bytes(context.output().shape) > ACTIVATION_BYTES:
        what = f"enlarges {format_shape(before)} to {format_shape(after)}, more than fits into the Edge TPU's memory"
        return MappingRefusal(LIMIT, what,
                       "keep the small result and resize it on the CPU, or use a smaller input")  # fmt: skip
    if context.name == "RESIZE_BILINEAR" and before[:2] == (1, 1) and after[:2] != (1, 1):
        return MappingRefusal(
            LIMIT, f"enlarges one pixel to {format_shape(after)}", "repeat it: TILE, or broadcast by ADD"
        )
    growth = max(after[0] / max(before[0], 1), after[1] / max(before[1], 1))
    if growth > _ENLARGEMENT_SEEN:
        return Doubt(f"an enlargement by {growth:g}; the compiler refuses some to keep precision")
    return None

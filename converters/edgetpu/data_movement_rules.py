"""Rules of operators that move or resize values: concatenation, padding, slices, changes of shape."""

from __future__ import annotations

import math

import numpy as np

from converters.edgetpu.compute_rules import fused
from converters.edgetpu.operator_status import CONSTANT, LIMIT, Doubt, Refusal, Verdict
from converters.edgetpu.operator_view import Case, by, spatial

# Activations lie in 16 tiles' narrow memories; no compiled file uses more than 192 KiB of one.
ACTIVATION_BYTES = 16 * 192 * 1024
_LANES = 4  # channels are stored in groups of this many
# One row of boxes or scores: 2034 x 91 is mapped (SSDLite MobileDet), 19,206 x 9 and 27,621 x 5 are not, 8,400 x 64
# neither (google-coral/edgetpu#490, #656; ultralytics/hub#1136).
_LONGEST_ROW_BYTES = 200 * 1024
# Transposes that were refused are of whole pictures (google-coral/edgetpu#433), those mapped of 65,856 values at most.
_LARGEST_TRANSPOSE = 100_000
_ENLARGEMENT_SEEN = 4


def stored_bytes(shape: tuple[int, ...]) -> int:
    """Return what an 8-bit tensor takes in the Edge TPU's memory."""
    height, width, channels = spatial(shape)
    return height * width * -(-channels // _LANES) * _LANES


def in_one_row(case: Case) -> Verdict:
    """Refuse a row of results that is too long: "certain reshapes might not be mapped for large tensor sizes"."""
    shapes = [case.output.shape, *(tensor.shape for tensor in case.data_inputs)]
    rows = [shape for shape in shapes if spatial(shape)[0] == 1 and spatial(shape)[1] > 1]
    largest = max(rows, key=stored_bytes, default=())
    if not largest or stored_bytes(largest) <= _LONGEST_ROW_BYTES:
        return None
    return Refusal(LIMIT, f"handles {by(largest)} in one row: {stored_bytes(largest):,} bytes, and rows beyond about "
                   f"{_LONGEST_ROW_BYTES:,} were refused", "use a smaller input, or fewer anchors and classes",
                   certain=False)  # fmt: skip


def concatenation(case: Case) -> Verdict:
    """No fused activation, not along the batch; a constant only as one of two inputs, and zero (vendor's table)."""
    shape = case.output.shape
    axis = int(case.field("axis", -1)) % max(len(shape), 1)
    if axis < len(shape) - 3:
        return Refusal(LIMIT, f"joins along the batch (axis {axis})", "join along height, width or channels")
    constants = [place for place in range(len(case.operator.inputs)) if _is_constant(case, place)]
    if constants and (len(case.operator.inputs) != 2 or not all(_is_zero(case, place) for place in constants)):
        return Refusal(CONSTANT, "joins a constant that is not all zero, or more than two inputs with a constant",
                       "add the constant behind the model")  # fmt: skip
    return fused(case) or in_one_row(case)


def _is_constant(case: Case, place: int) -> bool:
    tensor = case.input(place)
    return tensor is not None and tensor.is_constant


def _is_zero(case: Case, place: int) -> bool:
    tensor, values = case.input(place), case.values(place)
    assert tensor is not None
    zeros = (0,) if tensor.quantization is None else tensor.quantization.zero_points or (0,)
    return values is not None and bool(np.all(values == zeros[0]))


def pack(case: Case) -> Verdict:
    """Not along the batch (vendor's table)."""
    shape = case.output.shape
    axis = int(case.field("axis", 0)) % max(len(shape), 1)
    if axis < len(shape) - 3:
        return Refusal(LIMIT, f"stacks along the batch (axis {axis})", "stack along another axis")
    return None


def split(case: Case) -> Verdict:
    """Not along the batch (vendor's table)."""
    shape = case.data.shape
    axes = case.axes(0, len(shape))
    if axes and axes[0] < len(shape) - 3:
        return Refusal(LIMIT, "splits the batch", "split along height, width or channels")
    return None


def pad(case: Case) -> Verdict:
    """Height and width only (vendor's table)."""
    amounts = case.values(1)
    rank = len(case.data.shape)
    wrong = [] if amounts is None else [axis for axis, pair in enumerate(amounts.reshape(-1, 2)) if pair.any()]
    if any(not rank - 3 <= axis <= rank - 2 for axis in wrong):
        return Refusal(LIMIT, f"pads the axes {tuple(wrong)}", "pad height and width only")
    return None


def squeeze(case: Case) -> Verdict:
    """Only leading dimensions of 1, says the vendor's table; but detection models squeeze (1, boxes, 1, 4).

    Of those, all but DEQUANTIZE and the custom operator were mapped (tensorflow/models#9033).
    """
    shape = case.data.shape
    taken = [int(axis) % max(len(shape), 1) for axis in case.field("squeeze_dims", ()) or ()]
    taken = taken or [axis for axis, size in enumerate(shape) if size == 1]
    behind = [axis for axis in taken if math.prod(shape[:axis]) > 1]
    if behind and behind != [len(shape) - 1]:
        return Doubt(f"a dimension is taken out of the middle of {by(shape)}; the vendor documents leading ones")
    return None


def strided_slice(case: Case) -> Verdict:
    """Strides of 1, no ellipsis, no new axis (vendor's table)."""
    strides = case.values(3)
    if strides is not None and (strides != 1).any():
        return Refusal(LIMIT, f"has strides of {by(tuple(np.ravel(strides).tolist()))}", "use strides of 1")
    if case.field("ellipsis_mask") or case.field("new_axis_mask"):
        return Refusal(LIMIT, "has an ellipsis or a new axis", "slice every dimension explicitly")
    return None


def transpose(case: Case) -> Verdict:
    """The batch stays in place; large ones stay on the CPU (google-coral/edgetpu#433)."""
    size = math.prod(case.output.shape)
    if size > _LARGEST_TRANSPOSE:
        return Refusal(LIMIT, f"moves {size:,} values ({by(case.data.shape)} to {by(case.output.shape)})",
                       "convert with channels last, so that nothing is transposed", certain=False)  # fmt: skip
    return None


def tile(case: Case) -> Verdict:
    """Seen mapped: one pixel repeated over a picture (deeplab_mobilenet_edgetpu_slim_cityscapes_quant)."""
    height, width, _ = spatial(case.data.shape)
    times = case.values(1)
    if times is not None and (height, width) == (1, 1) and times.ravel()[-1] == 1:
        return None
    return Doubt("a TILE of more than one pixel; the vendor documents none")


def resize(case: Case) -> Verdict:
    """Refuse results that do not fit, and bilinear enlargements of one pixel.

    Results of 513x513x19 and 512x512x32 were refused, of 128x128x32 mapped (the deeplab pairs; google-coral/edgetpu#31,
    #597); 1x1 to 33x33 was refused (deeplabv3_mnv2_dm05_pascal_quant), 33x33 to 33x33 mapped.
    """
    before, after = spatial(case.data.shape), spatial(case.output.shape)
    if stored_bytes(case.output.shape) > ACTIVATION_BYTES:
        return Refusal(LIMIT, f"enlarges {by(before)} to {by(after)}, more than fits into the Edge TPU's memory",
                       "keep the small result and resize it on the CPU, or use a smaller input")  # fmt: skip
    if case.name == "RESIZE_BILINEAR" and before[:2] == (1, 1) and after[:2] != (1, 1):
        return Refusal(LIMIT, f"enlarges one pixel to {by(after)}", "repeat it: TILE, or broadcast by ADD")
    growth = max(after[0] / max(before[0], 1), after[1] / max(before[1], 1))
    if growth > _ENLARGEMENT_SEEN:
        return Doubt(f"an enlargement by {growth:g}; the compiler refuses some to keep precision")
    return None

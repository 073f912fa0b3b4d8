"""Checks computing operators: convolutions, pools, products, means, softmax, recurrent cells."""

from __future__ import annotations

import math

from converters.edgetpu.operator_view import (
    LIMIT,
    Doubt,
    MappingRefusal,
    Verdict,
    constant_axes,
    format_shape,
    main_input,
)
from converters.tflite.operator_context import OperatorContext

_LARGEST_SOFTMAX = 16_000
# A MEAN over 64x128 was mapped, one over 256x128 not (google-coral/edgetpu#461, compiler 16.0); the limit is between.
_MOST_AVERAGED = 16_384
# Dilated depthwise convolutions seen mapped: 3x3 and 5x5 with dilation 2 on 33x33 (the deeplab pairs).
_DILATION_SEEN = 2
_WIDEST_LSTM = 900


def check_convolution(context: OperatorContext) -> Verdict:
    """Dilation must be the same in both directions (vendor's table); groups came with CONV_2D version 6."""
    if not main_input(context).shape:  # older files do not distinguish a scalar from an unknown rank
        return MappingRefusal(LIMIT, "reads a tensor without dimensions", "convert with a fixed input size")
    rows, columns = context.options.dilations or (1, 1)
    if rows != columns:
        return MappingRefusal(LIMIT, f"is dilated by {rows}x{columns}", "use the same dilation in both directions")
    kernel = context.input(1)
    if context.name == "CONV_2D" and kernel is not None and kernel.shape[-1:] != main_input(context).shape[-1:]:
        return MappingRefusal(LIMIT, "is a grouped convolution", "use groups=1", certain=False)
    return None


def check_depthwise(context: OperatorContext) -> Verdict:
    """As `check_convolution`; the vendor's table forbids dilation, but the deeplab pairs have dilated ones mapped."""
    refused = check_convolution(context)
    dilation = max(context.options.dilations or (1, 1))
    if refused is None and dilation > _DILATION_SEEN:
        return Doubt(f"a depthwise convolution dilated by {dilation}; up to {_DILATION_SEEN} was seen mapped")
    return refused


def check_transposed_convolution(context: OperatorContext) -> Verdict:
    """Some sizes are refused, by no known rule (google-coral/edgetpu#684, #686, #509)."""
    del context
    return Doubt("transposed convolutions of some sizes stay on the CPU")


def check_dense(context: OperatorContext) -> Verdict:
    """Default layout of the weights, one row of results (vendor's table; google-coral/edgetpu#27)."""
    if context.options.fields.get("weights_format", "DEFAULT") != "DEFAULT":
        return MappingRefusal(LIMIT, "has shuffled weights", "store the weights in the default format")
    rows = math.prod(context.output().shape[:-1])
    if rows > 1:
        return MappingRefusal(LIMIT, f"gives {rows} rows ({format_shape(context.output().shape)}); one is possible",
                       "use a 1x1 convolution in place of a dense layer on several rows")  # fmt: skip
    kernel = context.input(1)
    if kernel is not None and kernel.quantization is not None and kernel.quantization.per_channel:
        return MappingRefusal(LIMIT, "has one scale per output for its weights; compiler 16.0 knows one per tensor",
                       "convert again with --to edgetpu", certain=False)  # fmt: skip
    return None


def check_no_activation(context: OperatorContext) -> Verdict:
    """Refuse an activation that is fused into an operator which takes none (vendor's table)."""
    activation = context.options.activation or "NONE"
    if activation == "NONE":
        return None
    return MappingRefusal(LIMIT, f"has {activation} fused in", "convert again with --to edgetpu, which takes it out")


def check_mean(context: OperatorContext) -> Verdict:
    """Over height and width only (vendor's table), and not over too many values (google-coral/edgetpu#461, #183)."""
    shape = main_input(context).shape
    axes = constant_axes(context, 1, len(shape))
    wrong = [axis for axis in axes if shape[axis] > 1 and not len(shape) - 3 <= axis <= len(shape) - 2]
    if wrong:
        return MappingRefusal(
            LIMIT, f"takes the mean of {format_shape(shape)} over the axes {axes}", "take it over height and width"
        )
    count = math.prod(shape[axis] for axis in axes)
    if count > _MOST_AVERAGED:
        return MappingRefusal(LIMIT, f"averages {count:,} values; 8,192 were seen mapped, 32,768 not",
                       "average smaller pieces first", certain=False)  # fmt: skip
    return None


def check_reduction(context: OperatorContext) -> Verdict:
    """Not over the batch (vendor's table)."""
    shape = main_input(context).shape
    axes = constant_axes(context, 1, len(shape))
    batch = [axis for axis in axes if axis < len(shape) - 3 and shape[axis] > 1]
    return MappingRefusal(LIMIT, "reduces over the batch", "keep the batch") if batch else None


def check_softmax(context: OperatorContext) -> Verdict:
    """At most 16,000 values; the table says one dimension, but rows were seen mapped (ultralytics/ultralytics#4754)."""
    shape = main_input(context).shape
    if shape and shape[-1] > _LARGEST_SOFTMAX:
        return MappingRefusal(LIMIT, f"has {shape[-1]:,} values, at most {_LARGEST_SOFTMAX:,} are possible",
                       "leave the softmax out and compute it on the CPU")  # fmt: skip
    if math.prod(shape[:-1]) > 1:
        return Doubt(f"a softmax over rows of {format_shape(shape)}; the vendor documents one row")
    return None


def check_prelu(context: OperatorContext) -> Verdict:
    """One slope per channel (vendor's table)."""
    slopes = context.input(1)
    if slopes is None or math.prod(slopes.shape[:-1]) == 1:
        return None
    return MappingRefusal(
        LIMIT, f"has slopes of shape {format_shape(slopes.shape)}", "use PReLU with shared_axes=[1, 2]"
    )


def check_lstm(context: OperatorContext) -> Verdict:
    """Integers only, and not too wide (google-coral/edgetpu#598: about 900 inputs compile, 1000 do not)."""
    width = max(main_input(context).shape[-1:], default=1)
    if width > _WIDEST_LSTM:
        return Doubt(f"an LSTM with {width} inputs; beyond about {_WIDEST_LSTM} the compiler was seen to fail")
    return None

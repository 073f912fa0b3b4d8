"""Values on the wire arrive as they were sent; what is no value is refused."""

from __future__ import annotations

import base64
import pickle

import numpy as np
import pytest

from edge.agent import protocol
from edge.runtime import errors


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (1, 2, 3, 4)])
def test_array_travels(dtype, shape):
    array = np.arange(np.prod(shape), dtype="int64").reshape(shape).astype(dtype)
    line = protocol.encode_line({"array": protocol.encode_array(array)})
    back = protocol.decode_array(protocol.decode_line(line)["array"])
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)
    assert line.count(b"\n") == 1


def test_array_keeps_its_values_whatever_its_layout():
    array = np.arange(12.0).reshape(3, 4).T[::2]
    assert np.array_equal(protocol.decode_array(protocol.encode_array(array)), array)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"npy": None},
        {"npy": "no base64!"},
        {"npy": ""},
        {"npy": base64.b64encode(b"\x93NUMPY").decode()},
        {"npy": base64.b64encode(pickle.dumps([1])).decode()},
    ],
)
def test_what_is_no_array_is_refused(value):
    with pytest.raises(errors.ModelInputError, match="npy"):
        protocol.decode_array(value)


@pytest.mark.parametrize("line", [b"", b"\n", b"no json\n", b"[1]\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_message_is_refused(line):
    with pytest.raises(errors.RuntimeFault, match="a line of the agent's protocol"):
        protocol.decode_line(line)


@pytest.mark.parametrize("name", [name for name in dir(errors) if isinstance(getattr(errors, name), type)])
def test_error_comes_back_as_its_class(name):
    sent = getattr(errors, name)("what", hint="next")
    back = protocol.decode_error(protocol.encode_error(sent))
    assert (type(back), str(back), back.hint) == (type(sent), "what", "next")


@pytest.mark.parametrize("value", [None, "text", {"type": "SystemExit"}, {"type": "annotations", "message": "x"}])
def test_an_error_of_no_known_class_is_the_base(value):
    assert type(protocol.decode_error(value)) is errors.RuntimeFault


def test_an_error_outside_the_tree_travels_as_a_message():
    assert protocol.encode_error(KeyError("x"))["message"] == "internal error: KeyError: 'x'"
    assert protocol.encode_error(MemoryError())["type"] == "InferenceError"

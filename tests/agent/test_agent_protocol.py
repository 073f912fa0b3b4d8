"""Values on the wire arrive as they were sent; what is no value is refused."""

from __future__ import annotations

import base64
import pickle

import numpy as np
import pytest

from converters.decode import decode, encode
from converters.errors import ModelFileError
from devices.messages import protocol
from devices.messages.protocol import EncodedArray
from devices.messages.upload_jobs import RefusedError, StepRefusal
from edge.agent.failures import decode_failure, encode_failure
from edge.agent.running import decode_inputs
from edge.runtime import errors


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (1, 2, 3, 4)])
def test_array_travels(dtype, shape):
    array = np.arange(np.prod(shape), dtype="int64").reshape(shape).astype(dtype)
    line = protocol.encode_line(encode(protocol.encode_array(array)))
    back = protocol.decode_array(decode(EncodedArray, protocol.decode_line(line), "array"))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)
    assert line.count(b"\n") == 1


def test_array_keeps_its_values_whatever_its_layout():
    array = np.arange(12.0).reshape(3, 4).T[::2]
    assert np.array_equal(protocol.decode_array(protocol.encode_array(array)), array)


@pytest.mark.parametrize(
    "text",
    [
        "no base64!",
        "",
        base64.b64encode(b"\x93NUMPY").decode(),
        base64.b64encode(pickle.dumps([1])).decode(),
    ],
)
def test_what_is_no_array_is_refused(text):
    with pytest.raises(protocol.ProtocolError, match="npy"):
        protocol.decode_array(EncodedArray(text))
    with pytest.raises(errors.ModelInputError, match="npy"):
        decode_inputs([EncodedArray(text)])


@pytest.mark.parametrize("line", [b"", b"\n", b"no json\n", b"[1]\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_message_is_refused(line):
    with pytest.raises(protocol.ProtocolError, match="a line of the agent's protocol"):
        protocol.decode_line(line)


FAULTS = [
    name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.RuntimeFault)
]


@pytest.mark.parametrize("name", FAULTS)
def test_error_comes_back_as_its_class(name):
    sent = getattr(errors, name)("what", hint="next")
    back = decode_failure(encode_failure(sent))
    assert (type(back), str(back), back.hint) == (type(sent), "what", "next")


def test_a_damaged_model_and_a_refusal_come_back_as_their_classes():
    assert type(decode_failure(encode_failure(ModelFileError("what")))) is ModelFileError
    refusal = StepRefusal("unknown", "no release 'x'", releases=("0001-a", "0002-b"))
    back = decode_failure(encode_failure(RefusedError(refusal)))
    assert isinstance(back, RefusedError)
    assert back.refusal == StepRefusal("unknown", "no release 'x'", None, ("0001-a", "0002-b"))


@pytest.mark.parametrize("value", [None, "text", {"type": "SystemExit"}, {"type": "annotations", "message": "x"}])
def test_an_error_of_no_known_class_is_the_base(value):
    assert type(decode_failure({"error": value})) is errors.RuntimeFault


def test_an_error_outside_the_tree_travels_as_a_message():
    assert encode_failure(KeyError("x"))["error"]["message"] == "internal error: KeyError: 'x'"
    assert encode_failure(MemoryError())["error"]["type"] == "InferenceError"

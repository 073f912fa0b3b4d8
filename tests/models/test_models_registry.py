"""Names, arguments and messages of the registry; nothing here builds a model."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from edge.errors import InputError
from edge.models import arguments_of, build, register, spec_of, specs


def test_names():
    assert [spec.name for spec in specs()] == [
        "mobilenet_v2",
        "mobilenet_v1",
        "efficientnet_lite0",
        "simplenet_cifar_5m",
        "simplenet_cifar_5m_extra_pool",
        "simplenet_cifar_310k",
        *(f"simplenetv1_{size}" for size in ("small_m1_05", "small_m2_05", "small_m1_075", "small_m2_075")),
        *(f"simplenetv1_{size}" for size in ("5m_m1", "5m_m2", "9m_m1", "9m_m2")),
    ]


def test_importing_the_registry_loads_neither_tensorflow_nor_keras_nor_numpy():
    code = "import sys, edge.models; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="'mobilenetv2'; did you mean mobilenet_v2"):
        spec_of("mobilenetv2")
    with pytest.raises(
        InputError, match="there are: mobilenet_v2, mobilenet_v1, efficientnet_lite0, simplenet_cifar_5m"
    ):
        build("qqq")


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="'mobilenet_v2' is taken by edge"):
        register(replace(spec_of("mobilenet_v2"), target="elsewhere:other"))


def test_arguments_are_completed_with_defaults():
    assert arguments_of("mobilenet_v2", alpha=0.5) == {
        "alpha": 0.5,
        "image_size": 224,
        "classes": 1000,
        "padding": "same",
    }


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("simplenet_cifar_310k", {"alpha": 0.5}, "takes no argument 'alpha'; it takes image_size, classes, dropout"),
        ("mobilenet_v2", {"alpha": 0}, "alpha is 0; it must be a number above 0"),
        ("mobilenet_v2", {"alpha": float("nan")}, "alpha is nan"),
        ("mobilenet_v2", {"classes": 0}, "classes is 0; it must be a whole number from 1"),
        ("mobilenet_v2", {"classes": True}, "classes is True"),
        ("mobilenet_v2", {"image_size": 224.5}, "image_size is 224.5"),
        ("mobilenet_v2", {"padding": "valid"}, 'padding is \'valid\'; it must be "same" or "symmetric"'),
        ("simplenetv1_5m_m1", {"dropout": 1.0}, "dropout is 1.0; it must be a rate from 0 to below 1"),
    ],
)
def test_arguments_out_of_range(name, arguments, message):
    with pytest.raises(InputError) as caught:
        arguments_of(name, **arguments)
    assert message in str(caught.value)

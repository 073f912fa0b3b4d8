"""`edge convert` of five recipes, parity check included, against five separate conversions with tf.lite itself.

Both start from the same .keras file (MobileNetV2, 224 pixels) and the same calibration pictures, in one process, after
TensorFlow is imported. Each separate conversion loads the file and uses TFLiteConverter.from_keras_model.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from converters.capture_output import capture_output
from converters.recipes import recipes_named

RECIPES = ("fp32", "fp16", "dynamic", "int8", "int8-float")
SAMPLES = 20


def main() -> None:
    """Measure both and print the figures."""
    # Keras prints every variable it exports: not our figures.
    with tempfile.TemporaryDirectory() as folder, capture_output(), contextlib.redirect_stdout(io.StringIO()):
        source, pictures = _prepared(Path(folder))
        ours_s = _seconds(lambda: _ours(source, pictures, Path(folder) / "ours"))
        naive_s = sum(_seconds(lambda recipe=recipe: _naive(source, pictures, recipe)) for recipe in RECIPES)
    print(f"convert_five_recipes {ours_s:.2f} s")
    print(f"convert_five_recipes_naive {naive_s:.2f} s")
    print(f"convert_five_recipes_vs_naive {ours_s / naive_s:.3f} ratio")


def _prepared(folder: Path) -> tuple[Path, Path]:
    from edge.models import build

    build("mobilenet_v2").save(folder / "model.keras")
    generator = np.random.default_rng(0)
    np.savez(folder / "pictures.npz", x=generator.integers(0, 256, (SAMPLES, 224, 224, 3), np.uint8))
    return folder / "model.keras", folder / "pictures.npz"


def _ours(source: Path, pictures: Path, out: Path) -> None:
    from edge.workflows.conversion import ConvertRequest, convert_source

    convert_source(
        ConvertRequest(
            source=str(source), recipes=recipes_named(RECIPES), folder=out, calibrate=str(pictures), preprocess="tf"
        )
    )


def _naive(source: Path, pictures: Path, recipe: str) -> bytes:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(source, compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if recipe != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.startswith("int8"):
        scaled = np.load(pictures)["x"].astype(np.float32) / 127.5 - 1
        converter.representative_dataset = lambda: ([picture[np.newaxis]] for picture in scaled)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if recipe == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

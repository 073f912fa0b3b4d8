"""The model that is trained: a registered one with first weights, or a .keras file to train further."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.artifact.preprocessing import Preprocessing
from converters.errors import PreprocessingError
from edge.data.data_source import DataSource
from edge.errors import DataError, InputError
from edge.models import arguments_of, build, spec_of
from edge.training.keras_model import start_keras
from edge.training.training_settings import SUFFIX, TrainingSettings

SIDECAR_SCHEMA = "edge-model/1"


@dataclass(frozen=True)
class TrainableModel:
    """A model before it is built or loaded.

    `classes` and `labels` are None where they follow from the data; `finish` gives the keras.Model for the number of
    classes; `notes` are what the user should read before it is trained.
    """

    name: str
    preprocessing: Preprocessing
    classes: int | None
    labels: tuple[str, ...] | None
    finish: Callable[[int], Any]
    arguments: Callable[[int], dict[str, Any]]
    notes: tuple[str, ...] = ()

    def classes_for(self, data: DataSource) -> int:
        """Return the number of classes, after checking that the data has as many.

        Raises:
            DataError: the data's labels do not fit.
        """
        found = data.classes
        assert found is not None  # a source of labelled samples
        wanted = found if self.classes is None else self.classes
        named = data.names is not None and found != wanted
        if named or found > wanted:
            raise DataError(
                f"{self.name} has {wanted} classes, {data.spec} has {found}",
                hint="leave --classes out to take the number from the data" if self.labels is None else None,
            )
        if self.labels is not None and data.names is not None and self.labels != data.names:
            raise DataError(
                f"{self.name} was trained on the classes {_some(self.labels)}, {data.spec} has {_some(data.names)}",
                hint="rename the class folders so that names and order agree",
            )
        return wanted


def find_trainable_model(settings: TrainingSettings) -> TrainableModel:
    """Find the model that the settings name.

    Raises:
        InputError: an unknown name or argument, or a .keras file that is missing, damaged or no image classifier.
    """
    if settings.model.endswith(SUFFIX):
        return _saved(Path(settings.model), settings)
    if Path(settings.model).suffix in (".h5", ".tflite", ".pb"):
        raise InputError(
            f"{settings.model}: only names of `edge models` and {SUFFIX} files are trained",
            hint="load it in Keras and save it as .keras",
        )
    return _registered(settings)


def _registered(settings: TrainingSettings) -> TrainableModel:
    spec = spec_of(settings.model)
    side = int(arguments_of(spec.name, **settings.arguments)["image_size"])
    mode = settings.mode or spec.mode

    def arguments(classes: int) -> dict[str, Any]:
        return arguments_of(spec.name, **{**settings.arguments, "classes": classes})

    return TrainableModel(
        name=spec.name,
        preprocessing=_preprocessing(mode, side, side, 3),
        classes=settings.arguments.get("classes"),
        labels=None,
        finish=lambda classes: build(spec.name, **arguments(classes)),
        arguments=arguments,
    )


def _saved(path: Path, settings: TrainingSettings) -> TrainableModel:
    if settings.arguments:
        raise InputError(
            f"{path} has its shape already; {', '.join(settings.arguments)} cannot be changed",
            hint="these options go with a name of `edge models`",
        )
    model = load_keras(path, seed=settings.seed)
    height, width, channels = _picture_input(model, path)
    classes = _class_output(model, path)
    sidecar = read_sidecar(path)
    preprocessing = _saved_preprocessing(path, sidecar, settings.mode, (height, width, channels))
    labels = sidecar.get("labels")
    return TrainableModel(
        name=str(sidecar.get("name", path.stem)),
        preprocessing=preprocessing,
        classes=classes,
        labels=None if labels is None else tuple(str(label) for label in labels),
        finish=lambda _: model,
        arguments=lambda _: dict(sidecar.get("arguments", {})),
        notes=freeze_bias_normalizations(model, str(path)),
    )


def freeze_bias_normalizations(model: Any, name: str) -> tuple[str, ...]:  # noqa: ANN401
    """Freeze batch normalizations that training would destroy, and return what to tell of it."""
    from edge.training.recalibration import freeze_identities

    count = freeze_identities(model)
    if not count:
        return ()
    told = f"{count} batch normalization{'s' if count > 1 else ''} of {name} only add a bias"
    return (f"{told}, as in weights read back from a .tflite file: frozen, so that training leaves them so",)


def load_keras(path: Path, *, seed: int | None = None) -> Any:  # noqa: ANN401  (a keras.Model, imported on use)
    """Load a .keras file; the states of its random layers, which the file does not hold, follow from `seed`.

    Raises:
        InputError: it is missing, damaged, or has layers that Keras does not know.
    """
    if not path.is_file():
        raise InputError(f"there is no model {path}", hint="check the path, or give a name of `edge models`")
    keras = start_keras()
    if seed is not None:
        keras.utils.set_random_seed(seed)
    try:
        return keras.models.load_model(path)
    except Exception as error:  # Keras raises whatever the file's content makes it raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be loaded as a Keras model: {reason}", hint="save it anew with model.save(FILE.keras)"
        ) from error


def read_sidecar(path: Path) -> Mapping[str, Any]:
    """Return the description beside a .keras file, NAME.json, or nothing if there is none.

    Raises:
        InputError: there is one, and it is damaged or of another schema.
    """
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return {}
    try:
        value = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{sidecar} is no JSON: {error}", hint="remove it, or train the model again") from error
    if not isinstance(value, dict) or value.get("schema") != SIDECAR_SCHEMA:
        got = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise InputError(f"{sidecar} must have the schema {SIDECAR_SCHEMA}, got {got}", hint="move it away")
    return value


def _picture_input(model: Any, path: Path) -> tuple[int, int, int]:  # noqa: ANN401
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3):
        raise InputError(
            f"{path} must take one picture (batch, height, width, 1 or 3 channels) of a fixed size, it takes {shape}",
            hint="build it with a fixed input size, channels last",
        )
    return shape[1], shape[2], shape[3]


def _class_output(model: Any, path: Path) -> int:  # noqa: ANN401
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < 2:
        raise InputError(
            f"{path} is no classifier: it must give one row (batch, classes) of at least 2, it gives {shape}",
            hint="end the model with Dense(classes)",
        )
    return shape[1]


def _saved_preprocessing(
    path: Path, sidecar: Mapping[str, Any], mode: str | None, shape: tuple[int, int, int]
) -> Preprocessing:
    stated = sidecar.get("preprocessing")
    if stated is None and mode is None:
        raise InputError(
            f"how {path} wants its pixels is not known: there is no {path.stem}.json that says it",
            hint="say it with --preprocessing tf|torch|caffe|unit|raw (raw if the model scales by itself)",
        )
    if stated is None:
        return _preprocessing(str(mode), *shape)
    preprocessing = Preprocessing.from_json(stated)
    if preprocessing.shape != shape or mode not in (None, preprocessing.mode):
        raise InputError(
            f"{path} takes {shape} and was asked for mode {mode or preprocessing.mode}, but its sidecar says "
            f"{preprocessing.shape} and {preprocessing.mode}",
            hint=f"correct or remove {path.stem}.json",
        )
    return preprocessing


def _preprocessing(mode: str, height: int, width: int, channels: int) -> Preprocessing:
    try:
        return Preprocessing.for_mode(mode, height, width, channels)
    except PreprocessingError as error:
        raise InputError(str(error), hint=error.hint) from error


def _some(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''} ({len(names)})"

"""Finds the model to train: a registered one with new weights, or a .keras file to train further."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.artifact.preprocessing import Preprocessing
from converters.errors import PreprocessingError
from edge.data.data_source import DataSource
from edge.errors import DataError, InputError
from edge.models import arguments_of, build, spec_of
from edge.models.catalog import Argument
from edge.models.saved_model import load_keras, read_description
from edge.training.training_settings import SUFFIX, TrainingSettings


@dataclass(frozen=True)
class TrainableModel:
    """A model before it is built for the number of classes.

    Attributes:
        classes, labels: None where they follow from the data.
        build: returns the keras.Model for a number of classes.
        arguments: returns the arguments of the registered model for a number of classes.
        pruned: it has zeros that are meant to stay.
        notes: remarks for the user.
    """

    name: str
    preprocessing: Preprocessing
    classes: int | None
    labels: tuple[str, ...] | None
    build: Callable[[int], Any]
    arguments: Callable[[int], Mapping[str, Argument]]
    pruned: bool = False
    notes: tuple[str, ...] = ()

    def classes_for(self, data: DataSource) -> int:
        """Return the number of classes, after checking that the data has as many.

        Raises:
            DataError: the data's labels do not fit.
        """
        available = data.classes
        assert available is not None  # a source of labelled samples
        wanted = available if self.classes is None else self.classes
        if available > wanted or (data.names is not None and available != wanted):
            raise DataError(
                f"{self.name} has {wanted} classes, {data.spec} has {available}",
                hint="leave --classes out to take the number from the data" if self.labels is None else None,
            )
        if self.labels is not None and data.names is not None and self.labels != data.names:
            raise DataError(
                f"{self.name} was trained on the classes {_shorten(self.labels)}, {data.spec} has "
                f"{_shorten(data.names)}",
                hint="rename the class folders so that names and order agree",
            )
        return wanted


def find_trainable_model(settings: TrainingSettings) -> TrainableModel:
    """Find the model that the settings name.

    Raises:
        InputError: an unknown name or argument, or a .keras file that is missing, damaged or no image classifier.
    """
    if settings.model.endswith(SUFFIX):
        return _load_saved(Path(settings.model), settings)
    if Path(settings.model).suffix in (".h5", ".tflite", ".pb"):
        raise InputError(
            f"{settings.model} cannot be trained: give a name of `edge models` or a {SUFFIX} file",
            hint="load it in Keras and save it as .keras",
        )
    return _find_registered(settings)


def freeze_bias_normalizations(model: Any, name: str) -> tuple[str, ...]:  # noqa: ANN401
    """Freeze batch normalizations that training would destroy, and return remarks for the user."""
    from edge.training.recalibration import freeze_identities

    count = freeze_identities(model)
    if not count:
        return ()
    return (
        f"{count} batch normalization{'s' if count > 1 else ''} of {name} only add a bias, as in weights read from a "
        ".tflite file: frozen, so that training leaves them unchanged",
    )


def _find_registered(settings: TrainingSettings) -> TrainableModel:
    spec = spec_of(settings.model)
    classes = settings.arguments.get("classes")
    side = int(arguments_of(spec.name, **settings.arguments)["image_size"])

    def arguments(classes: int) -> Mapping[str, Argument]:
        return arguments_of(spec.name, **{**settings.arguments, "classes": classes})

    return TrainableModel(
        name=spec.name,
        preprocessing=_preprocessing(settings.mode or spec.mode, side, side, 3),
        classes=None if classes is None else int(classes),
        labels=None,
        build=lambda classes: build(spec.name, **arguments(classes)),
        arguments=arguments,
    )


def _load_saved(path: Path, settings: TrainingSettings) -> TrainableModel:
    if settings.arguments:
        raise InputError(
            f"{path} has a fixed shape; {', '.join(settings.arguments)} cannot be changed",
            hint="these options go with a name of `edge models`",
        )
    model = load_keras(path, seed=settings.seed)
    shape = _image_shape(model, path)
    classes = _class_count(model, path)
    description = read_description(path)
    stated = None if description is None else description.preprocessing
    return TrainableModel(
        name=path.stem if description is None or description.name is None else description.name,
        preprocessing=_check_preprocessing(path, stated, settings.mode, shape),
        classes=classes,
        labels=None if description is None else description.labels,
        build=lambda _: model,
        arguments=lambda _: {} if description is None else description.arguments,
        pruned=description is not None and description.pruned,
        notes=freeze_bias_normalizations(model, str(path)),
    )


def _image_shape(model: Any, path: Path) -> tuple[int, int, int]:  # noqa: ANN401
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3):
        raise InputError(
            f"{path} must take one image (batch, height, width, 1 or 3 channels) of a fixed size, it takes {shape}",
            hint="build it with a fixed input size, channels last",
        )
    return shape[1], shape[2], shape[3]


def _class_count(model: Any, path: Path) -> int:  # noqa: ANN401
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < 2:
        raise InputError(
            f"{path} is not a classifier: it must return one row (batch, classes) of at least 2, it returns {shape}",
            hint="end the model with Dense(classes)",
        )
    return shape[1]


def _check_preprocessing(
    path: Path, stated: Preprocessing | None, mode: str | None, shape: tuple[int, int, int]
) -> Preprocessing:
    if stated is None and mode is None:
        raise InputError(
            f"the preprocessing of {path} is not known: there is no {path.stem}.json that states it",
            hint="name it with --preprocessing tf|torch|caffe|unit|raw (raw if the model scales by itself)",
        )
    if stated is None:
        return _preprocessing(str(mode), *shape)
    if stated.shape != shape or mode not in (None, stated.mode):
        raise InputError(
            f"{path} takes {shape} and mode {mode or stated.mode} was requested, but {path.stem}.json states "
            f"{stated.shape} and {stated.mode}",
            hint=f"correct or remove {path.stem}.json",
        )
    return stated


def _preprocessing(mode: str, height: int, width: int, channels: int) -> Preprocessing:
    try:
        return Preprocessing.for_mode(mode, height, width, channels)
    except PreprocessingError as error:
        raise InputError(str(error), hint=error.hint) from error


def _shorten(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''} ({len(names)})"

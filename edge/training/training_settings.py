"""Defines the settings of a training, which are checked once and saved with every checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.data.splits import SplitOptions, batch_count
from edge.errors import DataError, InputError
from edge.models.catalog import Argument
from edge.training.pruning_plan import CubicSchedule, Pruning

AUGMENTATIONS = ("flip", "shift")
SUFFIX = ".keras"
# These do not change what is computed.
_NOT_OF_THE_RESULT = ("out", "checkpoints", "resume")
_AT_LEAST_ONE = ("epochs", "batch", "patience")


def default_out(model: str, *, pruned: bool) -> Path:
    """Return the default file of a trained model: in the current folder, never its source."""
    stem = Path(model).stem
    if pruned:
        return Path(f"{stem}-pruned{SUFFIX}")
    return Path(f"{stem}-trained{SUFFIX}" if model.endswith(SUFFIX) else f"{stem}{SUFFIX}")


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Distillation of a trained model, the teacher.

    Attributes:
        teacher: a .keras file that takes the same images and has the same classes.
        temperature: softens the probabilities of both models.
        weight: of the teacher against the labels, 0 to 1.
    """

    teacher: Path
    temperature: float = 4.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.teacher.suffix != SUFFIX:
            raise InputError(f"a teacher is a {SUFFIX} file, got {self.teacher}")
        if self.temperature <= 0 or not 0 < self.weight <= 1:
            raise InputError(
                f"the temperature must be above 0 and the teacher's weight above 0 and at most 1, got "
                f"{self.temperature:g} and {self.weight:g}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """One training. The defaults train SimpleNet 310K on `digits` in about a minute on two cores.

    Attributes:
        model: a name of `edge models`, or a .keras file to train further.
        data: what `open_data` takes; its own test part is used if it has one.
        out: the .keras file to write; the history and a description (JSON) are written next to it.
        arguments: of the registered model (image_size, classes, alpha ...); absent ones take their defaults, classes
            the number in the data.
        mode: preprocessing of a .keras file without a description ("tf", "torch" ...).
        epochs: passes over the training samples, fewer with early stopping.
        batch: samples per step.
        learning_rate: the highest; it is reached after a warm-up and then falls as a cosine.
        weight_decay: of AdamW.
        seed: of the first weights, the splits of the data, their order and the augmentation.
        validation: fraction of the data that decides when to stop and which epoch is best.
        test: fraction that is only measured at the end, where the data has no test part of its own.
        patience: epochs without a lower validation loss before training stops.
        augment: "flip" mirrors left and right, "shift" moves by up to an eighth; each at random.
        limit: use at most this many samples, class-balanced.
        checkpoints: folder for the state after each epoch; next to `out` by default.
        resume: continue from the last checkpoint.
        pruning: prune 1x1 convolutions during the training; epochs before the final sparsity are not kept. Without it,
            a pruned model keeps its zeros.
        distillation: of a teacher.
    """

    model: str
    data: str
    out: Path
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    mode: str | None = None
    epochs: int = 12
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    validation: float = 0.1
    test: float = 0.2
    patience: int = 5
    augment: tuple[str, ...] = ()
    limit: int | None = None
    checkpoints: Path | None = None
    resume: bool = False
    pruning: Pruning | None = None
    distillation: Distillation | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range, before anything is loaded."""
        if self.out.suffix != SUFFIX:
            raise InputError(
                f"the trained model is written as {SUFFIX}, got --out {self.out}",
                hint=f"--out {self.out.with_suffix(SUFFIX)}",
            )
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.seed < 0:
            raise InputError("the learning rate must be above 0, the weight decay and the seed at least 0")
        if not (0 < self.validation < 1 and 0 < self.test < 1 and self.validation + self.test < 1):
            raise DataError(
                f"validation ({self.validation}) and test ({self.test}) are fractions between 0 and 1 that leave "
                "something to train on"
            )
        unknown = [name for name in self.augment if name not in AUGMENTATIONS]
        if unknown:
            raise InputError(f"augmentations are {', '.join(AUGMENTATIONS)}, got {', '.join(unknown)}")

    @property
    def split_options(self) -> SplitOptions:
        """How the data is split."""
        return SplitOptions(
            data=self.data, validation=self.validation, test=self.test, seed=self.seed, limit=self.limit
        )

    @property
    def checkpoint_folder(self) -> Path:
        """The folder of the checkpoints."""
        return self.checkpoints or self.out.with_name(f"{self.out.stem}-checkpoints")

    @property
    def history_file(self) -> Path:
        """The file of the history of the epochs."""
        return self.out.with_name(f"{self.out.stem}-history.json")

    @property
    def sidecar_file(self) -> Path:
        """The file of the model's description."""
        return self.out.with_suffix(".json")

    def pruning_schedule(self, train_samples: int) -> CubicSchedule | None:
        """Return the schedule in steps; None without pruning."""
        if self.pruning is None:
            return None
        steps = self.epochs * batch_count(train_samples, self.batch, training=True)
        return self.pruning.schedule(steps, trained=self.model.endswith(SUFFIX))

    def first_counted_epoch(self, train_samples: int) -> int:
        """Return the first epoch that ends with the final sparsity; 1 without pruning."""
        schedule = self.pruning_schedule(train_samples)
        if schedule is None:
            return 1
        return math.ceil(schedule.end_step / batch_count(train_samples, self.batch, training=True))

    def identity(self) -> dict[str, object]:
        """Return what decides the result, as JSON: two trainings with one identity are the same training."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_OF_THE_RESULT}
        value: dict[str, object] = json.loads(json.dumps(fields, default=str))  # as it comes back from a file
        return value

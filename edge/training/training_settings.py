"""What a training is asked to do, as one value: checked once, stored with every checkpoint."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.data.splits import SplitOptions
from edge.errors import DataError, InputError
from edge.training.pruning_plan import Pruning

AUGMENTATIONS = ("flip", "shift")
SUFFIX = ".keras"
# Where results go and whether to continue do not change what is computed.
_NOT_OF_THE_RESULT = ("out", "checkpoints", "resume")
_AT_LEAST_ONE = ("epochs", "batch", "patience")


def default_out(model: str, *, pruned: bool) -> Path:
    """Return where a trained model goes if nothing else is said: the current folder, never in place of its source."""
    stem = Path(model).stem
    if pruned:
        return Path(f"{stem}-pruned{SUFFIX}")
    return Path(f"{stem}-trained{SUFFIX}" if model.endswith(SUFFIX) else f"{stem}{SUFFIX}")


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Learning from a trained model as well.

    Attributes:
        teacher: a .keras file that takes the same pictures and knows the same classes.
        temperature: softens both models' probabilities, so that the small ones count.
        weight: of the teacher's answers against the labels, 0 to 1.
    """

    teacher: Path
    temperature: float = 4.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what teaches nothing."""
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
        data: what `open_source` takes; its own test part is used if it has one.
        out: the .keras file to write; the history and a sidecar JSON go beside it.
        arguments: of the registered model (image_size, classes, alpha ...); what is absent takes its default, and
            classes the number in the data.
        mode: preprocessing of a .keras file that has no sidecar saying it ("tf", "torch" ...).
        epochs: passes over the training part, fewer with early stopping.
        batch: samples per step.
        learning_rate: the highest; it is reached after a warm-up and then falls as a cosine.
        weight_decay: of AdamW.
        seed: of the first weights, the parts of the data, their order and the augmentation.
        validation: fraction of the data that decides when to stop and which epoch is best.
        test: fraction that is only measured at the end, where the data has no test part of its own.
        patience: epochs without a lower validation loss before training stops.
        augment: "flip" mirrors left and right, "shift" moves by up to an eighth; each at random.
        limit: use only so many samples, class-balanced.
        checkpoints: folder for the state after each epoch; beside `out` by default.
        resume: continue from the last checkpoint.
        pruning: make 1x1 convolutions sparse meanwhile; epochs before the sparsity is final are not kept. Without it,
            a model that was pruned keeps its zeros.
        distillation: learn from a trained model as well.
    """

    model: str
    data: str
    out: Path
    arguments: dict[str, Any] = field(default_factory=dict)
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
        """Refuse what could not be trained, before anything is loaded."""
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
        """Return how the data is split."""
        return SplitOptions(
            data=self.data, validation=self.validation, test=self.test, seed=self.seed, limit=self.limit
        )

    @property
    def checkpoint_folder(self) -> Path:
        """Where the checkpoints lie."""
        return self.checkpoints or self.out.with_name(f"{self.out.stem}-checkpoints")

    @property
    def history_file(self) -> Path:
        """Where the history of the epochs is written."""
        return self.out.with_name(f"{self.out.stem}-history.json")

    @property
    def sidecar_file(self) -> Path:
        """Where the description of the model is written."""
        return self.out.with_suffix(".json")

    def identity(self) -> dict[str, Any]:
        """Return what decides the result, as JSON: two trainings of one identity are the same training."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_OF_THE_RESULT}
        value: dict[str, Any] = json.loads(json.dumps(fields, default=str))  # as it comes back from a file
        return value

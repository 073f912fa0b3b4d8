"""Saves the state of a training after each epoch, so that a kill at any moment loses at most one epoch.

`state.json` names the model files of the last and the best epoch. It is replaced after they are written and before
older ones are removed, so that every file it names exists.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.files import replacing, write_whole
from edge.errors import InputError
from edge.training.pruning_plan import LayerTarget

_STATE_FILE = "state.json"
_SCHEMA = "edge-checkpoint/1"
_PATTERN = "epoch-*.keras"


@dataclass(frozen=True)
class Epoch:
    """One line of the history; losses are cross-entropies, accuracies lie in 0..1. `epoch` counts from 1.

    `sparsity` is the share of zeros of the layers that are pruned, None where none are.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    duration_s: float
    sparsity: float | None = None


@dataclass(frozen=True)
class TrainingState:
    """The progress of a training.

    Attributes:
        seeds: states of the model's own random layers (dropout).
        targets: that pruning has chosen for the layers, empty before.
        counted_from: the first epoch that may be kept, which is the first of the final sparsity.
    """

    identity: Mapping[str, object]
    history: tuple[Epoch, ...]
    seeds: tuple[tuple[int, ...], ...] = ()
    finished: bool = False
    targets: tuple[LayerTarget, ...] = ()
    counted_from: int = 1

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation loss from `counted_from` on, the first of equals."""
        counted = [epoch for epoch in self.history if epoch.epoch >= self.counted_from]
        return min(counted, key=lambda epoch: epoch.val_loss, default=None)

    @property
    def epochs_since_best(self) -> int:
        """The number of epochs since then."""
        return 0 if self.best is None else len(self.history) - self.best.epoch


@dataclass(frozen=True)
class Checkpoints:
    """The folder of one training."""

    folder: Path

    def model_file(self, epoch: int) -> Path:
        """Return the file of the model (with its optimizer) after an epoch."""
        return self.folder / f"epoch-{epoch:04}.keras"

    def load(self) -> TrainingState | None:
        """Return the last state, or None if there is none.

        Raises:
            InputError: it is damaged, or model files that it names are missing.
        """
        path = self.folder / _STATE_FILE
        if not path.is_file():
            return None
        try:
            state = _from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a checkpoint: {error}", hint=f"remove {self.folder} to start over"
            ) from error
        for file in self._model_files(state):
            if not file.is_file():
                raise InputError(
                    f"{path} names {file.name}, which does not exist", hint=f"remove {self.folder} to start over"
                )
        return state

    def save(self, state: TrainingState, model: Any) -> None:  # noqa: ANN401  (a keras.Model)
        """Write the model after its last epoch and then the state; keep the last and the best model, remove others.

        Raises:
            WriteError: the disk is full or the folder not writable; the previous state is unchanged.
        """
        with replacing(self.model_file(len(state.history))) as temporary_file:
            model.save(temporary_file)
        self.save_state(state)
        self._remove_all_but(self._model_files(state))

    def save_state(self, state: TrainingState) -> None:
        """Write the state alone."""
        write_whole(self.folder / _STATE_FILE, json.dumps(_to_json(state), indent=1))

    def clear(self) -> None:
        """Remove the files of an earlier training, the state first."""
        (self.folder / _STATE_FILE).unlink(missing_ok=True)
        self._remove_all_but(set())

    def _model_files(self, state: TrainingState) -> set[Path]:
        epochs = {len(state.history), state.best.epoch if state.best else 0}
        return {self.model_file(epoch) for epoch in epochs if epoch}

    def _remove_all_but(self, kept: set[Path]) -> None:
        """Remove model files, and temporary files of a killed process."""
        for file in (*self.folder.glob(_PATTERN), *self.folder.glob(f".{_PATTERN}")):
            if file not in kept:
                with contextlib.suppress(OSError):
                    file.unlink()


def _to_json(state: TrainingState) -> dict[str, object]:
    return {
        "schema": _SCHEMA,
        "identity": dict(state.identity),
        "finished": state.finished,
        "seeds": [list(seed) for seed in state.seeds],
        "counted_from": state.counted_from,
        "targets": [target.to_json() for target in state.targets],
        "history": [asdict(epoch) for epoch in state.history],
    }


def _from_json(value: Mapping[str, Any]) -> TrainingState:
    if value["schema"] != _SCHEMA:
        raise ValueError(f"schema {value['schema']}, expected {_SCHEMA}")
    history = tuple(Epoch(**epoch) for epoch in value["history"])
    seeds = tuple(tuple(seed) for seed in value["seeds"])
    targets = tuple(LayerTarget.from_json(target) for target in value.get("targets", ()))
    counted_from = int(value.get("counted_from", 1))
    return TrainingState(value["identity"], history, seeds, bool(value["finished"]), targets, counted_from)

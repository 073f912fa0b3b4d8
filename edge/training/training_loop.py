"""Trains a model epoch by epoch; a training can be interrupted and resumed at any moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.files import require_folder, sha256_of
from edge.data.splits import DatasetSplits, split_dataset
from edge.errors import InputError
from edge.models.saved_model import load_keras, start_keras
from edge.training.checkpoints import Checkpoints, Epoch, TrainingState
from edge.training.outcome import (
    CorrectCount,
    TrainingResult,
    describe_distillation,
    write_history,
    write_result,
)
from edge.training.trainable_model import TrainableModel, find_trainable_model
from edge.training.training_settings import SUFFIX, TrainingSettings

if TYPE_CHECKING:
    from edge.training.fitting import TrainingHooks
    from edge.training.pruning_report import PruningReport

KerasModel = Any  # keras.Model, which is imported on use


@dataclass(frozen=True)
class TrainingCallbacks:
    """Called after each batch (epoch, batch, batches), after each epoch, and with remarks for the user."""

    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_note: Callable[[str], None] = lambda text: None


def train(settings: TrainingSettings, callbacks: TrainingCallbacks | None = None) -> TrainingResult:
    """Train, and write the model with the lowest validation loss, its description and its history.

    After every epoch the state is saved in `settings.checkpoint_folder`; with `settings.resume` a training that was
    interrupted in any way continues there after its last complete epoch, with the same order of the data.

    Returns:
        The result, with the accuracy on samples used neither to train nor to choose the epoch.

    Raises:
        InputError: the model or the data cannot be found, or the checkpoint is of another training.
        DataError: the data does not fit the model or is too small.
        MissingPartError: TensorFlow is not installed.
        WriteError: a file could not be written.
        EdgeError: the loss diverged.
    """
    callbacks = callbacks or TrainingCallbacks()
    require_folder(settings.out.parent)
    require_folder(settings.checkpoint_folder)
    source = find_trainable_model(settings)
    for note in source.notes:
        callbacks.on_note(note)
    splits = split_dataset(settings.split_options, source.preprocessing)
    training = _Training(settings, source, splits, Checkpoints(settings.checkpoint_folder), callbacks)
    classes = source.classes_for(splits.source)
    state = training.first_state()
    model = training.first_model(state, classes)
    state = training.run(model, state)
    return training.conclude(model, state)


@dataclass(frozen=True)
class _Training:
    settings: TrainingSettings
    source: TrainableModel
    splits: DatasetSplits
    checkpoints: Checkpoints
    callbacks: TrainingCallbacks

    def first_state(self) -> TrainingState:
        """Return the checkpoint to resume from, or a state without epochs.

        Raises:
            InputError: the checkpoint is of another training, or unfinished and is not to be resumed.
        """
        saved, identity, folder = self.checkpoints.load(), self._identity(), self.checkpoints.folder
        if self.settings.resume and saved is not None:
            self._require_same(saved, identity)
            self.callbacks.on_note(f"continuing after epoch {len(saved.history)} of {self.settings.epochs} ({folder})")
            return saved
        if self.settings.resume:
            self.callbacks.on_note(f"no checkpoint in {folder}: starting from the beginning")
        if saved is not None and saved.history and not saved.finished:
            raise InputError(
                f"{folder} holds an unfinished training, {len(saved.history)} epochs of "
                f"{saved.identity.get('epochs')} are done",
                hint=f"--resume continues it; remove {folder} to start over",
            )
        self.checkpoints.clear()
        return TrainingState(identity, (), counted_from=self.settings.first_counted_epoch(len(self.splits.train)))

    def first_model(self, state: TrainingState, classes: int) -> KerasModel:
        """Return the model to continue with, compiled."""
        keras = start_keras()
        from edge.training.fitting import compile_model, restore_random_states

        if state.history:
            model = load_keras(self.checkpoints.model_file(len(state.history)))
            restore_random_states(model, state.seeds)
            return model
        keras.utils.set_random_seed(self.settings.seed)
        model = self.source.build(classes)
        compile_model(model, self.settings, len(self.splits.train))
        return model

    def run(self, model: KerasModel, state: TrainingState) -> TrainingState:
        """Train the remaining epochs, each with its checkpoint."""
        from edge.training.fitting import fit_epoch, random_states

        hooks = self._hooks(model, state)
        settings = self.settings
        while len(state.history) < settings.epochs and state.epochs_since_best < settings.patience:
            epoch = fit_epoch(model, settings, self.splits, len(state.history) + 1, hooks=hooks)
            state = dataclasses.replace(
                state,
                history=(*state.history, epoch),
                seeds=random_states(model),
                targets=hooks.targets or state.targets,
            )
            self.checkpoints.save(state, model)
            write_history(settings, state)
            self.callbacks.on_epoch(epoch)
        return state

    def conclude(self, model: KerasModel, state: TrainingState) -> TrainingResult:
        """Measure the best epoch's model and write the result."""
        from edge.training.fitting import without_optimizer

        best = state.best
        assert best is not None  # at least one epoch was run, and the sparsity was final in the last
        if best.epoch != len(state.history):
            model = load_keras(self.checkpoints.model_file(best.epoch))
        result = self._measure(model, state, best)
        write_result(without_optimizer(model), result, self.settings, self.source, self.splits)
        state = dataclasses.replace(state, finished=True)
        self.checkpoints.save_state(state)
        write_history(self.settings, state)
        return result

    def _identity(self) -> dict[str, object]:
        """Return what decides the result, with the digests of data, model and teacher."""
        settings, distillation = self.settings, describe_distillation(self.settings)
        weights = sha256_of(Path(settings.model)) if settings.model.endswith(SUFFIX) else None
        teacher = {} if distillation is None else {"teacher_sha256": distillation["teacher_sha256"]}
        return {**settings.identity(), "data_digest": self.splits.digest, "model_sha256": weights, **teacher}

    def _require_same(self, saved: TrainingState, identity: dict[str, object]) -> None:
        changed = [name for name in identity if saved.identity.get(name) != identity[name]]
        if changed:
            changes = "; ".join(f"{name} was {saved.identity.get(name)!r}, now {identity[name]!r}" for name in changed)
            raise InputError(
                f"{self.checkpoints.folder} is of another training: {changes}",
                hint="resume with the same options, or remove the folder to start over",
            )

    def _hooks(self, model: KerasModel, state: TrainingState) -> TrainingHooks:
        from edge.training.fitting import TrainingHooks
        from edge.training.pruning_callback import KeepZeros, MagnitudePruning

        settings, zeros = self.settings, None
        schedule = settings.pruning_schedule(len(self.splits.train))
        if settings.pruning is not None and schedule is not None:
            zeros = MagnitudePruning(settings.pruning, schedule, targets=state.targets or None)
            zeros.check(model)
            self._warn_of_padding(int(model.output_shape[-1]))
        elif self.source.pruned:
            zeros = KeepZeros()
            self.callbacks.on_note(f"{settings.model} was pruned: its zeros are kept")
        return TrainingHooks(zeros, self._teacher(int(model.output_shape[-1])), self.callbacks.on_step)

    def _teacher(self, classes: int) -> Any:  # noqa: ANN401  (a Teacher or None)
        from edge.training.distillation import Teacher, load_teacher
        from edge.training.fitting import ends_in_softmax

        if self.settings.distillation is None:
            return None
        labels = self.splits.source.names or self.source.labels
        model = load_teacher(self.settings.distillation.teacher, self.source.preprocessing, classes, labels)
        return Teacher(model, from_logits=not ends_in_softmax(model))

    def _warn_of_padding(self, classes: int) -> None:
        if self.source.arguments(classes).get("padding") == "same":
            self.callbacks.on_note(
                f'{self.source.name} is built with padding "same": XNNPACK runs its sparse kernels only for '
                '"symmetric" (--padding symmetric)'
            )

    def _measure(self, model: KerasModel, state: TrainingState, best: Epoch) -> TrainingResult:
        from edge.data.batches import count_correct

        settings, splits = self.settings, self.splits
        pruning = self._report_pruning(model, state)
        test, validation = (
            CorrectCount(count_correct(model, source, settings.batch), len(source))
            for source in (splits.test, splits.validation)
        )
        return TrainingResult(
            file=settings.out,
            sidecar=settings.sidecar_file,
            history_file=settings.history_file,
            classes=int(model.output_shape[-1]),
            parameters=int(model.count_params()),
            test=test,
            measured_on=splits.measured_on,
            validation=validation,
            best_epoch=best.epoch,
            epochs=len(state.history),
            stopped_early=len(state.history) < settings.epochs,
            training_s=round(sum(epoch.duration_s for epoch in state.history), 3),
            pruning=pruning,
            distillation=describe_distillation(settings),
        )

    def _report_pruning(self, model: KerasModel, state: TrainingState) -> PruningReport | None:
        """Recalibrate a pruned model in place and return the report; None if nothing was pruned."""
        from edge.training.pruning_report import describe_pruning, recalibrate_if_better

        settings = self.settings
        if settings.pruning is None and not self.source.pruned:
            return None
        recalibration = None
        if settings.pruning is not None:
            recalibration = recalibrate_if_better(model, self.splits, batch=settings.batch, seed=settings.seed)
        return describe_pruning(
            model,
            pruning=settings.pruning,
            schedule=settings.pruning_schedule(len(self.splits.train)),
            targets=state.targets,
            recalibration=recalibration,
        )

"""Train a model on a source, epoch by epoch, so that it can be stopped and continued at any moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.files import require_folder, sha256_of
from edge.data.splits import DatasetSplits, split_dataset
from edge.errors import InputError
from edge.training.checkpoints import Checkpoints, Epoch, TrainingState
from edge.training.keras_model import start_keras
from edge.training.outcome import (
    CorrectCount,
    TrainingResult,
    describe_distillation,
    describe_metrics,
    describe_model,
    write_history,
    write_model,
)
from edge.training.pruning_times import first_counted_epoch, schedule_of, was_pruned
from edge.training.trainable_model import TrainableModel, find_trainable_model, load_keras
from edge.training.training_settings import SUFFIX, TrainingSettings

if TYPE_CHECKING:
    from edge.training.fitting import TrainingHooks


@dataclass(frozen=True)
class TrainingCallbacks:
    """Who is told: each batch (epoch, batch, batches), each epoch, and a line of text now and then."""

    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_note: Callable[[str], None] = lambda text: None


def train(settings: TrainingSettings, watch: TrainingCallbacks | None = None) -> TrainingResult:
    """Train, and write the model with the lowest validation loss, its sidecar and its history.

    After every epoch the state goes to `settings.checkpoint_folder`; with `settings.resume` a training that was
    stopped there, by whatever means, goes on after its last whole epoch, with the same order of the data.

    Returns:
        The result, with the accuracy on samples that neither taught nor decided anything.

    Raises:
        InputError: the model or the data cannot be found, or the checkpoint is of another training.
        DataError: the data does not fit the model or is too small.
        MissingPartError: TensorFlow is not installed.
        WriteError: a file could not be written.
        EdgeError: the loss diverged.
    """
    watch = watch or TrainingCallbacks()
    require_folder(settings.out.parent)
    require_folder(settings.checkpoint_folder)
    subject = find_trainable_model(settings)
    for note in subject.notes:
        watch.on_note(note)
    parts = split_dataset(settings.split_options, subject.preprocessing)
    classes = subject.classes_for(parts.whole)
    checkpoints = Checkpoints(settings.checkpoint_folder)
    state = _first_state(settings, parts, checkpoints, watch)
    model = _model(settings, subject, classes, parts, checkpoints, state)
    company = _company(settings, subject, parts, model, state, watch)
    state = _run(settings, parts, checkpoints, state, model, watch, company)
    return _conclude(settings, subject, parts, checkpoints, state, model)


def _identity(settings: TrainingSettings, parts: DatasetSplits) -> dict[str, Any]:
    weights = sha256_of(Path(settings.model)) if settings.model.endswith(SUFFIX) else None
    taught = describe_distillation(settings)
    teacher = {} if taught is None else {"teacher_sha256": taught["teacher_sha256"]}
    return {**settings.identity(), "data_digest": parts.digest, "model_sha256": weights, **teacher}


def _first_state(
    settings: TrainingSettings, parts: DatasetSplits, checkpoints: Checkpoints, watch: TrainingCallbacks
) -> TrainingState:
    found, identity = checkpoints.load(), _identity(settings, parts)
    if settings.resume and found is not None:
        _require_same_training(checkpoints, found, identity)
        watch.on_note(f"continuing after epoch {len(found.history)} of {settings.epochs} ({checkpoints.folder})")
        return found
    if settings.resume:
        watch.on_note(f"no checkpoint in {checkpoints.folder}: starting from the beginning")
    if found is not None and found.history and not found.finished:
        raise InputError(
            f"{checkpoints.folder} holds an unfinished training, {len(found.history)} epochs of "
            f"{found.identity.get('epochs')} are done",
            hint=f"--resume continues it; remove {checkpoints.folder} to start over",
        )
    checkpoints.clear()
    return TrainingState(identity, (), counted_from=first_counted_epoch(settings, parts))


def _require_same_training(checkpoints: Checkpoints, found: TrainingState, identity: dict[str, Any]) -> None:
    other = [name for name in identity if found.identity.get(name) != identity[name]]
    if other:
        told = "; ".join(f"{name} was {found.identity.get(name)!r}, now {identity[name]!r}" for name in other)
        raise InputError(
            f"{checkpoints.folder} is of another training: {told}",
            hint="resume with the same options, or remove the folder to start over",
        )


def _model(
    settings: TrainingSettings,
    subject: TrainableModel,
    classes: int,
    parts: DatasetSplits,
    checkpoints: Checkpoints,
    state: TrainingState,
) -> Any:  # noqa: ANN401  (a keras.Model)
    keras = start_keras()
    from edge.training.fitting import compile_model, restore_random_states

    if state.history:
        model = load_keras(checkpoints.model_file(len(state.history)))
        restore_random_states(model, state.seeds)
        return model
    keras.utils.set_random_seed(settings.seed)
    model = subject.finish(classes)
    compile_model(model, settings, len(parts.train))
    return model


def _company(
    settings: TrainingSettings, subject: TrainableModel, parts: DatasetSplits, model: Any,  # noqa: ANN401
    state: TrainingState, watch: TrainingCallbacks
) -> TrainingHooks:  # fmt: skip
    from edge.training.distillation import Teacher, load_teacher
    from edge.training.fitting import TrainingHooks, ends_in_softmax
    from edge.training.pruning_callback import KeepZeros, MagnitudePruning

    zeros, teacher = None, None
    schedule = schedule_of(settings, parts)
    if settings.pruning is not None and schedule is not None:
        zeros = MagnitudePruning(settings.pruning, schedule, targets=state.targets or None)
        zeros.check(model)
        _warn_of_padding(subject, int(model.output_shape[-1]), watch)
    elif was_pruned(settings):
        zeros = KeepZeros()
        watch.on_note(f"{settings.model} was pruned: its zeros are kept")
    if settings.distillation is not None:
        labels = parts.whole.names or subject.labels
        taught = load_teacher(settings.distillation.teacher, subject.preprocessing, int(model.output_shape[-1]), labels)
        teacher = Teacher(taught, from_logits=not ends_in_softmax(taught))
    return TrainingHooks(zeros, teacher, watch.on_step)


def _warn_of_padding(subject: TrainableModel, classes: int, watch: TrainingCallbacks) -> None:
    if subject.arguments(classes).get("padding") == "same":
        watch.on_note(
            f'{subject.name} is built with padding "same": XNNPACK runs its sparse kernels only for "symmetric" '
            "(--padding symmetric)"
        )


def _run(
    settings: TrainingSettings, parts: DatasetSplits, checkpoints: Checkpoints, state: TrainingState,
    model: Any, watch: TrainingCallbacks,  # noqa: ANN401
    company: TrainingHooks,
) -> TrainingState:  # fmt: skip
    from edge.training.fitting import fit_epoch, random_states

    while len(state.history) < settings.epochs and state.epochs_since_best < settings.patience:
        epoch = fit_epoch(model, settings, parts, len(state.history) + 1, company=company)
        targets = company.targets or state.targets
        state = dataclasses.replace(state, history=(*state.history, epoch), seeds=random_states(model), targets=targets)
        checkpoints.save(state, model)
        write_history(settings, state)
        watch.on_epoch(epoch)
    return state


def _conclude(
    settings: TrainingSettings, subject: TrainableModel, parts: DatasetSplits, checkpoints: Checkpoints,
    state: TrainingState, model: Any,  # noqa: ANN401
) -> TrainingResult:  # fmt: skip
    from edge.data.batches import count_correct
    from edge.training.fitting import without_optimizer

    best = state.best
    assert best is not None  # at least one epoch was run, and the sparsity was final in the last
    if best.epoch != len(state.history):
        model = load_keras(checkpoints.model_file(best.epoch))
    pruning = _pruning(settings, parts, model, state)
    test, validation = (
        CorrectCount(count_correct(model, part, settings.batch), len(part)) for part in (parts.test, parts.validation)
    )
    classes = int(model.output_shape[-1])
    found = {
        "metrics": describe_metrics(test, validation, parts.measured_on),
        "pruning": pruning,
        "distillation": describe_distillation(settings),
    }
    sidecar = describe_model(settings, subject, parts, classes=classes, found=found)
    write_model(without_optimizer(model), settings, sidecar)
    state = dataclasses.replace(state, finished=True)
    checkpoints.save_state(state)
    write_history(settings, state)
    return TrainingResult(
        file=settings.out,
        sidecar=settings.sidecar_file,
        history_file=settings.history_file,
        classes=classes,
        parameters=int(model.count_params()),
        test=test,
        measured_on=parts.measured_on,
        validation=validation,
        best_epoch=best.epoch,
        epochs=len(state.history),
        stopped_early=len(state.history) < settings.epochs,
        training_s=round(sum(epoch.duration_s for epoch in state.history), 3),
        pruning=pruning,
        distillation=found["distillation"],
    )


def _pruning(
    settings: TrainingSettings,
    parts: DatasetSplits,
    model: Any,  # noqa: ANN401
    state: TrainingState,
) -> dict[str, Any] | None:
    """Recalibrate a model that was pruned, in place, and say what was pruned; None if nothing was."""
    from edge.training.pruning_report import describe_pruning, recalibrate_if_better

    if settings.pruning is None and not was_pruned(settings):
        return None
    return describe_pruning(
        model,
        pruning=settings.pruning,
        schedule=schedule_of(settings, parts),
        targets=state.targets,
        recalibration=None if settings.pruning is None else recalibrate_if_better(model, settings, parts),
    )

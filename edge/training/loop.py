"""Train a model on a source, epoch by epoch, so that it can be stopped and continued at any moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.files import sha256_of
from edge.errors import InputError
from edge.training.checkpoints import Checkpoints, Epoch, State
from edge.training.outcome import Share, TrainingResult, metrics_json, sidecar_json, write_history, write_model
from edge.training.parts import Parts, parts_of
from edge.training.settings import SUFFIX, TrainingSettings
from edge.training.startup import start_keras
from edge.training.subject import Subject, load_keras, subject_of


@dataclass(frozen=True)
class Watch:
    """Who is told: each batch (epoch, batch, batches), each epoch, and a line of text now and then."""

    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_note: Callable[[str], None] = lambda text: None


def train(settings: TrainingSettings, watch: Watch | None = None) -> TrainingResult:
    """Train, and write the model with the lowest validation loss, its sidecar and its history.

    After every epoch the state goes to `settings.checkpoint_folder`; with `settings.resume` a training that was
    stopped there, by whatever means, goes on after its last whole epoch, with the same order of the data.

    Returns:
        The result, with the accuracy on samples that neither taught nor decided anything.

    Raises:
        InputError: the model or the data cannot be found, or the checkpoint is of another training.
        DataError: the data does not fit the model or is too small.
        MissingPackageError: TensorFlow is not installed.
        WriteError: a file could not be written.
        EdgeError: the loss diverged.
    """
    watch = watch or Watch()
    subject = subject_of(settings)
    parts = parts_of(settings, subject.preprocessing)
    classes = subject.classes_for(parts.whole)
    checkpoints = Checkpoints(settings.checkpoint_folder)
    state = _first_state(settings, checkpoints, _identity(settings, parts), watch)
    model = _model(settings, subject, classes, parts, checkpoints, state)
    state = _run(settings, parts, checkpoints, state, model, watch)
    return _conclude(settings, subject, parts, checkpoints, state, model)


def _identity(settings: TrainingSettings, parts: Parts) -> dict[str, Any]:
    weights = sha256_of(Path(settings.model)) if settings.model.endswith(SUFFIX) else None
    return {**settings.identity(), "data_digest": parts.digest, "model_sha256": weights}


def _first_state(settings: TrainingSettings, checkpoints: Checkpoints, identity: dict[str, Any], watch: Watch) -> State:
    found = checkpoints.load()
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
    return State(identity, ())


def _require_same_training(checkpoints: Checkpoints, found: State, identity: dict[str, Any]) -> None:
    other = [name for name in identity if found.identity.get(name) != identity[name]]
    if other:
        told = "; ".join(f"{name} was {found.identity.get(name)!r}, now {identity[name]!r}" for name in other)
        raise InputError(
            f"{checkpoints.folder} is of another training: {told}",
            hint="resume with the same options, or remove the folder to start over",
        )


def _model(
    settings: TrainingSettings, subject: Subject, classes: int, parts: Parts, checkpoints: Checkpoints, state: State
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


def _run(
    settings: TrainingSettings, parts: Parts, checkpoints: Checkpoints, state: State, model: Any, watch: Watch  # noqa: ANN401
) -> State:  # fmt: skip
    from edge.training.fitting import fit_epoch, random_states

    while len(state.history) < settings.epochs and state.epochs_since_best < settings.patience:
        epoch = fit_epoch(model, settings, parts, len(state.history) + 1, on_step=watch.on_step)
        state = dataclasses.replace(state, history=(*state.history, epoch), seeds=random_states(model))
        checkpoints.save(state, model)
        write_history(settings, state)
        watch.on_epoch(epoch)
    return state


def _conclude(
    settings: TrainingSettings, subject: Subject, parts: Parts, checkpoints: Checkpoints, state: State, model: Any  # noqa: ANN401
) -> TrainingResult:  # fmt: skip
    from edge.training.batches import count_correct
    from edge.training.fitting import without_optimizer

    best = state.best
    assert best is not None  # at least one epoch was run
    if best.epoch != len(state.history):
        model = load_keras(checkpoints.model_file(best.epoch))
    test, validation = (
        Share(count_correct(model, part, settings.batch), len(part)) for part in (parts.test, parts.validation)
    )
    classes = int(model.output_shape[-1])
    metrics = metrics_json(test, validation, parts.measured_on)
    sidecar = sidecar_json(settings, subject, parts, classes=classes, metrics=metrics)
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
    )

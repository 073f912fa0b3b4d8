"""Deploys and rolls back: runs the steps in order, and undoes them if one fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from converters.errors import EdgeError
from devices.messages.model_jobs import GoldenResult
from devices.messages.release_jobs import UnitState
from devices.releases.board import OnStep, ReleaseBoard
from devices.releases.errors import DamagedError, GoldenError, UnknownReleaseError
from devices.releases.package import CURRENT_MODEL, GOLDEN, KEEP, MODEL, DeployedFile, ReleasePackage
from devices.releases.release_status import Release, Released, ReleaseStatus
from devices.releases.service_unit import unit_name, unit_text

_UNTOUCHED = "the previous release is still current"
_AGAIN = "; the same command resumes the deployment"
_UNSURE = "whether the switch was made is not known: `edge deploy --status` shows it"


@dataclass(frozen=True)
class ReleaseTerms:
    """Options of a release: who deploys, how many are kept, the user's program to start with it."""

    who: str
    keep: int = KEEP
    program: str | None = None


def release(board: ReleaseBoard, package: ReleasePackage, terms: ReleaseTerms, *, on_step: OnStep) -> Released:
    """Deploy: send what is missing, check it on the board, switch, check again, tidy up.

    Raises:
        BusyError: Somebody else deploys.
        FullError: It does not fit.
        DamagedError: What arrived is not what was sent, twice.
        GoldenError: The model's outputs there differ from those here; nothing was switched, or it was switched back.
    """
    with _add_hint(_UNTOUCHED + _AGAIN) as stage:
        unit_text(terms.program or "/", board.root)  # refused before anything is sent
        now = board.lock(terms.who, package.digest, on_step=on_step)
        if now.release is not None and now.same:
            golden = _check_golden(board, package.golden, CURRENT_MODEL, f"current/{GOLDEN}", on_step)
            unit = _unit(board, terms) if terms.program else None
            return Released(board.device, board.root, now.release, now.previous, True, 0, golden, unit)
        sent = board.send(package.contents, keep=terms.keep, on_step=on_step)
        blobs = {each.name: f"blobs/{each.sha256}" for each in package.contents}
        golden = _check_golden(board, package.golden, blobs[MODEL], blobs.get(GOLDEN, ""), on_step)
        stage.hint = _UNSURE
        on_step("switching", 0, 1)
        made = board.publish(package, deployed=_utc_now(), by=terms.who, golden=golden)
        name, previous = str(made.id), made.previous
        _check_after(board, package, name, previous, on_step)
        unit = _unit(board, terms)
        deleted = board.clean(terms.keep)
        on_step("done", 1, 1)
        return Released(board.device, board.root, name, previous, False, sent, golden, unit, deleted)


def roll_back(board: ReleaseBoard, to: str | None, who: str, *, check: bool = True, on_step: OnStep) -> Released:
    """Make an earlier release serve: the one named, or the one that served before this one.

    Its files are compared in any case; with `check` its golden vectors are run as well.

    Raises:
        UnknownReleaseError: There is no such release, or nothing served before.
        DamagedError: Its files are not as they were deployed.
        GoldenError: It does not pass its golden vectors (any more).
    """
    with _add_hint(_UNTOUCHED) as stage:
        board.lock(who, on_step=on_step)
        before = board.status(verify=False)
        target = _target(before, to)
        checked = board.status(only=target.id).find(target.id)
        if checked is None or checked.faults:
            raise _damage_error(board, before, target, checked)
        folder = f"releases/{target.id}"
        golden = None
        if check and GOLDEN in checked.files:
            golden = _require_pass(
                board, board.golden(f"{folder}/{MODEL}", f"{folder}/{GOLDEN}", on_step=on_step), target.id
            )
        stage.hint = _UNSURE
        on_step("switching", 0, 1)
        board.switch(target.id)
        unit = board.unit(unit_name(board.root), None)
        on_step("done", 1, 1)
        unchanged = target.id == before.current
        return Released(board.device, board.root, target.id, before.current, unchanged, 0, golden, unit)


@dataclass
class _Stage:
    """The hint that goes with a failure at this moment."""

    hint: str


@contextlib.contextmanager
def _add_hint(hint: str) -> Iterator[_Stage]:
    """Add the state of the board to the hint of an error."""
    stage = _Stage(hint)
    try:
        yield stage
    except (GoldenError, UnknownReleaseError):
        raise  # their messages have it
    except EdgeError as error:
        error.hint = f"{error.hint}; {stage.hint}" if error.hint else stage.hint
        raise


def _check_golden(
    board: ReleaseBoard, golden: DeployedFile | None, model: str, vectors: str, on_step: OnStep
) -> GoldenResult | None:
    return None if golden is None else _require_pass(board, board.golden(model, vectors, on_step=on_step), None)


def _require_pass(board: ReleaseBoard, found: GoldenResult, name: str | None) -> GoldenResult:
    if found.passed:
        return found
    what = f"release {name}" if name else "the model"
    raise GoldenError(
        f"{what} gives other outputs on {board.device} ({found.runtime}) than where its golden vectors were made: "
        f"largest difference {found.worst}; nothing was switched",
        hint=f"{_UNTOUCHED}; another runtime may be the cause: `edge devices setup {board.device} --runtime ...`, or "
        "give inputs of your own (--golden SRC); --golden none deploys without this check",
    )


def _check_after(
    board: ReleaseBoard, package: ReleasePackage, name: str, previous: str | None, on_step: OnStep
) -> None:
    """Run the golden vectors through `current`; where they fail, make the release before serve again."""
    if package.golden is None:
        return
    found = board.golden(CURRENT_MODEL, f"current/{GOLDEN}", on_step=on_step)
    if not found.passed:
        board.switch(previous, delete=name)
        raise GoldenError(
            f"after the switch the model gives other outputs on {board.device}: largest difference {found.worst}; "
            + (f"switched back to {previous}" if previous else "no release is current, as before"),
            hint="the same model passed before the switch: is the board's memory or disk failing?",
        )


def _utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _unit(board: ReleaseBoard, terms: ReleaseTerms) -> UnitState | None:
    return board.unit(unit_name(board.root), None if terms.program is None else unit_text(terms.program, board.root))


def _target(before: ReleaseStatus, to: str | None) -> Release:
    """Return the release to go back to; a number or the beginning of an id is enough where only one begins so."""
    names = ", ".join(each.id for each in before.releases) or "none"
    if to is None:
        now = before.serving
        found = before.find(now.previous) if now else None
        if found is None:
            what = "no release is current" if now is None else f"no release is left from before {now.id}"
            raise UnknownReleaseError(
                f"{before.device}: {what} at {before.root}", hint=f"releases: {names}; --to-release chooses one"
            )
        return found
    fitting = [each for each in before.releases if to in (each.id, str(each.number))] or [
        each for each in before.releases if each.id.startswith(to)
    ]
    if len(fitting) != 1:
        what = f"{len(fitting)} releases begin with {to!r}" if fitting else f"there is no release {to!r}"
        raise UnknownReleaseError(f"{before.device}: {what} at {before.root}", hint=f"releases: {names}")
    return fitting[0]


def _damage_error(board: ReleaseBoard, before: ReleaseStatus, target: Release, checked: Release | None) -> DamagedError:
    faults = "; ".join(checked.faults or ()) if checked else "it is gone"
    others = [each.id for each in before.releases if each.id not in (target.id, before.current)]
    instead = f"--to-release {others[-1]}, or " if others else ""
    return DamagedError(
        f"{board.device}: release {target.id} is damaged: {faults}", hint=f"{instead}deploy its model again"
    )

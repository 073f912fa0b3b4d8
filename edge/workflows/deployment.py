"""Deploys a model file to a board as a release, and rolls back: the work of `edge deploy` and `edge rollback`."""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from converters.artifact.record import ArtifactRecord
from converters.artifact.sidecar import artifact_of, record_text
from converters.tflite.values import EDGE_TPU_OPERATOR
from devices.contract import Device
from devices.errors import DeviceError
from devices.releases.board import OnStep, ReleaseBoard, Timeouts
from devices.releases.errors import ReleaseError
from devices.releases.package import DESCRIPTION, GOLDEN, KEEP, MODEL, DeployedFile, ReleasePackage, root_on
from devices.releases.release import ReleaseTerms, release, roll_back
from devices.releases.release_status import Released, ReleaseStatus
from edge.agent.client import AgentClient
from edge.errors import InputError
from edge.runtime.delegates import Delegate
from edge.runtime.errors import RuntimeFault
from edge.runtime.verified_model import VerifiedModel, verify_file
from edge.workflows.golden_vectors import GoldenMaker, Through

NO_GOLDEN = "none"


@dataclass(frozen=True, kw_only=True)
class DeployRequest:
    """What to deploy, and how.

    Attributes:
        model: The .tflite file; its description (.json alongside) is deployed with it.
        root: The folder of the releases on the board; None for the default.
        keep: How many releases stay there.
        golden: A picture, an array file or a folder of them to check the model with on the board; None generates
            inputs, "none" checks nothing.
        program: The user's program on the board, to be run by a systemd unit.
        delegates: The delegates that the board uses in the check.
        reference: For a model compiled for the Edge TPU: the one it was compiled from, which runs here.
    """

    model: Path
    root: str | None = None
    keep: int = KEEP
    golden: str | None = None
    program: str | None = None
    delegates: tuple[Delegate, ...] = ()
    reference: Path | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)


class Deployment:
    """One model file, read and verified once, to be deployed to any number of boards.

    Raises:
        InputError: There is no such file, or it is compiled and no reference is given.
        ModelFileError: It is not a valid model, or its description is of another file.
    """

    def __init__(self, request: DeployRequest) -> None:
        self._request = request
        self._verified = _verify(request.model)
        self._artifact = artifact_of(request.model)
        source = None if request.golden in (None, NO_GOLDEN) else Path(str(request.golden))
        if source is not None and not source.exists():
            raise InputError(f"there is no {source} to take golden inputs from", hint="check the path, or leave it out")
        self._golden = None
        if request.golden != NO_GOLDEN:
            through = _through(request, self._verified)
            self._golden = GoldenMaker(self._verified, self._artifact, source, through)

    def to(self, device: Device, *, on_step: OnStep | None = None) -> Released:
        """Deploy to one board.

        Raises:
            ReleaseError: The board refused a step, or the model's outputs there differ from those here.
            DeviceError: The board cannot be reached, or the connection broke.
            RuntimeFault: The agent failed on the board.
        """
        request = self._request
        with _agent(device) as agent:
            board = ReleaseBoard(agent, device.name, request.root or root_on(device), timeouts=request.timeouts)
            package = self._package(agent, device.name)
            terms = ReleaseTerms(who(), request.keep, request.program)
            return release(board, package, terms, on_step=on_step or _silent)

    def _package(self, agent: AgentClient, device: str) -> ReleasePackage:
        contents = [DeployedFile.of(MODEL, self._verified.data)]
        if self._artifact is not None:
            contents.append(DeployedFile.of(DESCRIPTION, record_text(self._artifact).encode()))
        if self._golden is not None:
            contents.append(DeployedFile.of(GOLDEN, self._golden.for_runtime(_runtime(agent, device))))
        return ReleasePackage(_label(self._artifact, self._request.model), tuple(contents))


def rollback(
    device: Device,
    to: str | None = None,
    *,
    root: str | None = None,
    check: bool = True,
    timeouts: Timeouts | None = None,
    on_step: OnStep | None = None,
) -> Released:
    """Activate an earlier release: the one named (id, number or the beginning of an id), or the one before.

    Raises:
        UnknownReleaseError: There is no such release.
        DamagedError: Its files are not as they were deployed.
        GoldenError: Its outputs differ from those at its deployment; not with `check` False.
    """
    with _agent(device) as agent:
        board = ReleaseBoard(agent, device.name, root or root_on(device), timeouts=timeouts)
        return roll_back(board, to, who(), check=check, on_step=on_step or _silent)


def release_status(device: Device, *, root: str | None = None) -> ReleaseStatus:
    """Return the releases on a board, with every file read there and compared with its checksum."""
    with _agent(device) as agent:
        return ReleaseBoard(agent, device.name, root or root_on(device)).status()


def who() -> str:
    """Return the name of the deployer, for the records: user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


@contextlib.contextmanager
def _agent(device: Device) -> Iterator[AgentClient]:
    """Start the agent, and close the device's connection at the end where it has one."""
    close: Callable[[], None] = getattr(device, "close", lambda: None)
    try:
        with AgentClient.on(device) as agent:
            yield agent
    except Exception as error:
        if isinstance(error, DeviceError | RuntimeFault) and error.hint is None:
            error.hint = f"nothing was changed on {device.name}; `edge devices info {device.name}` tries to reach it"
        raise
    finally:
        close()


def _through(request: DeployRequest, model: VerifiedModel) -> Through:
    if EDGE_TPU_OPERATOR in model.custom and request.reference is None:
        raise InputError(
            f"{request.model} was compiled for the Edge TPU and does not run here: its expected outputs are unknown",
            hint="--reference FILE.tflite, the model it was compiled from, with --tpu or --delegate for the board; "
            "--golden none deploys without a check",
        )
    return Through(request.delegates, None if request.reference is None else _verify(request.reference))


def _verify(path: Path) -> VerifiedModel:
    if not path.is_file():
        raise InputError(f"there is no model file {path}", hint="give the path of a .tflite file")
    return verify_file(path)


def _runtime(agent: AgentClient, device: str) -> str | None:
    """Return the runtime the board will use."""
    found = agent.hello.runtimes
    if not found:
        raise ReleaseError(
            f"{device} has no TFLite runtime: the model cannot be checked there",
            hint=f"`edge devices setup {device}` installs one; --golden none deploys without a check",
        )
    return found[0].name


def _label(artifact: ArtifactRecord | None, path: Path) -> str:
    return path.stem if artifact is None else artifact.name


def _silent(what: str, done: int, of: int) -> None:
    """Report nothing."""

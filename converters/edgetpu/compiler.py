"""Runs Google's edgetpu_compiler: from PATH, from a path, or in a container that the user names.

The compiler is closed, runs on x86-64 Debian and its derivatives only, and is not part of this project: nothing is
downloaded here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from converters.edgetpu.log import CompilerLog, parse_log
from converters.edgetpu.mapping import MappingPrediction
from converters.errors import ConversionError, MissingPartError
from converters.printable import printable
from converters.tflite.reader import parse_model
from converters.tflite.values import ModelInfo

PROGRAM = "edgetpu_compiler"
CONTAINER = "docker:"
# The compiler's own limit is 180 s; the rest is for a container to start.
DEADLINE_S = 300.0
_REMOVAL_DEADLINE_S = 30.0
_MODEL = "model.tflite"
_RESULT = "model_edgetpu.tflite"
_TABLE = "model_edgetpu.log"
HOW_TO_GET = (
    "install Google's Debian package edgetpu-compiler (x86-64; the vendor's page 'Edge TPU Compiler' has the apt "
    "source), or name it: --compiler PATH, or --compiler docker:IMAGE for an image that has it; without it, "
    "--to edgetpu gives the file to compile elsewhere"
)


@dataclass(frozen=True)
class Compiled:
    """A compiled file, parsed, and the compiler's report on it."""

    data: bytes
    model: ModelInfo
    log: CompilerLog

    def differences(self, forecast: MappingPrediction) -> list[str]:
        """Return where the compiler differs from the prediction, by kind of operator; empty where they agree."""
        told, found = _merge_counts(Counter(each.op for each in forecast.on_cpu)), _merge_counts(self.log.on_cpu)
        names = sorted(op for op in set(told) | set(found) if told[op] != found[op])
        return [f"{op}: {found[op]} stayed on the CPU, forecast {told[op]}" for op in names]


@dataclass(frozen=True)
class Compiler:
    """The compiler: "edgetpu_compiler" on PATH, a path, or "docker:IMAGE"."""

    where: str = PROGRAM
    deadline_s: float = DEADLINE_S

    def require(self) -> None:
        """Check that the compiler, or Docker for a container, is installed.

        Raises:
            MissingPartError: it is missing.
        """
        program = self._command(Path(), "")[0]
        if shutil.which(program) is None:
            what = f"{program}, which runs it," if self.where.startswith(CONTAINER) else program
            raise MissingPartError(f"the Edge TPU compiler is missing: {what} was not found", hint=HOW_TO_GET)

    def compile(self, data: bytes) -> Compiled:
        """Compile a file.

        Raises:
            MissingPartError: the compiler is missing, or cannot be started.
            ConversionError: it fails, takes longer than the deadline, or leaves no file that can be read.
        """
        self.require()
        with tempfile.TemporaryDirectory(prefix="edgetpu-") as name:
            folder = Path(name)
            (folder / _MODEL).write_bytes(data)
            said = self._run(folder)
            table = folder / _TABLE
            log = parse_log(said, table=table.read_text(errors="replace") if table.is_file() else "")
            data, model = _result(folder / _RESULT, log, said)
            return Compiled(data, model, log)

    def _command(self, folder: Path, name: str) -> list[str]:
        words = ["-s", "-o", str(folder), str(folder / _MODEL)]
        if not self.where.startswith(CONTAINER):
            return [self.where, *words]
        image = self.where.removeprefix(CONTAINER)
        mount = ["--volume", f"{folder}:{folder}", "--user", f"{os.getuid()}:{os.getgid()}"]
        run = ["docker", "run", "--rm", "--name", name, "--network", "none"]
        return [*run, *mount, "--entrypoint", PROGRAM, image, *words]

    def _run(self, folder: Path) -> str:
        """Return the output; the presence of the file is more reliable than the exit status."""
        name = f"edge-edgetpu-{uuid.uuid4().hex[:12]}"
        try:
            process = subprocess.Popen(
                self._command(folder, name), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise MissingPartError(f"{self.where} cannot be run: {error.strerror or error}", hint=HOW_TO_GET) from error
        with process:
            try:
                said = process.communicate(timeout=self.deadline_s)[0].decode(errors="replace")
            except subprocess.TimeoutExpired as error:
                left = self._stop(process, name)
                raise ConversionError(
                    f"{self.where} did not end within {self.deadline_s:g} s; it was stopped",
                    hint=left or "compile a smaller model, or one with a smaller input",
                ) from error
            except BaseException:  # the user's Ctrl-C, above all
                self._stop(process, name)
                raise
        if process.returncode:
            raise ConversionError(
                f"{self.where} failed with status {process.returncode}: {_reason(said)}",
                hint="edge inspect FILE --target coral lists what the compiler is predicted to refuse",
            )
        return said

    def _stop(self, process: subprocess.Popen[bytes], name: str) -> str | None:
        """End the process group: the compiler works in a child process.

        Returns instructions for a container that could not be ended.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if not self.where.startswith(CONTAINER) or _remove_container(name):
            return None
        return f"its container may still be running: docker rm --force {name}"


def _remove_container(container: str) -> bool:
    """End a container: as a child of Docker's service it outlives the process that asked for it."""
    command = ["docker", "rm", "--force", container]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=_REMOVAL_DEADLINE_S)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _result(path: Path, log: CompilerLog, said: str) -> tuple[bytes, ModelInfo]:
    """Return the compiled file and its contents, refusing one that is not compiled."""
    if not path.is_file():
        raise ConversionError(f"edgetpu_compiler made no file: {_reason(said)}",
                              hint="edge inspect FILE --target coral lists what it is predicted to refuse")  # fmt: skip
    data = path.read_bytes()
    model = parse_model(data, name="edgetpu_compiler's result")
    mapped = sum(log.mapped.values())
    if mapped and not model.is_edgetpu_compiled:
        raise ConversionError(f"edgetpu_compiler reports {mapped} mapped operators, but its file has none",
                              hint="use Google's edgetpu_compiler; this one's files cannot be trusted")  # fmt: skip
    return data, model


def _reason(said: str) -> str:
    errors = parse_log(said).errors
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = "; ".join(dict.fromkeys(errors)) or (lines[-1] if lines else "it said nothing")
    return printable(told)[:400]


def _merge_counts(counts: Counter[str]) -> Counter[str]:
    """Count custom operators as the compiler's table names them: CUSTOM."""
    merged: Counter[str] = Counter()
    for name, count in counts.items():
        merged[name if name.isupper() else "CUSTOM"] += count
    return merged

"""Describes a file that the Edge TPU compiler wrote: the runtime it needs, its parameters, the operators on the CPU."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from converters.edgetpu.executable import EdgeTpuPackage, read_package
from converters.errors import ModelFileError
from converters.tflite.values import EDGE_TPU_OPERATOR, ModelInfo

# Change numbers of the compilers that were released: the last part of their version strings.
COMPILERS = {"384591198": "16.0", "340273435": "15.0", "317412892": "14.1", "302470888": "2.1", "291256449": "2.0"}


@dataclass(frozen=True)
class CpuOperator:
    """An operator that was left to the CPU."""

    index: int
    op: str


@dataclass(frozen=True)
class CompiledReport:
    """The contents of a compiled file. `problem` is the reason why a package is missing from `packages`.

    `packages` are in the order of the edgetpu-custom-ops in the file: usually one.
    """

    packages: tuple[EdgeTpuPackage, ...]
    on_cpu: tuple[CpuOperator, ...]
    problem: str | None = None

    @property
    def min_runtime_version(self) -> int | None:
        """The oldest Edge TPU runtime (libedgetpu) that runs the file; None where no package can be read."""
        return max((package.min_runtime_version for package in self.packages), default=None)

    @property
    def compiler(self) -> str | None:
        """The compiler's version, or its change number where that belongs to no release; None where none is stored."""
        number = next((package.compiler for package in self.packages if package.compiler), None)
        return None if number is None else COMPILERS.get(number, f"change {number}")

    @property
    def cached_bytes(self) -> int:
        """Parameters that stay on the Edge TPU once loaded."""
        return sum(package.cached_bytes for package in self.packages)

    @property
    def streamed_bytes(self) -> int:
        """Parameters that are sent to it for each inference."""
        return sum(package.streamed_bytes for package in self.packages)

    def to_json(self) -> dict[str, Any]:
        """Return the value `edgetpu` of an inspection."""
        return {
            "min_runtime_version": self.min_runtime_version,
            "compiler": self.compiler,
            "cached_parameters_bytes": self.cached_bytes,
            "streamed_parameters_bytes": self.streamed_bytes,
            "on_cpu": [dataclasses.asdict(each) for each in self.on_cpu],
            "packages": [dataclasses.asdict(each) for each in self.packages],
            "problem": self.problem,
        }


def describe_compiled(model: ModelInfo) -> CompiledReport | None:
    """Return the contents of a compiled file; None where the file was not compiled for the Edge TPU."""
    if not model.is_edgetpu_compiled:
        return None
    packages, problem = [], None
    for operator in model.main.operators:
        if operator.name == EDGE_TPU_OPERATOR:
            try:
                packages.append(read_package(bytes(operator.custom_options)))
            except ModelFileError as error:
                problem = str(error)
    left = tuple(CpuOperator(op.index, op.name) for op in model.main.operators if op.name != EDGE_TPU_OPERATOR)
    return CompiledReport(tuple(packages), left, problem)

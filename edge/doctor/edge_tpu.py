"""What `edge doctor` says of Edge TPUs on this machine: whether any is attached, and what keeps it from use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converters.decode import decode
from devices.accelerator_problems import find_problems
from devices.accelerators import CLOCKS, MAXIMUM, Coral, describe_accelerators
from devices.messages.machine import EdgeTpuState
from edge.runtime.coral import advice, here
from edge.runtime.coral_state import coral_state
from edge.runtime.interpreters import installed


@dataclass(frozen=True)
class Remark:
    """One thing to say, in the words of a doctor's finding."""

    name: str
    state: Literal["ok", "missing", "problem"]
    detail: str
    why: str
    how: str | None = None


def remarks(root: Path = Path("/"), *, kernel: str | None = None, page_size_bytes: int | None = None) -> list[Remark]:
    """Look for Edge TPUs.

    Args:
        root: Where /sys, /dev, /lib and /var are.
        kernel: The running kernel's release; None asks for it.
        page_size_bytes: Of the running kernel; None asks for it.
    """
    coral = Coral.of(decode(EdgeTpuState, {**coral_state(root, kernel=kernel), "advice": advice(here())}, "Edge TPUs"))
    assert coral is not None
    return list(_remarks(coral, kernel or platform.release(), page_size_bytes or os.sysconf("SC_PAGE_SIZE")))


def _remarks(coral: Coral, kernel: str, page_size_bytes: int) -> Iterator[Remark]:
    why = "runs models compiled for Coral"
    if not coral.is_attached:
        ids = "none attached: USB has neither 1a6e:089a nor 18d1:9302, PCIe no 1ac1:089a"
        yield Remark("Edge TPU", "missing", ids, why)
        if not coral.library:
            return
    else:
        yield Remark("Edge TPU", "ok", "; ".join(describe_accelerators(coral)), why)
    runtimes = {each.name: each.version for each in installed()}
    for each in find_problems(coral, kernel=kernel, page_size_bytes=page_size_bytes, runtimes=runtimes):
        yield Remark("Edge TPU", "problem", each.what, "keeps the Edge TPU from use, or slows it", each.fix)
    if coral.library:
        yield _library(coral)


def _library(coral: Coral) -> Remark:
    name = next((each for each in CLOCKS if each in coral.packages), None)
    if name is None:
        return Remark("libedgetpu", "ok", f"{coral.library}, of no package", "its clock is not known")
    mhz, warmest = CLOCKS[name]
    hot = ", and the stick gets hot to the touch" if name == MAXIMUM else ""
    return Remark(name, "ok", f"{coral.packages[name]}, {coral.library}", f"{mhz} MHz, for air up to {warmest} °C{hot}")

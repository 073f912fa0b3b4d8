"""The agent as one file: what is sent to a device that does not have the toolkit installed.

The zip holds the sources of `edge.runtime` and `edge.agent`, which need NumPy, a TFLite runtime and the standard
library. They are packed, not imported: this room stands below `edge`. The same sources give the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from devices.errors import DeviceError
from devices.places import cache_dir

ROOMS = ("runtime", "agent")
HOST_ONLY = {"agent/client.py"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: no clock gets into the bytes
_MAIN = "import sys\n\nfrom edge.agent.serve import main\n\nsys.exit(main())\n"


def agent_bundle() -> Path:
    """Return the agent's zipapp, made now if these sources have not been packed before.

    Raises:
        DeviceError: The sources are not there, or the cache folder cannot be written.
    """
    data = _pack()
    path = cache_dir() / "agent" / f"agent-{hashlib.sha256(data).hexdigest()[:16]}.pyz"
    if not path.is_file() or path.read_bytes() != data:
        _store(data, path)
    return path


def _pack() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in _sources():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return packed.getvalue()


def _sources() -> Iterator[tuple[str, bytes]]:
    spec = importlib.util.find_spec("edge")
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError("the sources of the agent are not installed", hint="install edge-convert[host]")
    top = Path(next(iter(spec.submodule_search_locations)))
    yield "__main__.py", _MAIN.encode()
    yield "edge/__init__.py", (top / "__init__.py").read_bytes()
    for room in ROOMS:
        for path in sorted((top / room).rglob("*.py")):
            name = path.relative_to(top).as_posix()
            if name not in HOST_ONLY:
                yield f"edge/{name}", path.read_bytes()


def _store(data: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(draft).replace(path)
    except OSError as error:
        raise DeviceError(
            f"the agent could not be packed into {path}: {error.strerror}",
            hint="EDGE_CACHE_DIR names another folder for what the toolkit keeps",
        ) from error

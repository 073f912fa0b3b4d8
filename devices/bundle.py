"""Packs the agent into one file, to be sent to a device that does not have the toolkit installed.

The zip holds the sources of `edge.runtime`, `edge.agent`, its messages and the file formats, which need NumPy, a TFLite
runtime and the standard library. They are packed, not imported: this package is below `edge`. The same sources give the
same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from converters.files import PRIVATE, temporary_for
from devices.errors import DeviceError
from devices.local_paths import cache_dir

# What is packed of each package: modules, and folders with all that is in them.
PACKED = {
    "devices": ("__init__.py", "messages"),
    "converters": ("__init__.py", "decode.py", "errors.py", "files.py", "artifact", "tflite"),
    "edge": ("__init__.py", "agent", "runtime"),
}
HOST_ONLY = {"edge/agent/client.py"}
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
    yield "__main__.py", _MAIN.encode()
    for package, parts in PACKED.items():
        top = _folder_of(package)
        for path in sorted(path for part in parts for path in (top / part).rglob("*.py")) + [
            top / part for part in parts if part.endswith(".py")
        ]:
            name = path.relative_to(top.parent).as_posix()
            if name not in HOST_ONLY:
                yield name, path.read_bytes()


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError("the sources of the agent are not installed", hint="install edge-convert[host]")
    return Path(next(iter(spec.submodule_search_locations)))


def _store(data: bytes, path: Path) -> None:
    try:
        with temporary_for(path, mode=PRIVATE) as file:
            file.write_bytes(data)
    except OSError as error:
        raise DeviceError(
            f"the agent could not be packed into {path}: {error.strerror}",
            hint="set EDGE_CACHE_DIR to another folder",
        ) from error

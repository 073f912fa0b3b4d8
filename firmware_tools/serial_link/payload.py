"""The board's end as one file: a zip that Python runs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_PACKAGE = Path(__file__).parent
_MODULES = ("frames", "link_quality", "reliable", "bridge")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: the same sources give the same bytes
_MAIN = "from firmware_tools.serial_link.bridge import main\n\nmain()\n"


def bridge_program() -> bytes:
    """Return the zip with the board's end; runs on Python 3.7 and later with nothing else installed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in _files().items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return packed.getvalue()


def _files() -> dict[str, str]:
    folder = "firmware_tools/serial_link"
    sources = {f"{folder}/{name}.py": (_PACKAGE / f"{name}.py").read_text("utf-8") for name in _MODULES}
    return {"__main__.py": _MAIN, "firmware_tools/__init__.py": "", f"{folder}/__init__.py": "", **sources}

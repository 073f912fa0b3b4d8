"""The generated classes of the TFLite schema, loaded without the native code around them.

`import ai_edge_litert` opens libLiteRt.so, and `import tensorflow` takes seconds. Both packages carry the same
generated module, which needs nothing but `flatbuffers` and NumPy; it is found by its path and loaded alone.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

from converters.errors import MissingPartError

_MODULE_NAME = "converters._tflite_schema"
_HOMES = (("ai_edge_litert", "schema_py_generated.py"), ("tensorflow", "lite/python/schema_py_generated.py"))


@functools.cache
def generated() -> Any:  # noqa: ANN401  (a module of generated, untyped classes)
    """Return the generated module, loading it on the first call (about 20 ms).

    Raises:
        MissingPartError: `flatbuffers` or both carriers of the module are missing.
    """
    path = _find()
    spec = importlib.util.spec_from_file_location(_MODULE_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE_NAME] = module
    spec.loader.exec_module(module)
    return module


def _find() -> Path:
    if importlib.util.find_spec("flatbuffers") is None:
        raise MissingPartError(
            "reading a .tflite file needs the package flatbuffers, which is not installed",
            hint="pip install 'edge-convert[host]', or pip install flatbuffers",
        )
    for package, file in _HOMES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder, file)
            if path.is_file():
                return path
    raise MissingPartError(
        "reading a .tflite file needs the TFLite schema's classes; neither ai-edge-litert nor tensorflow is installed",
        hint="pip install ai-edge-litert (64-bit), or inspect the file on the host",
    )


@functools.cache
def names_of(enum: str) -> dict[int, str]:
    """Return a schema enumeration as number to name: `names_of("Padding") == {0: "SAME", 1: "VALID"}`."""
    members = vars(getattr(generated(), enum))
    return {number: name for name, number in members.items() if not name.startswith("_")}


def name_in(enum: str, number: int) -> str:
    """Return the schema's name of a number, or `ENUM_NUMBER` for one newer than this schema."""
    return names_of(enum).get(number, f"{enum.upper()}_{number}")


def options_class(enum: str, number: int) -> tuple[str, Any] | None:
    """Return the name and the unpacked class of an option union's member; None for no options.

    Args:
        enum: "BuiltinOptions" or "BuiltinOptions2".
        number: the union's type as stored.
    """
    kind = names_of(enum).get(number, "NONE")
    found = getattr(generated(), f"{kind}T", None)
    return None if found is None else (kind, found)

"""Names the toolkit's folders and files on a board: all in the user's home, without root rights.

Paths are text, as every path on a device. All but the venv are content-addressed: a file whose name is its content's
sha256 is whole, because it is moved to that name only after the board itself has computed the sum.
"""

from __future__ import annotations

from posixpath import join

ROOT = ".local/share/edge-convert"  # relative to the home folder of the user that logs in
VENV_PYTHON = f"{ROOT}/venv/bin/python"  # the private environment of `edge devices setup`
SYSTEM_PYTHON = "python3"  # where there is no such environment
AGENTS = f"{ROOT}/agent"
MODELS = f"{ROOT}/models"


def agent_path(home: str, sha256: str) -> str:
    """Return where the agent of this content belongs."""
    return join(home, AGENTS, f"agent-{sha256}.pyz")


def model_path(home: str, sha256: str) -> str:
    """Return where the model of this content belongs."""
    return join(home, MODELS, f"{sha256}.tflite")


def venv_python(home: str) -> str:
    """Return the Python of the board's private environment."""
    return join(home, VENV_PYTHON)

"""Defines the errors of the runtime, which is copied to boards.

RuntimeFault                 exit 9   base
├── ModelInputError          exit 5   an input array or picture does not fit the model
├── RuntimeMissingError      exit 8   no TFLite runtime, or not the requested one
├── DelegateError            exit 8   a delegate library could not be loaded
├── InferenceError           exit 9   the runtime refused the model or the run
├── CrashedError             exit 9   the child process died inside native code
└── AgentDeadlineError       exit 9   the child process did not answer in time (also a TimeoutError)
"""

from __future__ import annotations

from converters.errors import EdgeError


class RuntimeFault(EdgeError):  # noqa: N818  (RuntimeError is taken)
    """Base of the tree."""

    exit_code = 9


class ModelInputError(RuntimeFault):
    """An input array or picture does not fit the model."""

    exit_code = 5


class RuntimeMissingError(RuntimeFault):
    """No TFLite runtime is installed, or not the requested one."""

    exit_code = 8


class DelegateError(RuntimeFault):
    """A delegate library could not be loaded."""

    exit_code = 8


class InferenceError(RuntimeFault):
    """The runtime refused the model or the run."""


class CrashedError(RuntimeFault):
    """The child process died inside native code."""


class AgentDeadlineError(RuntimeFault, TimeoutError):
    """The child process did not answer in time; it has been ended."""

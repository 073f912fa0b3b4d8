"""Lists the commands, runs one, and turns errors into messages and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches

import click

from converters.errors import MissingPartError
from edge import __version__
from edge.cli.output import say, show_error

# name: (module, one line of help). The modules are imported when their command runs, so that `edge --help` stays fast.
COMMANDS = {
    "models": ("edge.cli.models", "List the models that can be built by name."),
    "train": ("edge.cli.train", "Train a model on a folder of images or an array file."),
    "prune": ("edge.cli.prune", "Prune a trained model in one step, with images but no labels."),
    "convert": ("edge.cli.convert", "Convert a Keras model to checked TFLite variants."),
    "inspect": ("edge.cli.inspect", "Show what is inside a .tflite file."),
    "run": ("edge.cli.run", "Classify images with a .tflite file."),
    "profile": ("edge.cli.profile", "Measure latency, kernels and memory of .tflite files."),
    "deploy": ("edge.cli.deploy", "Send a .tflite file to devices, check it there, switch to it."),
    "rollback": ("edge.cli.rollback", "Switch back to an earlier release."),
    "compare": ("edge.cli.compare", "Decide whether one measurement is slower than another."),
    "report": ("edge.cli.report", "Render measurements as one HTML page, Markdown or JSON."),
    "coral": ("edge.cli.coral", "Predict how models share Edge TPUs; split a model for several."),
    "devices": ("edge.cli.devices", "List devices; find, add, set up and describe boards."),
    "meter": ("edge.cli.meter", "Find power meters, watch and record them, calibrate our own."),
    "firmware": ("edge.cli.firmware", "Build, flash and query the firmware of our own power meter."),
    "doctor": ("edge.cli.doctor", "Show what is installed, what is missing and how to get it."),
}
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None for an unknown name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = importlib.import_module(entry[0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest names."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, COMMANDS, n=3)
            meant = f" Did you mean {' or '.join(near)}?" if near else f" There are: {', '.join(COMMANDS)}."
            ctx.fail(f"No command '{name}'.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edge")
def cli() -> None:
    """Bring a Keras CNN to a Raspberry Pi or Coral board and prove what it does there.

    Results go to standard output, messages to standard error; every command takes --json.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(list(sys.argv[1:] if args is None else args)))


def convert_main() -> None:
    """Run `edge convert`: the console script `edge-convert`."""
    main(["convert", *sys.argv[1:]])


def run(args: list[str]) -> int:
    """Run one command and return its exit status; errors are shown, never raised."""
    stdout = sys.stdout
    try:
        status = cli.main(args=args, prog_name="edge", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for the end of the terminal's input
            return _show(error.__cause__)
        say("interrupted; no half-written file is left")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return 0  # the reader of our pipe has gone: click has put a wrapper round stdout and ends; no fault of ours
    except ModuleNotFoundError as error:
        return _show(_part_missing(error))
    except Exception as error:  # noqa: BLE001  (the outermost place: whatever is left becomes a message)
        return _show(error)
    return status if isinstance(status, int) else 0  # click hands back the status of ctx.exit() in this mode


def _part_missing(error: ModuleNotFoundError) -> Exception:
    """Return the message for a package that is not installed, as on a board; any other missing module is a fault."""
    from edge.doctor.parts import MODULES

    package = (error.name or "").partition(".")[0]
    if package not in MODULES:
        return error
    missing = MissingPartError(
        f"this needs the package {package}, which is not installed",
        hint="pip install 'edge-convert[host]'; `edge doctor` shows what else is missing",
    )
    missing.__cause__ = error
    return missing


def _show(error: Exception) -> int:
    code = show_error(error)
    if os.environ.get("EDGE_DEBUG"):
        traceback.print_exception(error)
    return code

"""A headless Chromium driven over the DevTools protocol's pipe: NUL-separated JSON on file descriptors 3 and 4.

Every wait ends with the deadline that began when its tab was opened. Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# Runs in a Python of its own and becomes the browser: its ends of the pipes must be 3 and 4, whatever they are here.
LAUNCH = """
import os, sys
commands, answers = map(int, sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser ended, refused a command or did not answer in time."""


class Page:
    """One tab with everything it said: console messages, exceptions, log entries and requests."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.problems: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command to this tab and return its result."""
        return self._browser.call(method, params, session=self._session)

    def open(self, path: Path, *, javascript: bool = True) -> None:
        """Load a file and wait until its charts are drawn (or, without scripts, until it is loaded)."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=not javascript)
        self.call("Page.navigate", url=path.resolve().as_uri())
        # Runtime.evaluate works even where the page's own scripts are disabled
        self.wait_for("document.readyState === 'complete'")
        if javascript:
            self.wait_for("document.documentElement.dataset.state === 'done'")

    def screen(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Set the screen's size in CSS px and the colour scheme that the user prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Ask until an expression is true."""
        while not self.value(expression):
            self._browser.listen(0.02)

    def screenshot(self, path: Path) -> None:
        """Save a picture of the whole page, not only of the screen."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def heard(self, method: str, params: Mapping[str, Any]) -> None:
        """Keep what the tab said."""
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(f"console.{params['type']}: {json.dumps(params['args'])}")
        elif method == "Log.entryAdded":
            self.problems.append(f"{params['entry']['level']}: {params['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


class Browser:
    """A browser process with a fresh profile, ended with all its children when the block ends."""

    def __init__(self, program: str, *, deadline_s: float = 60) -> None:
        self._program, self._deadline_s = program, deadline_s

    def __enter__(self) -> Browser:
        self._until = time.monotonic() + self._deadline_s
        self._profile = tempfile.mkdtemp(prefix="edge-chromium-")
        self._next, self._buffer = 0, b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        commands, self._write = _pipe()
        self._read, answers = _pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", LAUNCH, str(commands), str(answers), self._program, *FLAGS,
             f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(commands, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def new_page(self) -> Page:
        """Open a tab and begin its deadline."""
        self._until = time.monotonic() + self._deadline_s
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        return page

    def call(self, method: str, params: Mapping[str, Any], *, session: str | None = None) -> dict[str, Any]:
        """Send one command and return its result."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while self._next not in self._answers:
            self.listen(1.0)
        answer = self._answers.pop(self._next)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        return answer["result"]

    def listen(self, seconds: float) -> None:
        """Take in what the browser says within some time."""
        if time.monotonic() > self._until:
            raise BrowserError(f"no answer within {self._deadline_s} s")
        if not select.select([self._read], [], [], seconds)[0]:
            return
        chunk = os.read(self._read, 1 << 20)
        if not chunk:
            raise BrowserError("the browser ended")
        *messages, self._buffer = (self._buffer + chunk).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                page.heard(message["method"], message["params"])


def _pipe() -> tuple[int, int]:
    """Make a pipe whose ends are clear of the numbers 3 and 4."""
    low = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low)
    for end in low:
        os.close(end)
    return read, write

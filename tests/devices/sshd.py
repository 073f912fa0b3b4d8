"""SSH servers for tests: OpenSSH's own and one in this process, on 127.0.0.1 with keys of their own."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import asyncssh

from devices import board_paths as layout

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SETTINGS = """
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxSessions 100
LogLevel VERBOSE
SetEnv "HOME={folder}/home"
Subsystem sftp internal-sftp
"""


class Keys:
    """Fresh keys in a folder: the server's, and one user's whom it lets in. And a home folder, as on a new board."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user = folder, getpass.getuser()
        folder.mkdir(parents=True, exist_ok=True)
        self.host_key = self.new_host_key()
        self.identity = folder / "id_ed25519"
        mine = asyncssh.generate_private_key("ssh-ed25519")
        mine.write_private_key(str(self.identity))
        mine.write_public_key(str(folder / "authorized_keys"))
        self.home = folder / "home"
        python = self.home / layout.VENV_PYTHON
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)

    def new_host_key(self) -> asyncssh.SSHKey:
        """Give the server another key, as a board that was set up anew."""
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key.write_private_key(str(self.folder / "host_key"))
        (self.folder / "host_key").chmod(0o600)
        return self.host_key

    @property
    def fingerprint(self) -> str:
        return self.host_key.get_fingerprint()


class OpenSSH(Keys):
    """OpenSSH's server, one process for each connection (`sshd -i`), so that a test can end just one."""

    port: int

    def write_settings(self, changes: dict[str, str] | None = None) -> None:
        """Write the server's configuration, words of it replaced."""
        text = SETTINGS.format(folder=self.folder)
        for old, new in (changes or {}).items():
            text = text.replace(old, new)
        (self.folder / "sshd_config").write_text(text)

    def __enter__(self) -> OpenSSH:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its own, empty; it starts nothing without
        self.write_settings()
        self.processes: list[subprocess.Popen[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._log = (self.folder / "log").open("ab")
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        self.end_connections()
        self._log.close()

    def end_connections(self) -> None:
        """Kill the server's processes of all connections."""
        while self.processes:
            process = self.processes.pop()
            process.kill()
            process.wait(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                argv = [SSHD, "-i", "-e", "-f", str(self.folder / "sshd_config")]
                self.processes.append(
                    subprocess.Popen(argv, stdin=connection, stdout=connection, stderr=self._log, cwd="/")
                )


class InProcess(Keys):
    """A server in a thread of this process: SSH by another implementation, which passes on no signals."""

    port: int

    def __enter__(self) -> InProcess:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(self.folder / "host_key")],
            authorized_client_keys=str(self.folder / "authorized_keys"),
            process_factory=self._process,
            sftp_factory=True,
            encoding=None,
        )
        self.port = server.get_port()
        ready.set()
        await self._end.wait()
        server.close()
        await server.wait_closed()

    async def _process(self, process: asyncssh.SSHServerProcess) -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", process.command, stdin=pipe, stdout=pipe, stderr=pipe,
            env={**os.environ, "HOME": str(self.home)}, cwd=self.home,
        )  # fmt: skip
        inputs = asyncio.create_task(_feed(process, child.stdin))
        outputs = [
            asyncio.create_task(_pass_on(child.stdout, process.stdout)),
            asyncio.create_task(_pass_on(child.stderr, process.stderr)),
        ]
        status = await child.wait()
        await asyncio.wait(outputs, timeout=0.2)
        for task in (inputs, *outputs):
            task.cancel()
        if status >= 0:
            process.exit(status)
        else:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))


async def _feed(process: asyncssh.SSHServerProcess, into: asyncio.StreamWriter) -> None:
    while True:
        try:
            data = await process.stdin.read(1 << 16)
        except asyncssh.SignalReceived:
            continue
        except OSError:
            break
        if not data:
            break
        with contextlib.suppress(OSError):
            into.write(data)
            await into.drain()
    into.close()


async def _pass_on(source: asyncio.StreamReader, into: asyncssh.SSHWriter) -> None:
    while data := await source.read(1 << 16):
        with contextlib.suppress(OSError):
            into.write(data)
            await into.drain()

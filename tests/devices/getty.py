"""Debian's own getty and login on a port, with users of the tests' own: in name spaces, the machine stays as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

AGETTY = shutil.which("agetty", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
UNSHARE = shutil.which("unshare")
SUDO = shutil.which("sudo")
PASSWORD = "correct horse"
_HASH = "$6$edgeconvert$G3rUfxi05VVr5kizs/1WerRyZ7a/fNYNp70GOI7ibHZWfpRMnD0kxFJPO5H7oeeuJmUSdrG96h4R9qrKW3HOb."
_UID = 7311
# In the name spaces: the test's own users, hosts and sudoers over the machine's, then a login again and again.
_SCRIPT = """
set -e
hostname freshpi
for name in passwd shadow group hosts sudoers; do
    [ ! -e "{folder}/$name" ] || [ ! -e "/etc/$name" ] || mount --bind "{folder}/$name" "/etc/$name"
done
touch "{folder}/hostname"
[ ! -e /etc/hostname ] || mount --bind "{folder}/hostname" /etc/hostname
while [ ! -e "{folder}/stop" ]; do
    setsid {agetty} --noclear --noissue --noreset -L 115200 {tty} vt100 || sleep 0.05
done
"""


class Getty:
    """A login on a port; user pi, password `PASSWORD`, may use sudo with it. A context manager."""

    def __init__(self, port: str, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir(parents=True)
        os.chown(self.home, _UID, _UID)
        folder.chmod(0o755)
        self._users()
        self._script = _SCRIPT.format(folder=folder, agetty=AGETTY, tty=port.removeprefix("/dev/"))

    def _users(self) -> None:
        passwd = Path("/etc/passwd").read_text() + f"pi:x:{_UID}:{_UID}::{self.home}:/bin/bash\n"
        (self.folder / "passwd").write_text(passwd)
        (self.folder / "shadow").touch(0o600)
        (self.folder / "shadow").write_text(Path("/etc/shadow").read_text() + f"pi:{_HASH}:19000:0:99999:7:::\n")
        (self.folder / "shadow").chmod(0o640)
        (self.folder / "group").write_text(Path("/etc/group").read_text() + f"pi:x:{_UID}:\n")
        (self.folder / "hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
        (self.folder / "sudoers").write_text("root ALL=(ALL:ALL) ALL\npi ALL=(ALL:ALL) ALL\n")
        (self.folder / "sudoers").chmod(0o440)

    def __enter__(self) -> Getty:
        argv = [UNSHARE, "--mount", "--uts", "sh", "-c", self._script]
        self._log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        (self.folder / "stop").touch()
        for number in (*self._children(self._process.pid), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self._process.wait(10)
        self._log.close()

    def _children(self, parent: int) -> list[int]:
        found = []
        for line in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                found += [*self._children(int(line)), int(line)]
        return found

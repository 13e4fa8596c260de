"""docker-compose.yml running, and the clients that use it from the machine it runs on."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from engine import Engine, run

ROOT = Path(__file__).resolve().parents[3]
# Far beyond what anything takes: a bound on failure.
PATIENCE = 120


def eventually(what: str, is_so, seconds: int = PATIENCE):
    """Asks until the answer is true; gives it back."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            last = is_so()
            if last:
                return last
        except (OSError, RuntimeError, ValueError) as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"{what}: not in {seconds} s: {last}")


class Cluster:
    def __init__(self, engine: Engine, binaries: Path, environment: dict[str, str]):
        self.engine = engine
        self.binaries = binaries
        self.environment = environment

    def compose(self, *words: object, **environment: str) -> str:
        try:
            return self.engine.docker("compose", *words, cwd=ROOT, env={**self.environment, **environment})
        except RuntimeError as error:
            states = self.engine.docker("compose", "ps", "--all", cwd=ROOT, env=self.environment)
            logs = self.engine.docker("compose", "logs", "--tail", "5", cwd=ROOT, env=self.environment)
            raise RuntimeError(f"{error}\n{states}\n{logs}") from error

    def containers(self, service: str) -> list[str]:
        listed = self.compose("ps", "--quiet", service).split()
        return sorted(listed, key=lambda one: self.engine.inspect(one)["Name"])

    def address(self, container: str, network: str = "p2p_edge") -> str:
        return self.engine.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"]

    def get(self, container: str, path: str) -> str:
        url = f"http://{self.address(container)}:9090{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def connections(self) -> dict[str, int]:
        """Open WebSockets by instance."""
        found = {}
        for container in self.containers("signaling"):
            metrics = self.get(container, "/metrics")
            match = re.search(r"^p2p_signaling_connections (\d+)", metrics, re.MULTILINE)
            found[container] = int(match.group(1)) if match else 0
        return found

    def key(self, name: str) -> str:
        """A generated key, read as the volume has it."""
        image = self.environment["P2P_LAB_IMAGE"]
        return self.engine.docker("run", "--rm", "--network", "none", "--volume", "p2p_keys:/keys", image, "cat", f"/keys/{name}")

    def token(self, peer: str, *words: str) -> str:
        secret = self.engine.folder / "jwt.txt"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(self.key("jwt.txt"))
        command = [self.binaries / "coordinator", "token", "--peer", peer, *words, "--ttl", "1h", "--jwt-secret-file", secret]
        return run(*command).strip()

    def client(self, peer: str, *words: str) -> "Client":
        environment = {**os.environ, "P2P_SERVER": "ws://127.0.0.1:8080", "P2P_TOKEN": self.token(peer)}
        return Client([str(self.binaries / "p2p"), *words], environment)

    def stats(self) -> dict:
        token = self.token("operator", "--scope", "admin")
        request = urllib.request.Request("http://127.0.0.1:8080/v1/stats", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


class Client:
    """A `p2p` command."""

    def __init__(self, command: list[str], environment: dict[str, str]):
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.said: list[str] = []

    def line(self, wanted: str) -> str:
        """Waits until it says this. The process's end bounds the wait; the caller's tier bounds that."""
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if wanted in line:
                return line
        raise AssertionError(f"it ended without {wanted!r}: {self.said}")

    def end(self, given: str | None = None) -> str:
        rest, _ = self.process.communicate(given, timeout=PATIENCE)
        said = "\n".join(self.said + [rest])
        assert self.process.returncode == 0, f"status {self.process.returncode}: {said}"
        return said

    def interrupt(self) -> None:
        """Ctrl-C: it says goodbye."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

"""docker-compose.yml, the images and the lab, as somebody uses them: one check after another."""

import io
import json
import re
import tarfile
import urllib.parse
import urllib.request
from pathlib import Path

from cluster import ROOT, Cluster, eventually
from engine import Engine

SERVER_IMAGE = "p2p-coordinator:0.1.0"
# A development build without its symbols; the release is a third of it.
IMAGE_BYTES_MAX = 80_000_000


def files_of(engine: Engine, image: str) -> dict[str, tarfile.TarInfo]:
    """Every file of an image."""
    saved = tarfile.open(fileobj=io.BytesIO(engine_bytes(engine, "save", image)))
    manifest = json.load(saved.extractfile("manifest.json"))[0]
    found = {}
    for layer in manifest["Layers"]:
        for member in tarfile.open(fileobj=saved.extractfile(layer)):
            if not member.isdir():
                found["/" + member.name.lstrip("./")] = member
    return found


def engine_bytes(engine: Engine, *words: str) -> bytes:
    import subprocess
    return subprocess.run(["docker", *words], env=engine.environment, capture_output=True, check=True).stdout


class Scenario:
    def __init__(self, engine: Engine, cluster: Cluster, base_image: str):
        self.engine = engine
        self.cluster = cluster
        self.base_image = base_image

    def checks(self):
        return [
            ("the images are built from the Dockerfile", self.build),
            ("the image is one binary of an ordinary user, without shell or capabilities", self.image),
            ("`up --wait` without an edit starts everything in order", self.up),
            ("a second start keeps the keys", self.keys),
            ("every container is hardened and published on loopback alone", self.hardened),
            ("two clients on different instances connect directly and by relay", self.connect),
            ("a client of a killed instance goes on at another", self.kill),
            ("without Valkey instances stay ready and say that they are degraded", self.without_valkey),
            ("without PostgreSQL peers connect as before and statistics arrive later", self.without_postgres),
            ("three instances serve behind the load balancer", self.scale),
            ("SIGTERM drains signaling and relays, and both end well", self.drain),
            ("Prometheus scrapes every instance, and every alert and panel is a valid question", self.monitoring),
            ("the lab's peers punch through two cones", lambda: self.lab("cone", "udp-hole-punch")),
            ("the lab's peers go by relay through two symmetric NATs", lambda: self.lab("symmetric", "via relay")),
            ("the override puts relays on the host's network", self.host_network),
            ("`down --volumes` leaves nothing", self.down),
        ]

    def build(self) -> None:
        self.cluster.compose("build", "--quiet", "keys")
        self.cluster.compose("--profile", "lab", "build", "--quiet", "lab-server")

    def image(self) -> None:
        image = self.engine.inspect(SERVER_IMAGE)
        assert image["Size"] < IMAGE_BYTES_MAX, image["Size"]
        config = image["Config"]
        assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/coordinator"], config
        assert config["Healthcheck"]["Test"] == ["CMD", "/coordinator", "healthcheck"] and config["StopSignal"] == "SIGTERM"
        assert config["Labels"]["org.opencontainers.image.title"] == "p2p-coordinator"
        ours = set(files_of(self.engine, SERVER_IMAGE)) - set(files_of(self.engine, self.base_image))
        assert ours == {"/coordinator", "/etc/passwd", "/etc/group", "/data/.keep"}, ours
        binary = files_of(self.engine, SERVER_IMAGE)["/coordinator"]
        assert not [name for name in binary.pax_headers if "capability" in name], binary.pax_headers
        assert binary.mode & 0o6000 == 0, oct(binary.mode)
        alone = ["run", "--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]
        assert "p2p.v1" in self.engine.docker(*alone, SERVER_IMAGE, "version")

    def up(self) -> None:
        self.cluster.compose("up", "--wait", "--no-build")
        assert len(self.cluster.containers("signaling")) == 2
        for service in ["keys", "migrate"]:
            state = self.engine.inspect(f"p2p-{service}-1")["State"]
            assert state["Status"] == "exited" and state["ExitCode"] == 0, state

    def keys(self) -> None:
        before = [self.cluster.key(name) for name in ["jwt.txt", "turn.txt", "postgres.txt"]]
        assert len(set(before)) == 3, "three different ones"
        self.cluster.compose("up", "--wait", "--no-build")
        assert before == [self.cluster.key(name) for name in ["jwt.txt", "turn.txt", "postgres.txt"]]

    def hardened(self) -> None:
        for container in self.cluster.compose("ps", "--all", "--quiet").split():
            seen = self.engine.inspect(container)
            host, name = seen["HostConfig"], seen["Name"]
            assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"], name
            assert host["SecurityOpt"] == ["no-new-privileges:true"] and host["PidsLimit"] == 512, name
            assert not host["Privileged"] and seen["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
            for port, places in (host["PortBindings"] or {}).items():
                assert [place["HostIp"] for place in places] == ["127.0.0.1"], (name, port)
            assert "hunter2" not in str(seen["Config"]["Env"]) and not re.search(r"[0-9a-f]{64}", str(seen["Config"]["Env"])), name

    def connect(self) -> None:
        self.bob = self.cluster.client("bob", "listen")
        self.bob.line("ready")
        alice = self.cluster.client("alice", "ping", "bob")
        assert "via direct" in alice.line("pong 1")
        assert sorted(self.cluster.connections().values()) == [1, 1], "one on each instance"
        alice.interrupt()
        assert "via relay 127.0.0.1:491" in self.cluster.client("alice", "ping", "bob", "-c", "2", "--policy", "relay").end()
        eventually("both attempts in the statistics", lambda: self.cluster.stats().get("attempts") == 2)

    def kill(self) -> None:
        serving = next(container for container, count in self.cluster.connections().items() if count == 1)
        self.engine.docker("kill", serving)
        eventually("bob at the other instance", lambda: 1 in self.other(serving).values())
        self.ping()
        self.cluster.compose("up", "--wait", "--no-build")

    def other(self, gone: str) -> dict[str, int]:
        return {one: count for one, count in self.cluster.connections().items() if one != gone}

    def ping(self) -> None:
        assert "2 received" in self.cluster.client("alice", "ping", "bob", "-c", "2").end()

    def everywhere(self, line: str) -> bool:
        """Whether every instance is ready and says this."""
        return all(line in self.cluster.get(one, "/readyz") for one in self.cluster.containers("signaling"))

    def without_valkey(self) -> None:
        self.cluster.compose("stop", "valkey")
        eventually("degraded", lambda: self.everywhere("registry: degraded"))
        self.cluster.compose("start", "valkey")
        eventually("healed", lambda: self.everywhere("registry: ok"))
        eventually("bob is found again", lambda: self.ping() or True)

    def without_postgres(self) -> None:
        before = self.cluster.stats()["attempts"]
        self.cluster.compose("stop", "postgres")
        eventually("degraded", lambda: self.everywhere("database: degraded"))
        self.ping()
        self.cluster.compose("start", "postgres")
        eventually("healed", lambda: self.everywhere("database: ok"))
        eventually("the attempt arrives", lambda: self.cluster.stats()["attempts"] > before)

    def scale(self) -> None:
        self.cluster.compose("up", "--wait", "--no-build", "--scale", "signaling=3")
        assert len(self.cluster.containers("signaling")) == 3
        others = [self.cluster.client(f"peer-{number}", "listen") for number in range(5)]
        for one in others:
            one.line("ready")
        eventually("every instance serves", lambda: all(self.cluster.connections().values()))
        for one in others:
            one.kill()

    def drain(self) -> None:
        serving = next(container for container, count in self.cluster.connections().items() if count >= 1)
        self.engine.docker("stop", "--time", "40", serving)
        relay = self.cluster.containers("relay-1")[0]
        self.engine.docker("stop", "--time", "40", relay)
        for container in [serving, relay]:
            state = self.engine.inspect(container)["State"]
            assert state["ExitCode"] == 0 and not state["OOMKilled"], state
        eventually("bob at another instance", lambda: self.ping() or True)
        self.bob.kill()
        self.cluster.compose("up", "--wait", "--no-build")

    def monitoring(self) -> None:
        self.cluster.compose("--profile", "obs", "up", "--wait", "--no-build", "prometheus")
        targets = eventually("all targets", lambda: self.targets_up(4))
        assert targets == {"signaling": 2, "relay": 2}, targets
        rules = self.ask("rules")["groups"][0]["rules"]
        assert len(rules) > 10 and all(rule["health"] in ("ok", "unknown") for rule in rules), rules
        dashboard = json.loads((ROOT / "helm/p2p-coordinator/files/dashboard.json").read_text())
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        for expression in expressions + [rule["query"] for rule in rules]:
            self.ask("query", query=expression.replace("$instance", ".*"))
        assert int(self.ask("query", query="count(p2p_build_info)")["result"][0]["value"][1]) == 4

    def ask(self, what: str, **parameters: str) -> dict:
        url = f"http://127.0.0.1:9091/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def targets_up(self, count: int) -> dict[str, int] | None:
        targets = [one for one in self.ask("targets")["activeTargets"] if one["health"] == "up"]
        by_job: dict[str, int] = {}
        for one in targets:
            by_job[one["labels"]["job"]] = by_job.get(one["labels"]["job"], 0) + 1
        return by_job if len(targets) == count else None

    def lab(self, nat: str, path: str) -> None:
        services = ["lab-server", "lab-router-a", "lab-router-b", "lab-bob", "lab-alice"]
        nats = {"P2P_LAB_NAT_A": nat, "P2P_LAB_NAT_B": nat}
        self.cluster.compose("--profile", "lab", "up", "--wait", "--no-build", "--force-recreate", *services, **nats)
        said = self.cluster.compose("--profile", "lab", "logs", "lab-alice")
        pongs = [line for line in said.splitlines() if "pong" in line]
        assert len(pongs) == 5 and path in pongs[-1], said

    def host_network(self) -> None:
        files = ["--file", "docker-compose.yml", "--file", "deploy/compose.host.yml"]
        merged = json.loads(self.cluster.compose(*files, "config", "--format", "json"))["services"]
        for name in ["relay-1", "relay-2"]:
            assert merged[name]["network_mode"] == "host" and not merged[name].get("ports"), merged[name]
        environments = [merged[name]["environment"] for name in ["relay-1", "relay-2"]]
        assert len({one["P2P_PORT_RANGE"] for one in environments}) == 2
        self.cluster.compose(*files, "up", "--wait", "--no-build", "relay-1", "relay-2", "load-balancer")
        self.cluster.compose(*files, "stop", "relay-1", "relay-2")

    def down(self) -> None:
        self.cluster.compose("--profile", "lab", "--profile", "obs", "down", "--volumes", "--timeout", "10")
        assert not self.engine.docker("ps", "--all", "--quiet").split()
        assert not [name for name in self.engine.docker("volume", "ls", "--quiet").split() if name.startswith("p2p_")]

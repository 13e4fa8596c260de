"""Ports, flags, metrics, environment names and documents agree between the chart, compose, the Dockerfile and
the program itself, which is asked."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from helm import CHART, ROOT, Helm

PROGRAM = Path(os.environ.get("P2P_COORDINATOR", ROOT / "target/debug/coordinator"))


def ask(*words: str) -> str:
    return subprocess.run([PROGRAM, *words], check=True, capture_output=True, text=True,
                          env={name: value for name, value in os.environ.items() if not name.startswith("P2P_")}).stdout


def variables() -> set[str]:
    """Every environment variable that some command knows, from its help."""
    verbs = ["signaling", "relay", "migrate", "healthcheck", "token", "secret"]
    return {name for verb in verbs for name in re.findall(r"\[env: (P2P_\w+)", ask(verb, "--help"))}


def flags(verb: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", ask(verb, "--help")))


def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def all_containers(values: dict):
    with Helm() as helm:
        release = helm.install(values)
    for owner, pod in release.pods():
        for container in pod["containers"]:
            yield owner, container


def everything() -> dict:
    import checks
    return checks.with_(
        "tracing.endpoint", "http://collector.monitoring:4318", "tracing.sampleRatio", 0.1, "signaling.allowLoopback", True, "signaling.region", "eu", "signaling.stun", ["stun.example.org:3478"], "signaling.trustedProxies", ["10.0.0.0/8"],
        "signaling.allowOrigins", ["https://app.example.org"], "signaling.conflict", ["reject", "bank=resume"], "signaling.peerjsDiscovery", ["lobby"], "auth.jwt.jwksUrl", "https://id.example.org/jwks", "auth.jwt.issuer", "i", "auth.jwt.audience", "a",
        "relay.externalIPs", ["203.0.113.7"], "relay.tls.secret", "turn-tls", "relay.region", "eu", "relay.allowPeers", ["10.0.0.0/8"], "relay.denyPeers", ["192.0.2.0/24"],
        "redis", {
            "url": "rediss+sentinel://r:26379/registry", "passwordSecret": "r", "sentinelPasswordSecret": "s",
            "tls": {"caSecret": "c", "clientSecret": "t"}}, "postgres", {"url": "postgres://a@b/c", "passwordSecret": "p"})


def names_are_known() -> None:
    known = variables()
    used = {entry["name"] for values in [everything(), with_secrets()] for _, container in all_containers(values)
            for entry in container.get("env", []) if entry["name"].startswith("P2P_")}
    # Only what the program itself is given: the lab's scripts have words of their own.
    for name, service in compose()["services"].items():
        if not name.startswith("lab-"):
            used |= {variable for variable in service.get("environment", {}) if variable.startswith("P2P_")}
    host = re.findall(r"^\s+(P2P_\w+):", (ROOT / "deploy/compose.host.yml").read_text(), re.MULTILINE)
    dockerfile = re.findall(r"^ENV (P2P_\w+)=", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    used |= set(host) | set(dockerfile)
    telemetry = "".join(path.read_text() for path in (ROOT / "crates/telemetry/src").rglob("*.rs"))
    traced = {entry["name"] for _, container in all_containers(everything()) for entry in container.get("env", []) if entry["name"].startswith("OTEL_")}
    assert traced == {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}, traced
    assert all(f'"{name}"' in telemetry for name in traced), traced
    assert len(used) > 20 and not used - known, f"unknown to the program: {sorted(used - known)}"


def with_secrets() -> dict:
    import checks
    return {**checks.BASE, "redis": {"existingSecret": "r"}, "postgres": {"existingSecret": "p"}}


def settings_are_accepted() -> None:
    """`config check` takes every environment that the chart makes, with the files where it says."""
    import tempfile
    for values in [everything(), with_secrets()]:
        for owner, container in all_containers(values):
            if container["args"][0] not in ("signaling", "relay"):
                continue
            with tempfile.TemporaryDirectory() as folder:
                variables = {}
                for entry in container["env"]:
                    assert set(entry) <= {"name", "value"}, entry
                    name, value = entry["name"], entry["value"]
                    if name.endswith("_FILE"):
                        # Under its whole path: files of two secrets may have one name.
                        file = Path(folder) / value.lstrip("/")
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.touch(mode=0o600)
                        text = "redis://a:6379" if "REDIS_URL" in name else "postgres://a@b/c" if "DATABASE_URL" in name else "k" * 64
                        file.write_text(text)
                        value = str(file)
                    if name.startswith("P2P_TLS") or Path(value).suffix in (".crt", ".key"):
                        value = str(ROOT / f"tests/certificates/one.{Path(value).suffix[1:]}")
                    variables[name] = value
                done = subprocess.run([PROGRAM, "config", "check", "--role", container["args"][0]], env=variables, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{owner}: {done.stdout}{done.stderr}"


def ports_agree() -> None:
    ports = {(port["role"], port["protocol"], port["port"]) for port in json.loads(ask("ports", "--json"))}
    listed = {(protocol, port) for _, protocol, port in ports}
    exposed = set(re.findall(r"(\d+)/(udp|tcp)", re.search(r"^EXPOSE (.*)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE).group(1)))
    assert {(protocol, port) for port, protocol in exposed} >= {("tcp", "8080"), ("tcp", "9090"), ("udp", "3478")}
    assert {(protocol, port) for port, protocol in exposed} <= listed, f"exposed, and not in `coordinator ports`: {exposed}"
    for owner, container in all_containers(everything()):
        for port in container.get("ports", []):
            assert (port["protocol"].lower(), str(port["containerPort"])) in listed, (owner, port)
    assert ("udp", "49152-65535") in listed
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert ("udp", str(values["relay"]["port"])) in listed
    # What is published is what is listened on, for each relay of compose.
    for name in ["relay-1", "relay-2"]:
        service = compose()["services"][name]
        text = " ".join(service["ports"])
        listening = re.search(r":(\d+)$", service["environment"]["P2P_RELAY_LISTEN"]).group(1)
        span = service["environment"]["P2P_PORT_RANGE"]
        assert f":{listening}:{listening}/udp" in text and f":{listening}:{listening}/tcp" in text and f":{span}:{span}/udp" in text, name


def metrics_exist() -> None:
    source = (ROOT / "crates/telemetry/src/metrics.rs").read_text()
    declared = set(re.findall(r'"(p2p_[a-z0-9_]+)"', source))
    histograms = set(re.findall(r'histogram\("(p2p_[a-z0-9_]+)"', source))
    served = declared | {name + end for name in histograms for end in ("_bucket", "_sum", "_count")}
    texts = [(CHART / "files/alerts.yaml").read_text(), (CHART / "files/dashboard.json").read_text(),
             (CHART / "templates/signaling/autoscaler.yaml").read_text()]
    used = {name for text in texts for name in re.findall(r"\bp2p_[a-z0-9_]+", text)}
    assert len(used) > 25 and not used - served, f"no such metric: {sorted(used - served)}"
    # Labels and their values.
    labels = (ROOT / "crates/telemetry/src/labels.rs").read_text()
    for text in texts[:2]:
        for name, value in re.findall(r'\b([a-z_]+)=~?\\+"([A-Za-z_|0-9]+)\\+"', text):
            if name not in ("instance", "job"):
                assert all(f'"{one}"' in labels for one in value.split("|")), (name, value)


def alerts_have_runbooks() -> None:
    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"][0]["rules"]
    page = (ROOT / "docs/operations/runbooks.md").read_text()
    headings = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    names = {rule["alert"] for rule in rules}
    assert names == headings, names ^ headings
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"RUNBOOKS#{rule['alert'].lower()}"


def rows() -> list[tuple[str, str, str]]:
    """Every value with its default and what it is for."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = []

    def walk(prefix: str, values, node: dict) -> None:
        for name, about in node.get("properties", {}).items():
            path = f"{prefix}{name}"
            if about.get("type") == "object" and about.get("properties") and path != "global":
                walk(f"{path}.", values[name], about)
            elif path == "global":
                walk("global.", values[name], about)
            else:
                found.append((path, json.dumps(values[name], ensure_ascii=False), about["description"]))

    walk("", yaml.safe_load((CHART / "values.yaml").read_text()), schema)
    return found


def table() -> str:
    lines = ["| value | default | what for |", "|---|---|---|"]
    for path, default, about in rows():
        about = about.replace("|", "\\|")
        lines.append(f"| `{path}` | `{default}` | {about} |")
    return "\n".join(lines)


MARKS = ("<!-- values: written by `python tests/deploy/chart/agreement.py --write` -->", "<!-- end of values -->")


def values_are_documented() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def same_keys(path: str, node: dict, value) -> None:
        if not node.get("properties"):
            return
        assert set(node["properties"]) == set(value), f"{path}: {set(node['properties']) ^ set(value)}"
        assert node.get("additionalProperties") is False or path == "global", f"{path} is open"
        for name, about in node["properties"].items():
            same_keys(name, about, value[name])

    same_keys("", schema, values)
    page = (CHART / "README.md").read_text()
    inside = page.split(MARKS[0])[1].split(MARKS[1])[0].strip()
    assert inside == table(), "the table of values is old: python tests/deploy/chart/agreement.py --write"


def environment_file_is_complete() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = dict(re.findall(r"\$\{((?:P2P|OTEL)_\w+):?-([^}]*)\}", text))
    example = dict(re.findall(r"^((?:P2P|OTEL)_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == example, {name for name in used.keys() | example.keys() if used.get(name) != example.get(name)}
    assert not re.findall(r"\$\{P2P_\w+\}", text), "every variable has a default"


def commands_exist() -> None:
    """Every command of the program that the documents of operators show is one, with these flags."""
    pages = [CHART / "README.md", *sorted((ROOT / "docs/operations").glob("*.md")), CHART / "templates/NOTES.txt"]
    shown = 0
    for page in pages:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"(?:^|[`|(] ?|\$ |: )(coordinator [a-z][^\n`|]*)", text, re.MULTILINE):
            words = line.split()
            verb = words[1]
            known = flags(verb) if verb != "config" else flags("config") | flags("signaling")
            unknown = [word.split("=")[0] for word in words if word.startswith("--") and word.split("=")[0] not in known]
            assert not unknown, f"{page.name}: {line}: {unknown}"
            shown += 1
    assert shown >= 8, shown


def chart_version_is_the_workspace_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    workspace = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    assert str(chart["appVersion"]) == workspace, (chart["appVersion"], workspace)
    assert f"p2p-coordinator:{workspace}" in (ROOT / "docker-compose.yml").read_text()
    assert f"ARG VERSION={workspace}" in (ROOT / "deploy/Dockerfile").read_text()


def checks():
    return [
        ("every environment name of chart, compose and image is known to the program", names_are_known),
        ("the program accepts every environment that the chart makes", settings_are_accepted),
        ("ports agree between chart, compose, image and `coordinator ports`", ports_agree),
        ("every metric and label of alerts, dashboard and autoscaler exists", metrics_exist),
        ("every alert has its section in the runbooks, and no section is without alert", alerts_have_runbooks),
        ("values, schema and the README's table have the same keys, and every object is closed", values_are_documented),
        (".env.example is every variable of compose with its default", environment_file_is_complete),
        ("every command of the operators' documents exists with its flags", commands_exist),
        ("the versions of workspace, chart, compose and image agree", chart_version_is_the_workspace_s),
    ]


if __name__ == "__main__":
    page = CHART / "README.md"
    if sys.argv[1:] == ["--write"]:
        before, rest = page.read_text().split(MARKS[0])
        page.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")

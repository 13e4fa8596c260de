"""What holds for the chart, and between the chart, compose, the Dockerfile and the program."""

import base64
import copy
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml

import agreement
from helm import CHART, ROOT, Helm, Refused, environment

VERSIONS = ["1.30", "1.34", "1.37"]
# Kinds that come from elsewhere; Kubernetes' own schemas do not know them.
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "HTTPRoute", "UDPRoute", "TCPRoute"}
BASE = {"auth": {"generate": True}, "redis": {"url": "redis://redis:6379"}, "relay": {"uris": ["turn:turn.example.org:3478"]}}
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))


def with_(*paths_and_values) -> dict:
    values = copy.deepcopy(BASE)
    for path, value in zip(paths_and_values[::2], paths_and_values[1::2], strict=True):
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return values


def example(name: str) -> dict:
    return yaml.safe_load((CHART / f"examples/{name}.yaml").read_text())


MATRIX = {
    **{path.stem: example(path.stem) for path in EXAMPLES},
    "base": BASE,
    "trial": {"auth": {"generate": True}, "trial": {"enabled": True}, "relay": {"uris": ["turn:t.example.org:3478"]}},
    "alone, without relays": {"auth": {"generate": True}, "signaling": {"replicas": 1}, "relay": {"enabled": False}},
    "an issuer's keys, and relays that register": {"auth": {"jwt": {"jwksUrl": "https://id.example.org/jwks"}, "turn": {"existingSecret": "t"}},
        "redis": {"existingSecret": "r"}, "relay": {"region": "eu"}, "networkPolicy": {"enabled": True}},
    "a digest, an issuer and passwords of their own": {"image": {"digest": "sha256:" + "0" * 64},
        "auth": {"jwt": {"existingSecret": "j", "issuer": "https://login.example.org", "audience": "p2p"}, "turn": {"existingSecret": "t"}},
        "redis": {"url": "rediss://valkey.databases:6380", "passwordSecret": "valkey", "passwordKey": "default"},
        "postgres": {"url": "postgres://p2p@db.example.org/p2p?sslmode=require", "passwordSecret": "db"}},
    "Redis behind Sentinel with TLS": {**with_("networkPolicy.enabled", True, "networkPolicy.redisPorts", [6379, 26379]),
        "redis": {"url": "rediss+sentinel://a.redis:26379,b.redis:26379/registry", "passwordSecret": "nodes",
            "sentinelPasswordSecret": "sentinels", "tls": {"caSecret": "redis-ca", "clientSecret": "redis-client"}}},
    "a Redis Cluster": with_("redis.url", "redis+cluster://a.redis:6379,b.redis:6379"),
    "external relays": with_("relay.exposure", "external"),
    "node ports": with_("relay.exposure", "nodePort", "relay.nodePort", 30478),
    "a gateway": with_("relay.exposure", "gateway", "relay.gateway.parentRefs", [{"name": "udp"}]),
    "TLS on the host's network": with_("relay.tls.secret", "turn-tls", "relay.uris", ["turn:a:3478", "turn:a:3478?transport=tcp", "turns:a:5349"]),
    "TLS without TCP behind a load balancer": with_("relay.exposure", "loadBalancer", "relay.tls.secret", "t", "relay.tcp.enabled", False),
    "a daemon set behind a load balancer": with_("relay.exposure", "loadBalancer", "relay.kind", "DaemonSet"),
    "empty and null where it may be": with_(
        "signaling.podAnnotations", None, "signaling.podLabels", {}, "signaling.preStopSeconds", 0, "relay.podAnnotations", None,
        "commonLabels", None, "relay.portRange", "", "signaling.podDisruptionBudget.enabled", False),
    "every extension": with_(*[item for part in ["signaling", "relay"] for item in [
        f"{part}.extraArgs", ["--log", "debug"], f"{part}.extraEnv", [{"name": "A", "value": "b"}],
        f"{part}.extraEnvFrom", [{"configMapRef": {"name": "more"}}], f"{part}.extraVolumes", [{"name": "v", "emptyDir": {}}],
        f"{part}.extraVolumeMounts", [{"name": "v", "mountPath": "/v"}], f"{part}.extraContainers", [{"name": "s", "image": "s:1"}],
        f"{part}.podLabels", {"team": "a"}, f"{part}.podAnnotations", {"note": "b"}, f"{part}.nodeSelector", {"k": "v"},
        f"{part}.affinity", {"nodeAffinity": {}}, f"{part}.tolerations", [{"operator": "Exists"}],
        f"{part}.priorityClassName", "high", f"{part}.runtimeClassName", "gvisor", f"{part}.dnsConfig", {"options": [{"name": "ndots", "value": "1"}]},
        f"{part}.hostAliases", [{"ip": "10.0.0.1", "hostnames": ["a"]}]]],
        "global.imageRegistry", "mirror.example.org", "global.imagePullSecrets", ["pull"], "commonLabels", {"owner": "us"}),
}

REFUSED = {
    "a name that is not a value": (with_("signaling.replcias", 2), ["additional properties", "replcias"]),
    "an exposure that does not exist": (with_("relay.exposure", "hostnetwork"), ["/relay/exposure", "hostNetwork"]),
    "a number as text": (with_("signaling.replicas", "two"), ["/signaling/replicas", "integer"]),
    "a relay without its scheme": (with_("relay.uris", ["turn.example.org:3478"]), ["/relay/uris/0", "pattern"]),
    "a range that is none": (with_("relay.portRange", "49152"), ["/relay/portRange"]),
    "a privileged port": (with_("relay.port", 443), ["/relay/port", "minimum"]),
    "a digest that is none": (with_("image.digest", "latest"), ["/image/digest"]),
    "no secrets": ({}, ["auth.jwt.existingSecret", "coordinator secret jwt.txt", "auth.jwt.jwksUrl", "auth.generate=true"]),
    "no secret for relays": ({"auth": {"jwt": {"existingSecret": "j"}}, "signaling": {"replicas": 1}, "relay": {"uris": ["turn:a:3478"]}}, ["auth.turn.existingSecret"]),
    "two instances without Redis": ({"auth": {"generate": True}, "relay": {"uris": ["turn:a:3478"]}}, ["redis.existingSecret", "signaling.replicas=1"]),
    "certificates for a Redis without TLS": (with_("redis.tls.caSecret", "ca"), ["begin redis.url with rediss"]),
    "a password for no Sentinels": (with_("redis.sentinelPasswordSecret", "s"), ["redis+sentinel://"]),
    "certificates for the trial's Redis": ({"auth": {"generate": True}, "trial": {"enabled": True}, "relay": {"uris": ["turn:a:3478"]},
        "redis": {"tls": {"caSecret": "ca"}}}, ["trial.enabled=false"]),
    "two ways to Redis": (with_("redis.existingSecret", "r"), ["keep one of them"]),
    "two ways to PostgreSQL": (with_("postgres.existingSecret", "p", "postgres.url", "postgres://a@b/c"), ["keep one of them"]),
    "a password without its URL": (with_("postgres.passwordSecret", "p"), ["postgres.url"]),
    "a trial beside the real thing": (with_("trial.enabled", True), ["trial.enabled=false"]),
    "relays that nobody is told of": (with_("relay.uris", [], "relay.register", False), ["relay.uris", "turn:turn.example.org:3478"]),
    "external relays without an address": ({**BASE, "relay": {"exposure": "external"}}, ["relay.uris"]),
    "two relays on one node": (with_("relay.kind", "Deployment"), ["DaemonSet", "relay.affinity"]),
    "a gateway without a name": (with_("relay.exposure", "gateway"), ["relay.gateway.parentRefs"]),
    "a route without a gateway": (with_("httpRoute.enabled", True), ["httpRoute.parentRefs"]),
    "an ingress without a host": (with_("ingress.enabled", True), ["ingress.host"]),
    "alerts without runbooks": (with_("monitoring.prometheusRule.enabled", True), ["runbookUrl"]),
    "a collector without its scheme": (with_("tracing.endpoint", "collector:4318"), ["/tracing/endpoint", "pattern"]),
    "a share above one": (with_("tracing.sampleRatio", 10), ["/tracing/sampleRatio", "maximum"]),
    "a scale without a target": (with_("signaling.autoscaling", {"enabled": True, "targetConnections": None, "targetCPUUtilizationPercentage": None}), ["no target"]),
    "a scale upside down": (with_("signaling.autoscaling", {"enabled": True, "minReplicas": 5, "maxReplicas": 2}), ["minReplicas"]),
}


def valid(release, version: str) -> None:
    for item in release.manifests:
        if item["kind"] in FOREIGN:
            assert item["apiVersion"] in ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1"), item
            continue
        kubernetes_validate.validate(item, version, strict=True)


def restricted(release) -> None:
    """Pod Security "restricted" for all but relays on the host's network."""
    for owner, pod in release.pods():
        assert not pod.get("hostNetwork") or owner.endswith("-relay"), owner
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False, owner
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0 and security["seccompProfile"]["type"] == "RuntimeDefault", owner
        for container in pod["containers"]:
            if container["name"] == "s":
                continue
            own = container["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, owner
            assert container["resources"]["requests"] and "latest" not in container["image"], owner
            assert ":" in container["image"], container["image"]


def renders(name: str, version: str):
    def act() -> None:
        with Helm(version) as helm:
            release = helm.install(MATRIX[name])
        valid(release, version)
        restricted(release)
        names = [(item["kind"], item["metadata"]["name"]) for item in release.manifests]
        assert len(names) == len(set(names)), names
        assert "RUNBOOKS" not in str(release.manifests) and "p2p netcheck" in release.notes
        if name == "trial":
            assert release.notes.strip().startswith("*****") and "TRIAL" in release.notes
    return act


def refuses(name: str):
    def act() -> None:
        values, expected = REFUSED[name]
        with Helm() as helm:
            try:
                helm.install(values)
            except Refused as refusal:
                for part in expected:
                    assert part in str(refusal), f"{part!r} is not in: {refusal}"
                return
        raise AssertionError("it was installed")
    return act


def upgrade_keeps() -> None:
    with Helm() as helm:
        before = helm.install(BASE)
        after = helm.upgrade(with_("signaling.replicas", 3, "logLevel", "debug", "commonLabels", {"owner": "us"}))
        keys = [release.one("Secret", "-keys")["data"] for release in (before, after)]
        assert keys[0] == keys[1], "the secrets are the same"
        assert len({*keys[0].values()}) == 2 and all(len(base64.b64decode(text)) == 64 for text in keys[0].values())
        for kind, name in [("Deployment", "-signaling"), ("DaemonSet", "-relay")]:
            specs = [release.one(kind, name)["spec"] for release in (before, after)]
            assert specs[0]["selector"] == specs[1]["selector"], "a selector is immutable"
            sums = [spec["template"]["metadata"]["annotations"]["checksum/settings"] for spec in specs]
            assert sums[0] != sums[1], "changed settings start pods anew"
        selector = before.one("Deployment", "-signaling")["spec"]["selector"]["matchLabels"]
        assert selector == {"app.kubernetes.io/name": "p2p-coordinator", "app.kubernetes.io/instance": "demo",
                            "app.kubernetes.io/component": "signaling"}, "the selector of every version"


def lost_keys_are_not_made_anew() -> None:
    with Helm() as helm:
        helm.install(BASE)
        lost = [place for place in helm.cluster.objects if place.endswith("-keys")]
        for place in lost:
            del helm.cluster.objects[place]
        try:
            helm.upgrade(BASE)
        except Refused as refusal:
            assert "lock everybody out" in str(refusal), refusal
            return
    raise AssertionError("new secrets were made")


def traces_are_sent() -> None:
    with Helm() as helm:
        release = helm.install(with_("tracing", {"endpoint": "https://otlp.example.org", "sampleRatio": 0.05}, "networkPolicy.enabled", True))
    given = environment(release.one("Deployment", "-signaling")["spec"]["template"]["spec"]["containers"][0])
    assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://otlp.example.org"
    assert given["OTEL_TRACES_SAMPLER"] == "traceidratio" and given["OTEL_TRACES_SAMPLER_ARG"] == "0.05", given
    ways_out = [port["port"] for rule in release.one("NetworkPolicy", "-signaling")["spec"]["egress"] for port in rule["ports"]]
    assert 443 in ways_out, f"the policy lets no span out: {ways_out}"
    with Helm() as helm:
        release = helm.install(with_("tracing.endpoint", "http://collector.monitoring:4318", "networkPolicy.enabled", True))
    ways_out = [port["port"] for rule in release.one("NetworkPolicy", "-signaling")["spec"]["egress"] for port in rule["ports"]]
    assert 4318 in ways_out, ways_out
    with Helm() as helm:
        release = helm.install(BASE)
    assert not [name for _, pod in release.pods() for container in pod["containers"] for name in environment(container) if name.startswith("OTEL_")]


def drains_fit() -> None:
    """Grace periods are longer than what the program takes."""
    with Helm() as helm:
        release = helm.install(BASE)
    signaling = release.one("Deployment", "-signaling")["spec"]["template"]["spec"]
    pause = signaling["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    source = (ROOT / "services/coordinator/src/signaling.rs").read_text()
    drain = int(re.search(r"DRAIN_DEADLINE: Duration = Duration::from_secs\((\d+)\)", source).group(1))
    assert signaling["terminationGracePeriodSeconds"] >= pause + drain + 10
    relay = release.one("DaemonSet", "-relay")["spec"]["template"]["spec"]
    asked = environment(relay["containers"][0])["P2P_RELAY_DRAIN"]
    assert relay["terminationGracePeriodSeconds"] > int(asked.removesuffix("s"))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert int(compose["signaling"]["stop_grace_period"].removesuffix("s")) > drain
    asked = compose["relay-1"]["environment"]["P2P_RELAY_DRAIN"]
    assert int(compose["relay-1"]["stop_grace_period"].removesuffix("s")) > int(asked.removesuffix("s"))


def secrets_stay_secret() -> None:
    """No secret's text is in an environment or a ConfigMap."""
    for name in ["base", "trial", "aks"]:
        with Helm() as helm:
            release = helm.install(MATRIX[name])
        texts = [base64.b64decode(text).decode() for secret in release.of_kind("Secret") for text in secret["data"].values()]
        others = str([item for item in release.manifests if item["kind"] != "Secret"])
        assert not [text for text in texts if text in others], name


def tidy_files() -> None:
    scripts = sorted((ROOT / "deploy").rglob("*.sh"))
    subprocess.run(["shellcheck", *scripts], check=True)
    plain = [ROOT / "docker-compose.yml", *sorted((ROOT / "deploy").rglob("*.yml")), CHART / "values.yaml", CHART / "Chart.yaml",
             *sorted((CHART / "files").glob("*.yaml")), *EXAMPLES]
    rules = ("{extends: default, rules: {line-length: disable, document-start: disable, braces: {max-spaces-inside: 1}, "
             "commas: {max-spaces-after: 1}, comments: {min-spaces-from-content: 1}, comments-indentation: disable, "
             "truthy: {check-keys: false}}}")
    # Compose's own tag is not YAML's.
    subprocess.run([Path(sys.executable).parent / "yamllint", "--strict", "--config-data", rules, *plain], check=True)


def all_of_them():
    yield "shellcheck and yamllint find nothing", tidy_files
    for sentence, act in agreement.checks():
        yield sentence, act
    for index, name in enumerate(MATRIX):
        # Each on one version, and those with the most in them on all.
        several = name in ("bare-metal", "trial")
        for version in VERSIONS if several else [VERSIONS[index % len(VERSIONS)]]:
            yield f"valid and restricted on Kubernetes {version}: {name}", renders(name, version)
    for name in REFUSED:
        yield f"refused with a fix: {name}", refuses(name)
    yield "an upgrade keeps selectors and secrets", upgrade_keeps
    yield "secrets that are gone are not made anew in silence", lost_keys_are_not_made_anew
    yield "spans go where tracing.endpoint says, through the network policy, and nowhere without", traces_are_sent
    yield "grace periods are longer than drains", drains_fit
    yield "no secret is in an environment or a ConfigMap", secrets_stay_secret

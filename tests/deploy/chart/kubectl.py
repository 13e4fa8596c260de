"""As much of kubectl as the documents use, on the fake cluster: what a command names has to be there."""

import base64
import re
from pathlib import Path

import yaml

from fake_api import KINDS, Cluster, plural, prefix

# Flags of each verb that the documents may use, and whether one takes a value.
FLAGS = {
    "create": {"from-file": True, "from-literal": True, "dry-run": True, "output": True},
    "apply": {"filename": True},
    "label": {}, "delete": {}, "rollout": {}, "port-forward": {},
    "get": {"output": True},
    "logs": {"selector": True, "container": True},
}


def flags_of(words: list[str], known: dict[str, bool]) -> tuple[list[str], dict[str, list[str]]]:
    """What is not a flag, and every flag with its values. A flag that is not known fails."""
    plain, found, rest = [], {}, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        assert name in known, f"no flag {word}; known here: {sorted(known)}"
        if known[name] and not equals:
            assert rest, f"{word} has no value"
            value = rest.pop(0)
        found.setdefault(name, []).append(value)
    return plain, found


def kind_of(word: str) -> tuple[str, str]:
    """Group and version, and kind, of a resource as kubectl takes it."""
    for version, kinds in KINDS.items():
        for kind in kinds:
            if word.lower() in (kind.lower(), plural(kind)):
                return version, kind
    raise AssertionError(f"no resource {word!r}")


class Kubectl:
    def __init__(self, cluster: Cluster, folder: Path):
        self.cluster, self.folder = cluster, folder

    def run(self, words: list[str], given: str) -> str:
        plain, common = words, {"namespace": ["default"]}
        if words[0] == "--namespace":
            common, plain = {"namespace": [words[1]]}, words[2:]
        verb, rest = plain[0], plain[1:]
        assert verb in FLAGS, f"no rule for kubectl {verb}"
        plain, flags = flags_of(rest, FLAGS[verb])
        self.namespace = common["namespace"][0]
        if self.namespace != "default":
            assert f"/api/v1/namespaces/{self.namespace}" in self.cluster.objects, f"the namespace {self.namespace} is not made"
        return getattr(self, verb.replace("-", "_"))(plain, flags, given) or ""

    def place(self, word: str, name: str) -> str:
        version, kind = kind_of(word)
        scope = "" if kind == "Namespace" else f"/namespaces/{self.namespace}"
        return f"/{prefix(version)}{scope}/{plural(kind)}/{name}"

    def one(self, plain: list[str]) -> str:
        """The place of an object named `kind/name` or `kind name`; it has to exist."""
        word, name = plain[0].split("/") if "/" in plain[0] else plain[:2]
        place = self.place(word, name)
        assert place in self.cluster.objects, f"there is no {word} {name} in {self.namespace}; there are {self.names(word)}"
        return place

    def names(self, word: str) -> list[str]:
        parent = self.place(word, "")
        return [place.removeprefix(parent) for place in self.cluster.objects if place.startswith(parent)]

    def create(self, plain, flags, _given):
        if plain[0] == "namespace":
            place = f"/api/v1/namespaces/{plain[1]}"
            assert place not in self.cluster.objects and not flags, f"{plain[1]} is there already"
            self.cluster.stored({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plain[1]}}, place)
            return ""
        assert plain[:2] == ["secret", "generic"], f"no rule for kubectl create {plain}"
        data = {}
        for entry in flags.get("from-file", []):
            key, _, name = entry.rpartition("=")
            data[key or Path(name).name] = base64.b64encode((self.folder / name).read_bytes()).decode()
        for entry in flags.get("from-literal", []):
            key, _, value = entry.partition("=")
            data[key] = base64.b64encode(value.encode()).decode()
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": plain[2], "namespace": self.namespace}, "data": data}
        if flags.get("dry-run"):
            assert flags["dry-run"] == ["client"] and flags["output"] == ["yaml"]
            return yaml.safe_dump(secret)
        place = self.place("secret", plain[2])
        assert place not in self.cluster.objects, f"the secret {plain[2]} is there already"
        self.cluster.stored(secret, place)
        return ""

    def apply(self, plain, flags, given):
        assert not plain and flags["filename"] == ["-"], (plain, flags)
        item = yaml.safe_load(given)
        self.namespace = item["metadata"]["namespace"]
        self.cluster.stored(item, self.place(item["kind"], item["metadata"]["name"]))

    def label(self, plain, _flags, _given):
        place = self.one(plain)
        labels = dict(word.split("=") for word in plain[2:])
        assert labels
        self.cluster.objects[place]["metadata"].setdefault("labels", {}).update(labels)

    def delete(self, plain, _flags, _given):
        if plain[0] == "namespace":
            inside = f"/namespaces/{plain[1]}"
            assert f"/api/v1{inside}" in self.cluster.objects, f"there is no namespace {plain[1]}"
            for place in [place for place in self.cluster.objects if place.endswith(inside) or f"{inside}/" in place]:
                del self.cluster.objects[place]
            return
        for name in plain[1:]:
            del self.cluster.objects[self.one([plain[0], name])]

    def rollout(self, plain, _flags, _given):
        assert plain[0] in ("status", "restart") and plain[1].split("/")[0] in ("deployment", "daemonset"), plain
        self.one(plain[1:])

    def port_forward(self, plain, _flags, _given):
        ports = [port["port"] for port in self.cluster.objects[self.one(plain)]["spec"]["ports"]]
        assert int(plain[1].split(":")[1]) in ports, f"{plain[0]} has {ports}"

    def get(self, plain, flags, _given):
        if len(plain) == 1 and "/" not in plain[0]:
            kind_of(plain[0])
            return ""
        item = self.cluster.objects[self.one(plain)]
        if not flags:
            return ""
        key = re.fullmatch(r'go-template=\{\{index \.data "(.+)" \| base64decode\}\}', flags["output"][0])
        assert key, f"no rule for {flags['output']}"
        return base64.b64decode(item["data"][key.group(1)]).decode()

    def logs(self, plain, flags, _given):
        if plain:
            # The migration's job is gone once it succeeded; that it was one of the release is known from Helm.
            assert plain[0].split("/")[0] == "job" and plain[0].split("/")[1] in self.cluster.jobs, f"no {plain[0]}; there were {self.cluster.jobs}"
            return
        wanted = dict(pair.split("=") for pair in flags["selector"][0].split(","))
        pods = [item["spec"]["template"] for place, item in self.cluster.objects.items()
                if f"/namespaces/{self.namespace}/" in place and "template" in item.get("spec", {})]
        chosen = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
        assert chosen, f"no pod has {wanted}"
        names = {container["name"] for pod in chosen for container in pod["spec"]["containers"]}
        assert set(flags["container"]) <= names, f"{flags['container']}; there are {names}"

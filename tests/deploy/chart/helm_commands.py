"""The command line of Helm, as documents write it, on the real engine."""

import asyncio
import base64
import re
import subprocess
import tempfile
from pathlib import Path

import helm_sdkpy
import yaml

import agreement
from fake_api import Cluster
from helm import ROOT, Helm, Release, Refused
from kubectl import flags_of

RENDERING = {"namespace": True, "values": True, "set": True}
FLAGS = {
    "show": {}, "template": RENDERING, "install": {**RENDERING, "create-namespace": False}, "upgrade": RENDERING,
    "test": {"namespace": True}, "status": {"namespace": True}, "history": {"namespace": True}, "rollback": {"namespace": True},
    "uninstall": {"namespace": True},
}
PRIVILEGED = ("pod-security.kubernetes.io/enforce", "privileged")


def typed(text: str):
    """As `--set` does: whole numbers and booleans; a number with a point stays text."""
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("{") and text.endswith("}"):
        return [typed(part) for part in text[1:-1].split(",")]
    return int(text) if re.fullmatch(r"0|-?[1-9]\d*", text) else text


def merged(values: dict, more: dict) -> dict:
    for name, value in more.items():
        values[name] = merged(values.get(name, {}), value) if isinstance(value, dict) else value
    return values


class HelmCommands:
    """Releases of one cluster. After each install and upgrade, every pod would start."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.cluster = Cluster("1.34")
        self.config_folder = tempfile.TemporaryDirectory()
        self.kubeconfig = self.cluster.kubeconfig(Path(self.config_folder.name))
        self.configurations: dict[str, helm_sdkpy.Configuration] = {}
        self.images: set[str] = set()
        self.last: Release | None = None

    def stop(self) -> None:
        self.cluster.stop()
        self.config_folder.cleanup()

    @staticmethod
    def flags(words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
        assert words[0] in FLAGS, f"no rule for helm {words[0]}"
        return flags_of(words[1:], FLAGS[words[0]])

    def run(self, words: list[str]) -> str:
        plain, flags = self.flags(words)
        self.namespace = flags.get("namespace", ["default"])[0]
        values: dict = {}
        for name in flags.get("values", []):
            merged(values, yaml.safe_load((self.folder / name).read_text()))
        for entry in flags.get("set", []):
            path, _, value = entry.partition("=")
            for name in reversed(path.split(".")):
                value = {name: typed(value) if isinstance(value, str) else value}
            merged(values, value)
        return getattr(self, words[0])(plain, values) or ""

    def action(self, kind, *arguments, **named):
        if self.namespace not in self.configurations:
            self.configurations[self.namespace] = helm_sdkpy.Configuration(self.namespace, kubeconfig=self.kubeconfig)
        try:
            return asyncio.run(kind(self.configurations[self.namespace]).run(*arguments, **named))
        except helm_sdkpy.HelmError as error:
            raise Refused(str(error)) from error

    def show(self, plain, _values):
        assert plain[0] == "values", plain
        shown = asyncio.run(helm_sdkpy.Show(helm_sdkpy.Configuration("default", kubeconfig=self.kubeconfig)).values(str(ROOT / plain[1])))
        assert yaml.safe_load(shown)["relay"]["exposure"], shown
        return shown

    def template(self, plain, values):
        assert (ROOT / plain[1]).is_dir(), plain
        with Helm() as elsewhere:
            elsewhere.install(values, plain[0])

    def install(self, plain, values):
        self.started(self.action(helm_sdkpy.Install, plain[0], str(ROOT / plain[1]), values=values, wait=False, timeout=60))

    def upgrade(self, plain, values):
        self.started(self.action(helm_sdkpy.Upgrade, plain[0], str(ROOT / plain[1]), values=values, wait=False, timeout=60))

    def test(self, plain, _values):
        assert [pod for pod in self.last.of_kind("Pod") if pod["metadata"]["name"].startswith(plain[0])]
        self.action(helm_sdkpy.Test, plain[0])

    def status(self, plain, _values):
        assert self.action(helm_sdkpy.Status, plain[0])

    def history(self, plain, _values):
        assert len(self.action(helm_sdkpy.History, plain[0])) > 1, "one revision: nothing to go back to"

    def rollback(self, plain, _values):
        """The engine's rollback cannot be called through the binding (see `Helm.rolled_back`): there is one to go to."""
        revisions = [release["version"] for release in self.action(helm_sdkpy.History, plain[0])]
        assert len(revisions) > 1 and (len(plain) == 1 or int(plain[1]) in revisions), revisions

    def uninstall(self, plain, _values):
        self.action(helm_sdkpy.Uninstall, plain[0], wait=False)
        left = [place for place, item in self.cluster.objects.items()
                if item["metadata"].get("labels", {}).get("app.kubernetes.io/instance") == plain[0]
                and not {"helm.sh/resource-policy", "helm.sh/hook"} & item["metadata"].get("annotations", {}).keys()]
        assert not left, f"left in the cluster: {left}"

    def started(self, result: dict) -> None:
        """Whatever keeps a pod from its start, as far as it can be seen without a node."""
        self.last = release = Release(result)
        namespace = self.cluster.objects.get(f"/api/v1/namespaces/{self.namespace}")
        assert namespace, f"the namespace {self.namespace} is not made"
        for owner, pod in release.pods():
            labels = namespace["metadata"].get("labels", {})
            assert not pod.get("hostNetwork") or PRIVILEGED in labels.items(), f"{owner} is not admitted: label the namespace {'='.join(PRIVILEGED)}"
            with tempfile.TemporaryDirectory() as folder:
                mounted = self.mounts(owner, pod, Path(folder))
                for container in pod["containers"]:
                    if "p2p-coordinator" in container["image"]:
                        here = container["imagePullPolicy"] == "Never" or container["image"] in self.images
                        assert here, f"{container['image']} cannot be pulled; pushed were {self.images}"
                        self.accepted(owner, container, mounted)

    def mounts(self, owner: str, pod: dict, folder: Path) -> dict[str, Path]:
        """The files of every secret that the pod mounts, by volume."""
        folders = {}
        for volume in pod.get("volumes", []):
            if "secret" not in volume:
                continue
            name = volume["secret"]["secretName"]
            secret = self.cluster.objects.get(f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
            assert secret, f"{owner}: the secret {name} is not made"
            place = folders[volume["name"]] = folder / volume["name"]
            place.mkdir()
            for item in volume["secret"].get("items") or [{"key": key, "path": key} for key in secret["data"]]:
                assert item["key"] in secret["data"], f"{owner}: {name} has no key {item['key']}, but {sorted(secret['data'])}"
                (place / item["path"]).touch(mode=0o600)
                (place / item["path"]).write_bytes(base64.b64decode(secret["data"][item["key"]]))
        return folders

    def accepted(self, owner: str, container: dict, mounted: dict[str, Path]) -> None:
        """The program takes the settings of the container, with the files that the secrets hold."""
        role = container["args"][0]
        if role not in ("signaling", "relay"):
            return
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        for mount in container["volumeMounts"]:
            if mount["name"] in mounted:
                variables = {name: value.replace(mount["mountPath"] + "/", f"{mounted[mount['name']]}/") for name, value in variables.items()}
        done = subprocess.run([agreement.PROGRAM, "config", "check", "--role", role], env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{owner}: {done.stdout}{done.stderr}"

"""The real Helm engine against a fake cluster: what it renders, what it refuses, what an upgrade changes."""

import asyncio
import os
import tempfile
from pathlib import Path

import helm_sdkpy
import yaml

from fake_api import Cluster

# The library reads the environment that the process began with.
assert os.environ.get("HELM_DRIVER") == "memory", "start this with HELM_DRIVER=memory"

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm/p2p-coordinator"
NAMESPACE = "p2p"


class Refused(Exception):
    """Helm will not render this; the text says why."""


class Helm:
    """One cluster and what is installed in it."""

    def __init__(self, version: str = "1.34"):
        self.cluster = Cluster(version)
        self.folder = tempfile.TemporaryDirectory()
        config = self.cluster.kubeconfig(Path(self.folder.name))
        self.configuration = helm_sdkpy.Configuration(NAMESPACE, kubeconfig=config)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cluster.stop()
        self.folder.cleanup()

    def install(self, values: dict, name: str = "demo") -> "Release":
        return self._run(helm_sdkpy.Install(self.configuration), name, values)

    def upgrade(self, values: dict, name: str = "demo") -> "Release":
        return self._run(helm_sdkpy.Upgrade(self.configuration), name, values)

    def rolled_back(self, values: dict, name: str = "demo") -> list[dict]:
        """An upgrade whose pods do not start, which the engine rolls back by itself: the binding gives its own
        rollback no way to wait, and the engine refuses that. The history afterwards."""
        upgrade = helm_sdkpy.Upgrade(self.configuration)
        try:
            asyncio.run(upgrade.run(name, str(CHART), values=values, wait=False, timeout=5, rollback_on_failure=True))
        except helm_sdkpy.HelmError as error:
            assert "has been rolled back" in str(error), error
            return asyncio.run(helm_sdkpy.History(self.configuration).run(name))
        raise AssertionError("pods with an image that is not there became ready")

    def _run(self, action, name: str, values: dict) -> "Release":
        try:
            return Release(asyncio.run(action.run(name, str(CHART), values=values, wait=False, timeout=60)))
        except helm_sdkpy.HelmError as error:
            raise Refused(str(error)) from error


class Release:
    """What Helm made of the chart."""

    def __init__(self, result: dict):
        self.notes = result["info"].get("notes", "")
        self.manifests = documents(result["manifest"])
        for hook in result.get("hooks") or []:
            self.manifests += documents(hook["manifest"])

    def of_kind(self, *kinds: str) -> list[dict]:
        return [item for item in self.manifests if item["kind"] in kinds]

    def one(self, kind: str, name_ends: str) -> dict:
        found = [item for item in self.of_kind(kind) if item["metadata"]["name"].endswith(name_ends)]
        assert len(found) == 1, f"{len(found)} of {kind} …{name_ends}"
        return found[0]

    def pods(self) -> list[tuple[str, dict]]:
        """Every pod spec there is, with the name of what it belongs to."""
        found = []
        for item in self.manifests:
            spec = item.get("spec", {})
            if item["kind"] == "Pod":
                found.append((item["metadata"]["name"], spec))
            elif "template" in spec:
                found.append((item["metadata"]["name"], spec["template"]["spec"]))
        return found


def documents(text: str) -> list[dict]:
    return [item for item in yaml.safe_load_all(text) if item]


def environment(container: dict) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}

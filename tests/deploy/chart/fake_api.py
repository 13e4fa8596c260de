"""As much of a Kubernetes API as Helm needs: it discovers, stores and gives back, and jobs succeed at once."""

import copy
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

KINDS = {
    "v1": ["Service", "ConfigMap", "Secret", "ServiceAccount", "Pod", "Namespace"],
    "apps/v1": ["Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"],
    "batch/v1": ["Job", "CronJob"],
    "policy/v1": ["PodDisruptionBudget"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
    "monitoring.coreos.com/v1": ["ServiceMonitor", "PodMonitor", "PrometheusRule"],
    "gateway.networking.k8s.io/v1": ["Gateway", "HTTPRoute", "UDPRoute", "TCPRoute"],
}
# An image with this in its name never starts.
BROKEN = "broken"
# How long a watch stays open at most; a client that has seen enough closes it.
WATCH_SECONDS = 30


def plural(kind: str) -> str:
    word = kind.lower()
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("s") else "s")


def merged(old, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif not key.startswith("$"):
            result[key] = merged(result.get(key), value)
    return result


def of_path(path: str) -> dict:
    """What kind of object a list's path is of."""
    words = path.strip("/").split("/")
    version = words[1] if words[0] == "api" else f"{words[1]}/{words[2]}"
    kind = next(kind for kind in KINDS[version] if plural(kind) == words[-1])
    return {"apiVersion": version, "kind": kind}


def ready(workload: dict) -> dict:
    """The status of one whose pods all run."""
    seen, count = {"observedGeneration": workload["metadata"]["generation"]}, workload["spec"].get("replicas", 1)
    if workload["kind"] == "DaemonSet":
        names = ["desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled", "numberReady", "numberAvailable"]
        return seen | dict.fromkeys(names, 1)
    names = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
    return seen | dict.fromkeys(names, count) | {"conditions": [{"type": "Available", "status": "True"}]}


def prefix(group_version: str) -> str:
    return f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"


def validates_itself(group_version: str) -> dict:
    """The description of an API that validates fields at the server, so that Helm leaves it to that."""
    group, _, version = group_version.rpartition("/")
    def path(kind: str) -> dict:
        return {"patch": {
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "responses": {"200": {"description": "OK"}},
        }}
    return {"openapi": "3.0.0", "info": {"title": "fake", "version": "v1"}, "paths": {
        f"/{prefix(group_version)}/namespaces/{{namespace}}/{plural(kind)}/{{name}}": path(kind)
        for kind in KINDS[group_version]}}


class Cluster:
    """One API server on a free port of the loopback interface."""

    def __init__(self, version: str):
        self.version = version
        self.objects: dict[str, dict] = {}
        # Names of all jobs that there ever were.
        self.jobs: set[str] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.server.daemon_threads = True
        # Ends soon after it is told to, not half a second later.
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self, folder: Path) -> str:
        path = folder / f"kubeconfig-{self.server.server_port}"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
        }))
        return str(path)

    def stored(self, item: dict, path: str) -> dict:
        item = copy.deepcopy(item)
        metadata = item.setdefault("metadata", {})
        metadata.setdefault("uid", path)
        metadata["resourceVersion"] = str(len(self.objects) + 1)
        metadata.setdefault("generation", 1)
        if item.get("kind") == "Job":
            self.jobs.add(metadata["name"])
            item["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
        if item.get("kind") in ("Deployment", "DaemonSet") and BROKEN not in json.dumps(item):
            item["status"] = ready(item)
        if item.get("kind") == "Pod":
            item["status"] = {"phase": "Succeeded"}
        self.objects[path] = item
        return item


def handler_of(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, body: dict, status: int = 200) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def not_found(self) -> None:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                         "code": 404, "message": "not found", "details": {}}, 404)

        def discovery(self, path: str) -> bool:
            groups = [name for name in KINDS if "/" in name]
            if path == "/version":
                major, minor = cluster.version.split(".")
                self.answer({"major": major, "minor": minor, "gitVersion": f"v{cluster.version}.0"})
            elif path == "/api":
                self.answer({"kind": "APIVersions", "versions": ["v1"]})
            elif path == "/apis":
                entry = lambda name: {"groupVersion": name, "version": name.split("/")[1]}
                self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                    {"name": name.split("/")[0], "versions": [entry(name)], "preferredVersion": entry(name)}
                    for name in groups]})
            elif (name := path.removeprefix("/apis/").removeprefix("/api/")) in KINDS:
                self.answer({"kind": "APIResourceList", "groupVersion": name, "resources": [
                    {"name": plural(kind), "namespaced": kind != "Namespace", "kind": kind,
                     "verbs": ["create", "get", "list", "watch", "patch", "delete", "update"]} for kind in KINDS[name]]})
            elif path == "/openapi/v3":
                self.answer({"paths": {prefix(name): {"serverRelativeURL": f"/openapi/v3/{prefix(name)}"} for name in KINDS}})
            elif (name := path.removeprefix("/openapi/v3/apis/").removeprefix("/openapi/v3/api/")) in KINDS:
                self.answer(validates_itself(name))
            else:
                return False
            return True

        def listed(self, path: str, query: dict) -> list[dict]:
            fields = dict(part.split("=", 1) for part in query.get("fieldSelector", [""])[0].split(",") if "=" in part)
            wanted = fields.get("metadata.name")
            found = [item for place, item in cluster.objects.items() if place.rsplit("/", 1)[0] == path]
            return [item for item in found if wanted in (None, item["metadata"]["name"])]

        def watch(self, path: str, items: list[dict], begins_with_all: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            events = [{"type": "ADDED", "object": item} for item in items]
            if begins_with_all:
                events.append({"type": "BOOKMARK", "object": {**of_path(path), "metadata": {
                    "resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}}})
            try:
                for event in events:
                    line = json.dumps(event).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
                self.connection.settimeout(WATCH_SECONDS)
                self.connection.recv(1)
            except (OSError, TimeoutError):
                pass
            self.close_connection = True

        def handle_request(self) -> None:
            split = urlsplit(self.path)
            path, query = split.path.rstrip("/"), parse_qs(split.query)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command == "GET" and self.discovery(path):
                return
            if self.command == "POST":
                item = json.loads(body)
                self.answer(cluster.stored(item, f"{path}/{item['metadata']['name']}"), 201)
            elif self.command in ("PUT", "PATCH"):
                if self.command == "PATCH" and path not in cluster.objects:
                    return self.not_found()
                old = cluster.objects.get(path, {}) if self.command == "PATCH" else {}
                self.answer(cluster.stored(merged(old, json.loads(body)), path))
            elif self.command == "DELETE":
                cluster.objects.pop(path, None)
                self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})
            elif path in cluster.objects:
                self.answer(cluster.objects[path])
            elif path.rsplit("/", 1)[-1] in {plural(kind) for kinds in KINDS.values() for kind in kinds}:
                items = self.listed(path, query)
                if query.get("watch", ["false"])[0] in ("true", "1"):
                    self.watch(path, items, query.get("sendInitialEvents") == ["true"])
                else:
                    self.answer({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
            else:
                self.not_found()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    return Handler

"""An operator with nothing but the documents: what each shows is done, and works."""

import base64

import helm_sdkpy

from checks import BASE, MATRIX, with_
from helm import CHART, ROOT, Helm, Release
from pages import comments, fenced, inline, notes
from terminal import Terminal, mentioned

OPERATIONS = ROOT / "docs/operations"
CHART_PAGE = CHART / "README.md"


def chart_page() -> None:
    with Terminal() as terminal:
        terminal.run(fenced(CHART_PAGE))
        assert not [place for place in terminal.helm.cluster.objects if "/namespaces/p2p" in place], "uninstalled"
        assert len(terminal.helm.images) == 1 and len(list(terminal.folder.iterdir())) == 5


def every_example() -> None:
    """The page says to take the nearest example: each runs in place of the one that is shown."""
    shown = fenced(CHART_PAGE, "From nothing to a running cluster")
    for path in sorted((CHART / "examples").glob("*.yaml")):
        # What differs between clusters comes after the test of the release.
        lines = [line.replace("examples/eks.yaml", f"examples/{path.name}") for line in shown]
        lines = lines[: next(index for index, line in enumerate(lines) if line.startswith("helm install")) + 1]
        assert f"`{path.stem}`" in CHART_PAGE.read_text(), f"{path.name} is not named"
        label = "kubectl label namespace p2p pod-security.kubernetes.io/enforce=privileged"
        with Terminal() as terminal:
            terminal.run(fenced(CHART_PAGE, "The image"))
            terminal.run([*lines[:-1], label, lines[-1]] if "hostNetwork" in path.read_text() or "exposure" not in path.read_text() else lines)


def operations_page() -> None:
    """After the chart's page, whose release and secrets it speaks of."""
    with Terminal() as terminal:
        for section in ["The image", "From nothing to a running cluster"]:
            terminal.run(fenced(CHART_PAGE, section))
        before = secret(terminal)
        terminal.run(fenced(OPERATIONS / "README.md"))
        first, second = secret(terminal).split()
        assert [first] == before.split() and second != first, "the old secret makes, the new one is accepted"


def secret(terminal: Terminal) -> str:
    return base64.b64decode(terminal.helm.cluster.objects["/api/v1/namespaces/p2p/secrets/p2p-jwt"]["data"]["jwt.txt"]).decode()


def in_the_text(page):
    def act() -> None:
        for code in inline(page):
            try:
                mentioned(code)
            except Exception as error:
                raise AssertionError(f"`{code}`: {error}") from error
    return act


def project_page() -> None:
    with Terminal() as terminal:
        terminal.run(fenced(ROOT / "README.md", "In containers, on Kubernetes"))


def compose_file() -> None:
    with Terminal() as terminal:
        terminal.run(comments(ROOT / "docker-compose.yml"))


def rendered_notes() -> None:
    """Of every set of values that is installed in these tests, with the release that they speak of."""
    for name in ["base", "trial", "eks", "bare-metal"]:
        with Terminal() as terminal:
            helm = terminal.helm
            helm.namespace = "p2p"
            terminal.run(["kubectl create namespace p2p", "coordinator secret jwt.txt",
                          "kubectl --namespace p2p create secret generic p2p-jwt --from-file=jwt.txt"])
            result = helm.action(helm_sdkpy.Install, "demo", str(CHART), values=MATRIX[name], wait=False, timeout=60)
            helm.last = Release(result)
            lines = notes(result["info"]["notes"])
            assert len(lines) >= 5 and str(lines).count("kubectl ") == result["info"]["notes"].count("kubectl "), lines
            terminal.run(lines)


def unknown_commands_fail() -> None:
    """The rules above see what is wrong."""
    wrong = [
        "sudo helm install p2p helm/p2p-coordinator", "helm instal p2p helm/p2p-coordinator", "helm install p2p helm/p2p-coordinator --valuse values.yaml",
        "helm test nobody --namespace p2p", "kubectl explain pods", "kubectl get deployment nothing", "kubectl --namespace nowhere get pods",
        "kubectl logs --selector app.kubernetes.io/component=nothing --container signaling", "docker compose --profile none up --wait",
        "docker compose logs nobody", "docker compose -f missing.yml up", "docker push registry.example.org/p2p-coordinator:0.1.0",
        "coordinator sceret jwt.txt", "coordinator relay --lisen udp://0.0.0.0:3478", "p2p connect bob --sever wss://p2p.example.org", "cat missing.txt"]
    for line in wrong:
        with Terminal() as terminal:
            try:
                terminal.run([line])
            except AssertionError:
                continue
        raise AssertionError(f"`{line}` was taken")


def rollback_keeps() -> None:
    with Helm() as helm:
        helm.install(BASE)
        first = state(helm)
        helm.upgrade(with_("signaling.replicas", 3, "logLevel", "debug"))
        second = state(helm)
        assert second["replicas"] == 3 and second["settings"] != first["settings"]
        assert (second["keys"], second["selectors"]) == (first["keys"], first["selectors"])
        history = helm.rolled_back(with_("signaling.replicas", 4, "logLevel", "trace", "image.tag", "broken"))
        assert [release["version"] for release in history] == [1, 2, 3, 4], history
        assert state(helm) == second, "replicas, selectors and secrets are those of the revision before"


def state(helm: Helm) -> dict:
    objects = helm.cluster.objects
    signaling = objects["/apis/apps/v1/namespaces/p2p/deployments/demo-p2p-coordinator-signaling"]["spec"]
    relay = objects["/apis/apps/v1/namespaces/p2p/daemonsets/demo-p2p-coordinator-relay"]["spec"]
    return {"replicas": signaling["replicas"], "selectors": [signaling["selector"], relay["selector"]],
            "settings": [spec["template"]["metadata"]["annotations"]["checksum/settings"] for spec in [signaling, relay]],
            "keys": objects["/api/v1/namespaces/p2p/secrets/demo-p2p-coordinator-keys"]["data"]}


def checks():
    yield "the chart's README leads from its values to a running cluster, a rollback and an empty cluster", chart_page
    yield "the chart's README leads there with every example", every_example
    yield "the commands of docs/operations work on the cluster of the chart's README", operations_page
    for page in [CHART_PAGE, *sorted(OPERATIONS.glob("*.md"))]:
        yield f"every command in the text of {page.relative_to(ROOT)} exists", in_the_text(page)
    yield "the README's commands for containers name files, profiles and services that are there", project_page
    yield "the commands at the head of docker-compose.yml name files, profiles and services that are there", compose_file
    yield "the commands of Helm's notes work on the release they speak of", rendered_notes
    yield "a command that is wrong, or that no rule knows, is found", unknown_commands_fail
    yield "a rollback keeps secrets and selectors, and brings the settings back", rollback_keeps

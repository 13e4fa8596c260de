"""Runs what a document shows, line by line, as an operator would: a command that no rule knows fails.

`helm` is the real engine on a fake cluster, `coordinator` the real program where it ends by itself. Of the rest it is
checked that what is named exists: objects of the cluster, services and profiles of compose, files, flags."""

import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import agreement
from helm import ROOT
from helm_commands import HelmCommands
from kubectl import FLAGS as KUBECTL
from kubectl import Kubectl, flags_of

# Commands of the program that end by themselves; the others serve, and only their flags are looked at.
ENDING = {"secret", "token", "turn-credentials", "ports", "version"}
COMPOSE = {
    "up": {"wait": False, "detach": False, "build": False, "scale": True}, "down": {"volumes": False}, "logs": {"follow": False},
    "ps": {}, "stop": {}, "start": {}, "restart": {}, "kill": {}, "build": {}, "pull": {}, "config": {},
}


def help_of(program: str, *verb: str) -> str:
    return subprocess.run([agreement.PROGRAM.parent / program, *verb, "--help"], check=True, capture_output=True, text=True).stdout


def looked_up(program: str, words: list[str]) -> None:
    """The verb is one of the program, with these flags."""
    # `config check` takes the flags of the role.
    texts = [help_of(program, words[0])] + ([help_of(program, "signaling"), help_of(program, "relay")] if words[0] == "config" else [])
    known = {flag for text in texts for flag in re.findall(r"--[a-z][a-z-]+", text)}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    assert not unknown, f"{program} {words[0]} has no {unknown}"


class Terminal:
    """One folder, one cluster, and what was done so far."""

    def __init__(self):
        self.work = tempfile.TemporaryDirectory()
        self.folder = Path(self.work.name)
        self.helm = HelmCommands(self.folder)
        self.kubectl = Kubectl(self.helm.cluster, self.folder)
        self.built: set[str] = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.helm.stop()
        self.work.cleanup()

    def run(self, lines: list[str]) -> None:
        assert lines, "no command: the test looks in the wrong place"
        for line in lines:
            try:
                self.line(line)
            except Exception as error:
                raise AssertionError(f"`{line}`: {type(error).__name__}: {error}") from error

    def line(self, line: str) -> None:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|>&;<")
        lexer.whitespace_split = True
        words, text, target = list(lexer), "", None
        if ">" in words:
            target, words = words[words.index(">") + 1], words[: words.index(">")]
        while words:
            end = words.index("|") if "|" in words else len(words)
            text, words = self.command(words[:end], text), words[end + 1:]
        if target:
            assert text, "nothing to write"
            (self.folder / target).write_text(text)

    def command(self, words: list[str], given: str) -> str:
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name = words.pop(0).split("=")[0]
            assert re.search(rf"^{name}=", (ROOT / ".env.example").read_text(), re.MULTILINE), f"compose takes no {name}"
        program, *rest = words
        match program:
            case "helm":
                return self.helm.run(rest)
            case "kubectl":
                return self.kubectl.run(rest, given)
            case "docker":
                self.docker(rest)
            case "coordinator" if rest[0] in ENDING:
                return subprocess.run([agreement.PROGRAM, *rest], cwd=self.folder, check=True, capture_output=True, text=True, env={}).stdout
            case "coordinator":
                looked_up(program, rest)
            case "p2p":
                self.p2p(rest)
            case "cat":
                return "".join((self.folder / name).read_text() for name in rest)
            case "cp":
                shutil.copy(ROOT / rest[0], self.folder / rest[1])
            case _:
                raise AssertionError(f"no rule for {program}")
        return ""

    def p2p(self, words: list[str]) -> None:
        looked_up("p2p", words)
        for flag, value in zip(words, words[1:], strict=False):
            if flag == "--token-file":
                assert (self.folder / value).read_text().count(".") == 2, f"{value} is no token"
            if flag == "--server" and value != "URL":
                hosts = [rule["host"] for item in self.helm.cluster.objects.values() if item["kind"] == "Ingress" for rule in item["spec"]["rules"]]
                assert urlsplit(value).scheme == "wss" and urlsplit(value).hostname in hosts, f"{value} is not served; these are: {hosts}"

    def docker(self, words: list[str]) -> None:
        match words[0]:
            case "compose":
                compose(words[1:])
            case "build":
                plain, flags = flags_of(words[1:], {"file": True, "tag": True, "target": True})
                stages = re.findall(r"^FROM .* AS (\S+)$", (ROOT / flags["file"][0]).read_text(), re.MULTILINE)
                assert plain == ["."] and set(flags["target"]) <= set(stages), (plain, stages)
                self.built |= set(flags["tag"])
            case "push":
                assert words[1] in self.built, f"{words[1]} was not built"
                self.helm.images.add(words[1])
            case _:
                raise AssertionError(f"no rule for docker {words[0]}")


def compose(words: list[str]) -> None:
    files, profiles = [], []
    while words[0].startswith("-"):
        flag, value, *words = words
        {"-f": files, "--file": files, "--profile": profiles}[flag].append(value)
    services = agreement.compose()["services"]
    for name in files:
        assert (ROOT / name).is_file(), f"no file {name}"
    known = {profile for service in services.values() for profile in service.get("profiles", [])}
    assert set(profiles) <= known, f"no profile {profiles}; there are {known}"
    assert words[0] in COMPOSE, f"no rule for docker compose {words[0]}"
    named, flags = flags_of(words[1:], COMPOSE[words[0]])
    named += [value.split("=")[0] for value in flags.get("scale", [])]
    assert set(named) <= set(services), f"no service {set(named) - set(services)}"


def mentioned(code: str) -> None:
    """A command in the text: its verb and flags exist; what it is done to is the reader's."""
    program, *words = shlex.split(code)
    match program:
        case "kubectl":
            assert words[0] in KUBECTL, f"no rule for {code}"
        case "helm":
            HelmCommands.flags(words)
        case "docker" if words[0] == "compose":
            compose(words[1:])
        case "docker":
            assert words == ["inspect"], f"no rule for {code}"
        case _:
            looked_up(program, words)

"""A Docker Engine of the test's own: Debian's packages, unpacked and run in namespaces made for it.

Nothing is installed, and nothing of it survives: the engine's network, mounts and processes end with the
process that made the namespaces, its files with the folder.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

PACKAGES = ["docker.io", "containerd", "runc", "iptables", "haproxy", "busybox-static", "prometheus"]
# Compose 2 is in Debian from release 13 on; its program needs nothing of that release.
COMPOSE_SUITE = "trixie"
READY_SECONDS = 60


def run(*command: object, **options) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


class Packages:
    """The unpacked programs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "root"

    def provide(self) -> None:
        """Downloads and unpacks what is missing. Needs the network, so outside the namespaces."""
        stamp = self.folder / "unpacked"
        if stamp.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        archives = self.folder / "archives"
        (archives / "partial").mkdir(parents=True)
        # With dependencies, less what is installed already.
        words = ["--quiet", "--yes", "--no-install-recommends", "--download-only", "--reinstall",
                 "--option", "DPkg::Lock::Timeout=120", "--option", f"Dir::Cache::archives={archives}"]
        try:
            run("apt-get", *words, "install", *PACKAGES)
        except RuntimeError:
            run("apt-get", "--quiet", "update")
            run("apt-get", *words, "install", *PACKAGES)
        self._compose(archives)
        for archive in sorted(archives.glob("*.deb")):
            run("dpkg", "-x", archive, self.root)
        shutil.rmtree(archives)
        stamp.touch()

    def _compose(self, archives: Path) -> None:
        """Compose from a later Debian: with lists of its own, so that the machine's stay as they are."""
        apt = self.folder / "apt"
        for name in ["lists/partial", "cache/archives/partial", "sources"]:
            (apt / name).mkdir(parents=True)
        found = []
        for source in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
            if source.suffix not in {".sources", ".list"} or not source.is_file():
                continue
            text = source.read_text()
            if "debian" not in text or "security" in text and ".list" == source.suffix:
                continue
            stanzas = text.split("\n\n") if source.suffix == ".sources" else [text]
            found += [(source.suffix, stanza) for stanza in stanzas
                      if "bookworm" in stanza and "debian-security" not in stanza]
        for number, (suffix, stanza) in enumerate(found):
            stanza = stanza.replace("bookworm bookworm-updates", COMPOSE_SUITE)
            (apt / "sources" / f"{number}{suffix}").write_text(stanza.replace("bookworm", COMPOSE_SUITE) + "\n")
        if not found:
            raise RuntimeError("no Debian package source to take docker-compose 2 from")
        configuration = apt / "apt.conf"
        configuration.write_text(
            f'Dir::State::Lists "{apt}/lists";\nDir::Etc::SourceList "/dev/null";\n'
            f'Dir::Etc::SourceParts "{apt}/sources";\nDir::Cache "{apt}/cache";\nAcquire::Languages "none";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(configuration)}
        run("apt-get", "--quiet", "update", env=environment)
        run("apt-get", "--quiet", "download", "docker-compose", env=environment, cwd=archives)

    def environment(self) -> dict[str, str]:
        links = self.root / "links"
        links.mkdir(exist_ok=True)
        for name in ["iptables", "ip6tables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"]:
            if not (links / name).is_symlink():
                (links / name).symlink_to(self.root / "usr/sbin/xtables-nft-multi")
        folders = [links, self.root / "usr/sbin", self.root / "usr/bin"]
        libraries = [self.root / "lib/x86_64-linux-gnu", self.root / "usr/lib/x86_64-linux-gnu"]
        return {
            **os.environ,
            "PATH": ":".join([*map(str, folders), os.environ["PATH"]]),
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "XTABLES_LIBDIR": str(self.root / "usr/lib/x86_64-linux-gnu/xtables"),
        }


class Engine:
    """A running daemon and its client. Start it inside the namespaces."""

    def __init__(self, packages: Packages, folder: Path):
        self.folder = folder
        self.environment = packages.environment()
        self.environment["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
        self.environment["DOCKER_CONFIG"] = str(folder / "client")
        self.environment["DOCKER_BUILDKIT"] = "1"
        self.environment["HOME"] = str(folder)
        plugins = folder / "client/cli-plugins"
        plugins.mkdir(parents=True)
        program = next(path for path in packages.root.rglob("docker-compose") if path.is_file() and os.access(path, os.X_OK))
        (plugins / "docker-compose").symlink_to(program)
        self.log = folder / "dockerd.log"
        self.daemon: subprocess.Popen | None = None

    def start(self) -> None:
        run("ip", "link", "set", "lo", "up")
        run("mount", "-t", "tmpfs", "none", "/run")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        with self.log.open("wb") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                 "--pidfile", self.folder / "dockerd.pid", "--host", self.environment["DOCKER_HOST"]],
                env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while not (self.folder / "docker.sock").exists() or not self._answers():
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not come up: {self.why()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        return subprocess.run(["docker", "version"], env=self.environment, capture_output=True, check=False).returncode == 0

    def why(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if "level=error" in line or "level=fatal" in line or "failed" in line]
        return " | ".join((telling or lines)[-3:])

    def stop(self) -> None:
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
        # What it has mounted would keep the folder. The mounts are of these namespaces alone.
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in sorted(mounted, reverse=True):
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", place], check=False)

    def docker(self, *words: object, **options) -> str:
        return run("docker", *words, env={**self.environment, **options.pop("env", {})}, **options)

    def inspect(self, what: str) -> dict:
        return json.loads(self.docker("inspect", what))[0]

    def import_rootfs(self, folder: Path, *names: str, change: tuple[str, ...] = ()) -> None:
        """A file system becomes an image under these names."""
        words = [word for line in change for word in ("--change", line)]
        tar = subprocess.Popen(["tar", "-C", str(folder), "-c", "."], stdout=subprocess.PIPE)
        done = subprocess.run(["docker", "import", *words, "-", names[0]], stdin=tar.stdout, env=self.environment,
                              capture_output=True, text=True, check=False)
        if tar.wait() != 0 or done.returncode != 0:
            raise RuntimeError(f"docker import {names[0]}: {done.stderr}")
        for name in names[1:]:
            self.docker("tag", names[0], name)

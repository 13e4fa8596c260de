"""Stand-ins for the images that docker-compose.yml names, made of this machine's programs.

Each holds one program with the libraries it loads, and busybox for the few shell words that a health
check or an entry script needs. They bear the names of the real images, so that the files are used as
they are, and nothing is pulled.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

# The part of the official image's entry script that docker-compose.yml relies on.
POSTGRES_ENTRYPOINT = """#!/bin/sh
set -eu
export PATH={bin}:/bin
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \\
    --auth-local scram-sha-256 --auth-host scram-sha-256 --encoding UTF8 --locale C --no-sync >/dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl --pgdata "$PGDATA" --options "-c listen_addresses=" --wait start >/dev/null
  PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" \\
    psql --username "$POSTGRES_USER" --dbname postgres --command "CREATE DATABASE $POSTGRES_DB" >/dev/null \\
    || [ "$POSTGRES_DB" = postgres ]
  pg_ctl --pgdata "$PGDATA" --mode fast --wait stop >/dev/null
fi
exec postgres -D "$PGDATA" -c listen_addresses='*'
"""

PASSWD = """root:x:0:0::/:/bin/sh
postgres:x:70:70::/:/bin/sh
haproxy:x:99:99::/:/bin/sh
valkey:x:999:1000::/:/bin/sh
"""


def libraries(program: Path, unpacked: Path) -> dict[Path, str]:
    """Every file that the loader maps for a program, and where it belongs in an image."""
    folders = [unpacked / "usr/lib/x86_64-linux-gnu", unpacked / "lib/x86_64-linux-gnu"]
    listing = subprocess.run(
        ["ldd", program], capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folders))},
    ).stdout
    missing = re.findall(r"(\S+) => not found", listing)
    if missing:
        raise FileNotFoundError(f"{program} needs {', '.join(missing)}")
    found = re.findall(r"(?:=> )?(/\S+) \(0x", listing)
    return {Path(path): path.removeprefix(str(unpacked)).lstrip("/") for path in found}


class Rootfs:
    """A file system for one image."""

    def __init__(self, folder: Path, unpacked: Path):
        self.folder = folder
        self.unpacked = unpacked
        shutil.rmtree(folder, ignore_errors=True)
        for name in ["bin", "etc", "proc", "sys", "dev", "var/run"]:
            (folder / name).mkdir(parents=True)
        (folder / "tmp").mkdir(mode=0o1777)
        (folder / "tmp").chmod(0o1777)
        (folder / "etc/passwd").write_text(PASSWD)
        shutil.copy(which("busybox", unpacked / "bin", unpacked / "usr/bin"), folder / "bin/busybox")
        for applet in ["sh", "cat", "wget", "sleep", "ls", "id", "grep"]:
            (folder / "bin" / applet).symlink_to("busybox")

    def program(self, source: Path, target: str, *names: str) -> None:
        """Puts a program at a path, with its libraries and under further names."""
        source = source.resolve()
        place = self.folder / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
        place.chmod(0o755)
        for name in names:
            (place.parent / name).symlink_to(place.name)
        self.libraries(source)

    def libraries(self, program: Path) -> None:
        for library, place in libraries(program, self.unpacked).items():
            copy = self.folder / place
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, copy)

    def tree(self, source: Path) -> None:
        """Copies a folder to the same place."""
        shutil.copytree(source, self.folder / str(source).lstrip("/"), symlinks=False, dirs_exist_ok=True)


def which(name: str, *folders: Path) -> Path:
    for folder in [*folders, Path("/usr/local/sbin"), Path("/usr/sbin"), Path("/usr/bin"), Path("/bin")]:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{name}: not on this machine")


def postgres(folder: Path, unpacked: Path) -> Rootfs:
    home = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name))
    rootfs = Rootfs(folder, unpacked)
    for name in ["postgres", "initdb", "pg_ctl", "pg_isready", "psql"]:
        rootfs.program(home / "bin" / name, f"{home}/bin/{name}")
        (rootfs.folder / "bin" / name).symlink_to(f"{home}/bin/{name}")
    rootfs.tree(home / "lib")
    for library in (home / "lib").glob("*.so"):
        rootfs.libraries(library)
    rootfs.tree(Path("/usr/share/postgresql") / home.name)
    zone = Path("/usr/share/zoneinfo/Etc")
    if zone.is_dir():
        rootfs.tree(zone)
        shutil.copy("/usr/share/zoneinfo/UTC", rootfs.folder / "usr/share/zoneinfo/UTC")
    for name in ["var/lib/postgresql/data", "var/run/postgresql"]:
        (rootfs.folder / name).mkdir(parents=True)
        (rootfs.folder / name).chmod(0o1777)
    entry = rootfs.folder / "bin/docker-entrypoint.sh"
    entry.write_text(POSTGRES_ENTRYPOINT.format(bin=home / "bin"))
    entry.chmod(0o755)
    return rootfs


def valkey(folder: Path, unpacked: Path) -> Rootfs:
    rootfs = Rootfs(folder, unpacked)
    # Debian 12 has Redis 7, which understands every option used.
    for kind in ["server", "cli"]:
        try:
            rootfs.program(which(f"valkey-{kind}"), f"/bin/valkey-{kind}")
        except FileNotFoundError:
            rootfs.program(which(f"redis-{kind}"), f"/bin/valkey-{kind}")
    return rootfs


def haproxy(folder: Path, unpacked: Path) -> Rootfs:
    rootfs = Rootfs(folder, unpacked)
    rootfs.program(which("haproxy", unpacked / "usr/sbin"), "/bin/haproxy")
    return rootfs


def lab_base(folder: Path, unpacked: Path) -> Rootfs:
    rootfs = Rootfs(folder, unpacked)
    for name in ["nft", "ip"]:
        rootfs.program(which(name), f"/usr/sbin/{name}")
    for applet in ["printf", "echo", "test", "seq", "tr", "sed", "awk", "hostname", "env", "ping", "head", "touch", "kill"]:
        (rootfs.folder / "bin" / applet).symlink_to("busybox")
    (rootfs.folder / "usr/local/bin").mkdir(parents=True)
    return rootfs


def prometheus(folder: Path, unpacked: Path) -> Rootfs:
    rootfs = Rootfs(folder, unpacked)
    rootfs.program(which("prometheus", unpacked / "usr/bin"), "/bin/prometheus")
    data = rootfs.folder / "prometheus"
    data.mkdir()
    data.chmod(0o1777)
    return rootfs


def base(folder: Path, unpacked: Path, programs: list[Path]) -> Rootfs:
    """What a binary of the development build loads, and nothing else: the released one is static."""
    rootfs = Rootfs.__new__(Rootfs)
    rootfs.folder, rootfs.unpacked = folder, unpacked
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "proc").mkdir(parents=True)
    for program in programs:
        rootfs.libraries(program)
    return rootfs


# The names that the files use, what stands in for them, and how it is started.
ENVIRONMENT = "ENV PATH=/bin:/usr/sbin:/usr/local/bin"
STAND_INS = [
    ("P2P_POSTGRES_IMAGE", postgres, ('ENTRYPOINT ["/bin/docker-entrypoint.sh"]', ENVIRONMENT)),
    ("P2P_VALKEY_IMAGE", valkey, (ENVIRONMENT,)),
    ("P2P_HAPROXY_IMAGE", haproxy, (ENVIRONMENT,)),
    ("P2P_LAB_IMAGE", lab_base, (ENVIRONMENT,)),
    ("P2P_PROMETHEUS_IMAGE", prometheus, ('ENTRYPOINT ["/bin/prometheus"]', ENVIRONMENT)),
]

"""The tests of deploy/, helm/ and docker-compose.yml. `cargo xtask test --only deploy` runs them.

    run.py chart                              needs HELM_DRIVER=memory and what requirements.txt names
    run.py packages FOLDER                    downloads and unpacks what `containers` runs
    run.py containers FOLDER BINARIES [PART]  in namespaces of its own, as root; only checks with PART in them
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE / "chart"), str(HERE / "containers")]

from report import Report  # noqa: E402


def chart() -> None:
    import checks
    import walks
    report = Report()
    for sentence, act in [*walks.checks(), *checks.all_of_them()]:
        report.check(sentence, act)
    report.end()


def packages(folder: Path) -> None:
    from engine import Packages
    Packages(folder).provide()


def containers(folder: Path, binaries: Path, part: str) -> None:
    import images
    from cluster import Cluster
    from engine import Engine, Packages
    from scenario import Scenario

    unpacked = Packages(folder)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="p2p-containers-", ignore_cleanup_errors=True) as work:
        engine = Engine(unpacked, Path(work))
        try:
            if not report.check("Debian's Docker Engine runs in namespaces of its own", engine.start):
                report.end()
            # Only what .env.example names, with the values it has: the files are tested as they are.
            example = (ROOT / ".env.example").read_text()
            environment = dict(re.findall(r"^(P2P_\w+)=(.*)$", example, re.MULTILINE))
            environment |= {"P2P_BINARIES": "prebuilt", "P2P_BASE_IMAGE": "p2p-loads:test"}
            image_folder = ROOT / "target/image"
            image_folder.mkdir(parents=True, exist_ok=True)
            for name in ["coordinator", "p2p"]:
                subprocess.run(["strip", "-o", image_folder / name, binaries / name], check=True)

            def stand_ins() -> None:
                for variable, make, changes in images.STAND_INS:
                    rootfs = make(Path(work) / "rootfs" / make.__name__, unpacked.root)
                    if make is images.lab_base:
                        for name in ["coordinator", "p2p"]:
                            rootfs.libraries(binaries / name)
                    engine.import_rootfs(rootfs.folder, environment[variable], change=changes)
                loads = images.base(Path(work) / "rootfs/base", unpacked.root, [binaries / "coordinator", binaries / "p2p"])
                engine.import_rootfs(loads.folder, environment["P2P_BASE_IMAGE"])

            if report.check("stand-ins for the base images are made", stand_ins):
                scenario = Scenario(engine, Cluster(engine, binaries, environment), environment["P2P_BASE_IMAGE"])
                for sentence, act in scenario.checks():
                    if part in sentence or act in (scenario.build, scenario.up):
                        report.check(sentence, act)
        finally:
            engine.stop()
    report.end()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["chart"]:
            chart()
        case ["packages", folder]:
            packages(Path(folder))
        case ["containers", folder, binaries, *part]:
            containers(Path(folder), Path(binaries), "".join(part))
        case _:
            sys.exit(__doc__)

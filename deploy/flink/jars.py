"""Fetches Flink and Beam's job server as jars from Maven Central, each checked by its sha256.

`python -m deploy.flink.jars` fetches what jars.lock lists; with `--lock`, Maven makes it anew.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LOCK = HERE / "jars.lock"
HOME = Path(os.environ.get("TWINBEAM_FLINK_HOME", HERE.parents[1] / ".flink"))
CENTRAL = os.environ.get("TWINBEAM_MAVEN_REPOSITORY", "https://repo1.maven.org/maven2")
ROLES = ("cluster", "job-server")
JOB_SERVER = HOME / "job-server.jar"
MAIN_CLASS = "org.apache.beam.runners.flink.FlinkJobServerDriver"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_MANIFEST = f"Manifest-Version: 1.0\r\nMain-Class: {MAIN_CLASS}\r\nMulti-Release: true\r\n\r\n"
_SIGNED = (".SF", ".RSA", ".DSA")  # signatures of single jars, which the merged one would break


@dataclass(frozen=True, order=True)
class Jar:
    """A jar: what it is for, its path in a Maven repository and its sum."""

    role: str
    path: str
    sha256: str

    @property
    def local(self) -> Path:
        """Where it is kept."""
        return HOME / "jars" / self.path


def locked() -> list[Jar]:
    """What jars.lock lists."""
    lines = LOCK.read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [Jar(role, path, digest) for role, digest, path in rows]


def fetch() -> list[Jar]:
    """Makes all jars be there and be the right ones.

    Raises:
        SystemExit: a jar cannot be had, or is another than the one that was pinned.
    """
    jars = locked()
    missing = sorted({jar.path: jar for jar in jars if not _is_there(jar)}.values())
    if missing:
        print(f"Fetching {len(missing)} jars of Flink and Beam into {HOME}, once", flush=True)
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(_download, missing))
    if missing or not JOB_SERVER.exists():
        _merge([jar for jar in jars if jar.role == "job-server"], JOB_SERVER)
    return jars


def classpath(jars: Iterable[Jar], role: str) -> str:
    """Java's class path of one role's jars."""
    return ":".join(str(jar.local) for jar in jars if jar.role == role)


def _is_there(jar: Jar) -> bool:
    return jar.local.exists() and _sha256(jar.local.read_bytes()) == jar.sha256


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download(jar: Jar) -> None:
    url = f"{CENTRAL}/{jar.path}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except OSError as error:
        raise SystemExit(f"{url} cannot be fetched: {error}") from None
    if _sha256(content) != jar.sha256:
        raise SystemExit(f"{url} has sha256 {_sha256(content)}, expected {jar.sha256}")
    _write(jar.local, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_bytes(content)
    hidden.replace(path)


def _merge(jars: Iterable[Jar], target: Path) -> None:
    """Merges jars into one that `java -jar` runs and that Beam ships to the cluster with a job.

    The first jar that has a file gives it; lists of services are joined, as in any shaded jar.
    """
    services: dict[str, list[bytes]] = {}
    seen = {"META-INF/MANIFEST.MF", "module-info.class"}
    hidden = target.with_name(f".{target.name}.{os.getpid()}")
    with zipfile.ZipFile(hidden, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as merged:
        merged.writestr("META-INF/MANIFEST.MF", _MANIFEST)
        for jar in sorted(jars):
            with zipfile.ZipFile(jar.local) as source:
                for name in source.namelist():
                    if name.startswith("META-INF/services/") and not name.endswith("/"):
                        services.setdefault(name, []).append(source.read(name))
                    elif name not in seen and not name.endswith(("/", *_SIGNED)):
                        seen.add(name)
                        merged.writestr(name, source.read(name))
        for name, parts in sorted(services.items()):
            merged.writestr(name, b"\n".join(parts) + b"\n")
    hidden.replace(target)


def lock() -> None:
    """Asks Maven which jars the two pom files come to, and notes their sums."""
    jars = {jar for role in ROLES for jar in _resolve(role)}
    header = "# Made by `make flink-lock` from the two pom files: role, sha256, path\n"
    rows = [f"{jar.role} {jar.sha256} {jar.path}\n" for jar in sorted(jars)]
    LOCK.write_text(header + "".join(rows))


def _resolve(role: str) -> list[Jar]:
    with tempfile.TemporaryDirectory() as folder:
        maven = ["mvn", "--batch-mode", "--quiet", f"--file={HERE / role}.pom.xml", COPY]
        flags = ["-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true"]
        subprocess.run([*maven, *flags, f"-DoutputDirectory={folder}"], check=True)
        paths = sorted(Path(folder).rglob("*.jar"))
        return [
            Jar(role, str(path.relative_to(folder)), _sha256(path.read_bytes())) for path in paths
        ]


if __name__ == "__main__":
    lock() if sys.argv[1:] == ["--lock"] else fetch()

"""Fetches learn2learn, which meta-learning is compared with, for tests and benchmarks alone.

    python scripts/peers.py [--to .cache/peers]

Its source distribution does not build on current Pythons, but its algorithms are plain Python: those files are
taken as they are, after the archive's checksum has been compared. Nothing is done if they are there already.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "0.2.0"
SHA256 = "69f1d7cb0d0a6be7a2c6ad8e83e2ebbe70fb05e51d61e45e63078b40c75ea419"
FILES = (
    "LICENSE",
    "learn2learn/algorithms/base_learner.py",
    "learn2learn/algorithms/maml.py",
    "learn2learn/algorithms/meta_sgd.py",
    "learn2learn/utils/__init__.py",
)
"""Without the packages' own `__init__.py`, which import what would have to be compiled."""


class PeersUnavailable(Exception):
    """Says that a peer could not be fetched, and what to do."""


def fetch(to: Path) -> None:
    """Put the peer's files under `to`, whole or not at all.

    Raises:
        PeersUnavailable: when the archive cannot be had, or is not the one that is known.
    """
    if (to / f"learn2learn-{VERSION}").exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        archive = download(Path(scratch))
        to.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"learn2learn-{VERSION}/{name}")
                if member is None:
                    raise PeersUnavailable(f"{archive.name} has no file {name}: has VERSION been changed?")
                target = to / (name if "/" in name else f"learn2learn/{name}")
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as stream:
                    shutil.copyfileobj(member, stream)
    (to / f"learn2learn-{VERSION}").touch()


def download(folder: Path) -> Path:
    """Download the source distribution by pip, which compares its checksum before it looks into it."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"learn2learn=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    command += ["--requirement", str(wanted), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / f"learn2learn-{VERSION}.tar.gz"
    if done.returncode or not archive.exists():
        raise PeersUnavailable(
            f"pip could not download learn2learn {VERSION}: {done.stderr.strip()[-600:]}\nIs a package index reachable?"
        )
    return archive


def main() -> int:
    """Do what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--to", type=Path, default=Path(".cache/peers"), help="where the files are put")
    try:
        fetch(parser.parse_args().to)
    except PeersUnavailable as error:
        print(f"peers.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

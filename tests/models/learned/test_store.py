import hashlib
import os
import stat
import threading
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import models.learned.store as store_module
from models.errors import VersionCorrupt, VersionMissing, VersionUnwritable
from models.learned import VersionStore, describe, name_of, pack
from tests.models.learned.examples import learned


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "models")


def file_of(store: VersionStore, sha256: str) -> Path:
    return store.folder / f"{sha256}.safetensors"


def pruned(store: VersionStore, keep: Collection[str]) -> list[str]:
    """Remove all that need not be kept, and return the names of the versions among it."""
    return sorted(file.name for file in store.remove(store.prunable(keep)) if file.name)


def test_a_version_is_named_by_its_file_s_checksum_and_found_again(store: VersionStore) -> None:
    version = learned()
    stored = store.put(version)
    content = file_of(store, stored.sha256).read_bytes()
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert stored.name == f"learned@{stored.sha256[:12]}"
    assert stored.num_bytes == len(content)
    assert pack(store.get(stored.name, stored.sha256)) == pack(version)
    assert store.names() == [stored.name]
    assert describe(version) == stored


def test_putting_the_same_again_is_harmless_and_mends_a_torn_file(store: VersionStore) -> None:
    first = store.put(learned())
    file_of(store, first.sha256).write_bytes(b"torn")
    assert store.put(learned()) == first
    assert pack(store.get(first.name, first.sha256)) == pack(learned())
    assert len(list(store.folder.iterdir())) == 1


def test_a_missing_version_is_named_with_the_folder_and_what_to_do(store: VersionStore) -> None:
    stored = describe(learned())
    for _ in range(2):
        with pytest.raises(VersionMissing, match=r"learning\.store") as caught:
            store.get(stored.name, stored.sha256)
        assert str(store.folder) in str(caught.value)
        store.put(learned(2.0))  # another version does not help
    assert len(store.names()) == 1


@pytest.mark.parametrize("damage", ["torn", "flipped", "longer", "empty", "replaced"])
def test_a_damaged_file_is_told_before_anything_of_it_is_parsed(
    store: VersionStore, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    stored = store.put(learned())
    path = file_of(store, stored.sha256)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "torn": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "longer": content + b"\0",
            "empty": b"",
            "replaced": pack(learned(9.0)),
        }[damage]
    )
    monkeypatch.setattr(store_module, "unpack", lambda *_: pytest.fail("parsed without a matching checksum"))
    with pytest.raises(VersionCorrupt, match=stored.sha256) as caught:
        store.get(stored.name, stored.sha256)
    assert "roll back" in str(caught.value)


def test_a_file_with_the_right_checksum_that_is_no_version_is_corrupt(store: VersionStore) -> None:
    foreign = safetensors.numpy.save({"w": np.ones(3, np.float32)})
    for content in (foreign, (1 << 62).to_bytes(8, "little") + b"{}", pack(learned())[:60]):
        sha256 = hashlib.sha256(content).hexdigest()
        store.folder.mkdir(exist_ok=True)
        file_of(store, sha256).write_bytes(content)
        with pytest.raises(VersionCorrupt, match=str(store.folder)):
            store.get(name_of(sha256), sha256)


def test_a_name_that_is_not_of_the_checksum_or_a_path_for_one_is_refused(
    store: VersionStore, tmp_path: Path
) -> None:
    stored = store.put(learned())
    (tmp_path / "secret.safetensors").write_bytes(pack(learned()))
    other = describe(learned(2.0))
    for name, sha256 in (
        (other.name, stored.sha256),
        (stored.name, other.sha256),
        (stored.name, stored.sha256.upper()),
        (stored.name, ""),
        (name_of("../secret"), "../secret"),
    ):
        with pytest.raises(VersionCorrupt, match="not the name"):
            store.get(name, sha256)


def test_of_a_file_above_the_cap_no_more_is_read_than_the_cap(
    store: VersionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = store.put(learned())
    monkeypatch.setattr(store_module, "MAX_VERSION_BYTES", 100)
    with pytest.raises(VersionCorrupt, match="more than 100 bytes"):
        store.get(stored.name, stored.sha256)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(VersionUnwritable, match=r"models.*make room"):
        VersionStore(tmp_path / "models").put(learned())


def test_a_file_that_cannot_be_read_counts_as_missing(store: VersionStore) -> None:
    stored = describe(learned())
    file_of(store, stored.sha256).mkdir(parents=True)
    with pytest.raises(VersionMissing, match="cannot be read"):
        store.get(stored.name, stored.sha256)


def test_writers_at_once_leave_one_whole_file_that_others_may_read(store: VersionStore) -> None:
    threads = [threading.Thread(target=store.put, args=(learned(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = describe(learned())
    assert [path.name for path in store.folder.iterdir()] == [f"{stored.sha256}.safetensors"]
    assert store.get(stored.name, stored.sha256).parent == ""
    assert stat.S_IMODE(file_of(store, stored.sha256).stat().st_mode) == 0o644


def test_pruning_removes_what_nobody_needs_but_nothing_young(tmp_path: Path) -> None:
    now_s = [1_000_000.0]
    store = VersionStore(tmp_path, clock_s=lambda: now_s[0])
    kept, unneeded, young, again = (store.put(learned(value)) for value in (1.0, 2.0, 3.0, 4.0))
    crashed = tmp_path / f".{unneeded.sha256}.safetensors-x1y2"
    crashed.write_bytes(b"half a vers")
    (tmp_path / "notes.txt").write_text("not ours")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    os.utime(file_of(store, young.sha256), (now_s[0] - 60, now_s[0] - 60))
    store.put(learned(4.0))  # about to be announced anew
    assert pruned(store, {kept.name}) == [unneeded.name]
    assert store.names() == sorted([kept.name, young.name, again.name])
    assert not crashed.exists()
    assert (tmp_path / "notes.txt").exists()
    now_s[0] += 7200
    assert pruned(store, {kept.name}) == sorted([young.name, again.name])


def test_a_folder_that_is_not_there_yet_holds_nothing(store: VersionStore) -> None:
    assert store.names() == []
    assert pruned(store, ()) == []
    assert not store.folder.exists()


def test_what_was_pruned_is_known_until_it_is_there_again(store: VersionStore) -> None:
    stored = store.put(learned(1.0))
    os.utime(file_of(store, stored.sha256), (0, 0))
    assert pruned(store, ()) == [stored.name]
    assert set(store.pruned()) == {stored.name}
    with pytest.raises(VersionMissing, match=r"its file was pruned from .* at \d{4}-\d\d-\d\dT"):
        store.get(stored.name, stored.sha256)
    store.put(learned(1.0))
    assert store.pruned() == {}
    assert store.get(stored.name, stored.sha256).created_ns == learned(1.0).created_ns


def test_a_file_that_became_young_since_it_was_found_prunable_stays(store: VersionStore) -> None:
    stored = store.put(learned(1.0))
    os.utime(file_of(store, stored.sha256), (0, 0))
    found = store.prunable(())
    store.renew(stored.sha256)
    assert [file.name for file in found] == [stored.name]
    assert store.remove(found) == []
    assert store.names() == [stored.name]


def test_a_note_of_pruning_that_is_no_such_note_is_passed_over(store: VersionStore) -> None:
    store.put(learned(1.0))
    (store.folder / "pruned").write_bytes(b"\xff nonsense of three words\n\n2026-01-01T00:00:00+00:00 ab\n")
    assert set(store.pruned()) == {"learned@ab"}

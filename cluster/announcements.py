"""Reads and adds to topic `models`: which versions of the learned parts there are, and which one is served.

Every process of a site reads the topic by itself, without a group: each has to know. What follows from it is decided
in `pipeline.learning.lineage`, by the order of the log alone.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from cluster.errors import BadConfig, LogUnavailable
from cluster.log.protocol import Log, Record, TopicPartition
from models.learned import LearnedVersion, StoredVersion, VersionStore, describe
from pipeline.errors import BadInput
from pipeline.learning.lineage import Entry, Lineage, Standing
from pipeline.records import ModelAnnouncement, VersionAction, decode, encode

_logger = logging.getLogger(__name__)

READ_BACK_S: Final = 30.0
"""How long a durable announcement may take to be readable."""


class Announcements:
    """Reads the announcements of a site as they come, and adds to them; one thread at a time.

    Args:
        log: the site's log.
        topic: the name of its topic `models`, which has one partition: the order of announcements decides.
        clock_s: seconds that only ever grow.
    """

    def __init__(self, log: Log, topic: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._partition = TopicPartition(topic, 0)
        self._clock_s = clock_s
        self._next = 0
        self.lineage = Lineage()
        """As of the last `catch_up`."""
        self.num_unreadable = 0
        """Records that are no announcements; every reader passes over the same ones."""

    def catch_up(self) -> Lineage:
        """Read on to the end of the topic and return what follows from all of it.

        Raises:
            LogUnavailable: the log does not answer, or was replaced by another. Calling again reads on.
            BadInput: there is no such topic.
            BadConfig: the topic has several partitions.
        """
        topic = self._partition.topic
        ends = self._log.end_offsets(topic)
        if len(ends) != 1:
            raise BadConfig(
                f"topic {topic!r} has {len(ends)} partitions, expected 1: choose another topic prefix"
            )
        if ends[self._partition] < self._next:
            raise LogUnavailable(
                f"topic {topic!r} ends at {ends[self._partition]}, though it was read up to {self._next}: it is not "
                "the log that was followed; restart this process to follow the new one"
            )
        if ends[self._partition] > self._next:
            for record in self._log.read(topic, {self._partition: self._next}):
                self._take(record)
            self._next = max(self._next, ends[self._partition])  # compaction leaves gaps, also at the end
        return self.lineage

    def announce(self, announcement: ModelAnnouncement) -> Entry:
        """Append an announcement and return what became of it, once it is read back from the log.

        Raises:
            LogUnavailable: whether it is in the log is not known. Announcing the same again later is harmless: if it
                is there, that is found.
        """
        if (entry := self._find(announcement)) is not None:
            return entry
        with self._log.producer() as producer:
            producer.produce(self._partition.topic, encode(announcement), key=_key(announcement))
            producer.flush()
        if announcement.action is VersionAction.REJECTED:  # compaction may have taken it away again
            return Entry(announcement, Standing.REJECTED, announcement.reason)
        patience_s = self._clock_s() + READ_BACK_S
        while (entry := self._find(announcement)) is None:
            if self._clock_s() > patience_s:
                raise LogUnavailable(
                    f"the log took the announcement of {announcement.version} and does not show it"
                )
            time.sleep(0.02)
        return entry

    def _find(self, announcement: ModelAnnouncement) -> Entry | None:
        history = self.catch_up().history
        return next((entry for entry in history if entry.announcement == announcement), None)

    def _take(self, record: Record) -> None:
        try:
            self.lineage = self.lineage.extend([decode(record.value, ModelAnnouncement)])
        except BadInput as error:
            self.num_unreadable += 1
            detail = {"detail": str(error), "offset": record.offset}
            _logger.warning("record of the models topic refused", extra=detail)
        self._next = record.offset + 1


def _key(announcement: ModelAnnouncement) -> bytes:
    """Return a record's key, so that compaction never removes what the lineage follows from.

    A change gets a key of its own, even when it is announced twice; refusals share 256 keys, so that they stay few.
    """
    if announcement.action is VersionAction.REJECTED:
        return f"rejected/{announcement.sha256[:2]}".encode()
    return f"{announcement.action}/{announcement.serial}/{os.urandom(8).hex()}".encode()


@dataclass(frozen=True, slots=True)
class Published:
    """Says where a version is kept, and what became of its announcement."""

    stored: StoredVersion
    entry: Entry

    @property
    def heard(self) -> bool:
        """Tell whether the version is served from now on."""
        return self.entry.counted


def publish(
    announcements: Announcements, store: VersionStore, version: LearnedVersion, draft: ModelAnnouncement
) -> Published:
    """Announce a version, and return once it is known whether it was heard.

    Steps: 1 write its file, unless it was rejected, 2 verify the file, 3 announce, 4 read the announcement back.
    Whoever dies in between leaves at most a file that nobody names.

    Args:
        announcements: where it is announced.
        store: where its file is put.
        version: what was learned.
        draft: made by `Lineage.promotion` or `Lineage.rejection` of the lineage that the version was judged against;
            its version, file, tasks and digest are filled in here.

    Raises:
        BadInput: the draft was made for another parent than the version was learned from.
        ModelError: the version cannot be packed, written, or read back.
        LogUnavailable: see `Announcements.announce`; publishing the same again is harmless.
    """
    if version.parent != draft.parent:
        raise BadInput(
            f"the version was learned from {version.parent or 'none'}, its announcement says "
            f"{draft.parent or 'none'}: judge it again against the one that is served"
        )
    stored = describe(version)
    if draft.action is not VersionAction.REJECTED:
        # Steps 1 and 2
        stored = store.put(version)
        store.get(stored.name, stored.sha256)
    announcement = msgspec.structs.replace(
        draft, version=stored.name, sha256=stored.sha256, num_bytes=stored.num_bytes,
        tasks=version.tasks, data_digest=version.data_digest,
    )  # fmt: skip
    # Steps 3 and 4
    return Published(stored, announcements.announce(announcement))

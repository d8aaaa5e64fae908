"""Follows what the cameras' tracks look like, from topic `tracklets`, and tells of drift."""

from __future__ import annotations

import numpy as np

from cluster.log.protocol import Log, Record, TopicPartition
from pipeline.errors import BadInput
from pipeline.learning.drift import Drift, DriftWatch
from pipeline.records import TrackletBatch, TrackletPhase, decode


class TrackletWatch:
    """Reads the tracks told of since it was made, without a group: missing some does no harm."""

    def __init__(self, log: Log, topic: str, embedder: str, watch: DriftWatch) -> None:
        self._log = log
        self._topic = topic
        self._embedder = embedder
        self._watch = watch
        self._next: dict[TopicPartition, int] = dict(log.end_offsets(topic))

    def look(self) -> list[Drift]:
        """Read on, and return the comparisons that were due.

        Raises:
            LogUnavailable: the log does not answer; calling again reads on.
        """
        ends = self._log.end_offsets(self._topic)
        drifts: list[Drift] = []
        if any(end > self._next.get(partition, 0) for partition, end in ends.items()):
            for record in self._log.read(self._topic, self._next):
                self._next[record.topic_partition] = record.offset + 1
                drifts += self._seen(record)
        return drifts

    def _seen(self, record: Record) -> list[Drift]:
        try:
            batch = decode(record.value, TrackletBatch)
        except BadInput:
            return []  # the gallery buries it
        drifts = []
        for event in batch.events:
            if event.phase is TrackletPhase.CONFIRMED and event.embedder == self._embedder:
                drift = self._watch.see(batch.camera, np.frombuffer(event.embedding, "<f4"), event.score)
                drifts += [drift] if drift is not None else []
        return drifts

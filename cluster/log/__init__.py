"""Owns the log: Kafka in production, SQLite on one machine, behind one protocol."""

from cluster.log.protocol import Consumer, Headers, Log, Producer, Record, Topic, TopicPartition

__all__ = ["Consumer", "Headers", "Log", "Producer", "Record", "Topic", "TopicPartition"]

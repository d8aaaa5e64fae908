"""Owns the log on Apache Kafka: the only place that imports kafka-python."""

from cluster.log.kafka.log import KafkaLog

__all__ = ["KafkaLog"]

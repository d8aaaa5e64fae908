"""Creates topics, and sees to it that every broker has heard of them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.protocol.metadata import MetadataRequest

from cluster.log.kafka.producer import MAX_REQUEST_BYTES
from cluster.log.protocol import Topic

_COMPACTED = {
    "cleanup.policy": "compact",
    # What is being written is not compacted yet: smaller than Kafka's 1 GiB, so that its turn comes.
    "segment.bytes": str(64 << 20),
}
_HEARSAY_S = 5.0
"""How long brokers may take to hear of a topic; a tenth of a second is usual."""


def create(admin: KafkaAdminClient, topics: Sequence[Topic]) -> None:
    """Create topics, with as many replicas as the cluster says; those that another process was faster with stay."""
    for topic in topics:
        try:
            admin.create_topics({topic.name: _creation(topic)})
        except kafka_errors.TopicAlreadyExistsError:
            continue
    admin.wait_for_topics([topic.name for topic in topics])


def await_everywhere(admin: KafkaAdminClient, topics: Sequence[str]) -> None:
    """Wait until all brokers that are up know the topics.

    Whoever asks next may ask another broker than the one that has just confirmed them, and be told that they do not exist.
    """
    brokers = admin.describe_cluster()["brokers"]
    nodes = [broker["broker_id"] for broker in brokers if not broker.get("is_fenced")]
    if len(nodes) < 2:
        return
    deadline_s = time.monotonic() + _HEARSAY_S
    for node in nodes:
        while not _knows(admin, node, topics) and time.monotonic() < deadline_s:
            time.sleep(0.02)


def _knows(admin: KafkaAdminClient, node: int, topics: Sequence[str]) -> bool:
    """Tell whether one broker knows the topics; of one that does not answer nobody will hear otherwise."""
    request = MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in topics],
        allow_auto_topic_creation=False,
    )

    async def ask() -> Any:
        return await admin._manager.send(request, node_id=node)  # the public questions choose their broker

    try:
        answer = admin._manager.run(ask)
    except kafka_errors.KafkaError:
        return True
    return all(topic.error_code == 0 for topic in answer.topics)


def _creation(topic: Topic) -> Mapping[str, Any]:
    return {
        "num_partitions": topic.num_partitions,
        "configs": {
            "retention.bytes": str(topic.retention_bytes),
            "retention.ms": str(int(1000 * topic.retention_s) if topic.retention_s >= 0 else -1),
            **(_COMPACTED if topic.compacted else {}),
            "max.message.bytes": str(MAX_REQUEST_BYTES),
            # Offsets by time need times that never fall, whatever the producers' clocks say.
            "message.timestamp.type": "LogAppendTime",
        },
    }

"""Opens the log that a URL names."""

from cluster.errors import BadConfig
from cluster.log.protocol import Log
from cluster.log.security import split_kafka_url

_FORMS = (
    "kafka://HOST:PORT[,HOST:PORT] for an Apache Kafka, "
    "or sqlite:///PATH/TO/FILE.db for a file (relative; sqlite:////PATH/TO/FILE.db is absolute)"
)


def open_log(url: str) -> Log:
    """Build the log that `url` names, without connecting yet.

    Raises:
        BadConfig: the URL has neither of the two forms, or a Kafka's says wrongly how it is reached.
        LogUnavailable: a part that this log needs is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "kafka":
        # Imported late: whoever uses the file needs no Kafka client, which takes 0.2 s to import.
        from cluster.log.kafka import KafkaLog

        servers, security = split_kafka_url(url)
        return KafkaLog(_servers(servers), security=security)
    if separator and scheme == "sqlite":
        from cluster.log.sqlite import SqliteLog

        if not rest.startswith("/") or rest.endswith("/"):
            raise BadConfig(f"the log URL {url!r} names no file: expected {_FORMS}")
        return SqliteLog(rest[1:])
    raise BadConfig(f"{url!r} is not a log URL: expected {_FORMS}")


def _servers(text: str) -> tuple[str, ...]:
    servers = tuple(text.split(","))
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in server:
            raise BadConfig(f"the log URL 'kafka://{text}' has a bad server {server!r}: expected {_FORMS}")
    return servers

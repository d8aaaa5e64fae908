"""Adds the cluster's branch to the error tree drawn in models/errors.py."""

from models.errors import CamweaveError


class ClusterError(CamweaveError):
    """Says that the place where camweave runs is not as it needs to be."""


class BadConfig(ClusterError):
    """Says that a site file or an option does not make sense."""


class LogUnavailable(ClusterError):
    """Says that the broker or the database under the log does not answer."""


class RecordsLost(LogUnavailable):
    """Says that a producer has given records up: open a new one and produce them again."""


class SourceUnavailable(ClusterError):
    """Says that a camera or a video cannot be opened, or has died."""


class OutputUnavailable(ClusterError):
    """Says that a result file cannot be written."""

"""Draws the tree of errors that camweave raises on purpose; each room adds its own branch.

CamweaveError
├── ModelError              models/errors.py
│   ├── WeightsUnavailable      no file, no package client, no network
│   ├── WeightsCorrupt          a file that is not what its checksum or its reader says
│   ├── DeviceUnavailable       a device or execution provider that this machine lacks
│   ├── VersionMissing          a version of the learned parts that is not where versions are kept
│   ├── VersionCorrupt          a version's file that is torn, tampered with, or something else
│   ├── VersionUnwritable       a folder of versions that cannot be written to
│   ├── BadEpisode              support and query sets, or their data set, that cannot be learned from
│   └── BadCrops                a folder or zip of re-identification crops that cannot be used
├── SceneError              pipeline/errors.py
│   ├── BadFrame                a frame that must not or cannot be decoded (has a cause)
│   └── BadInput                a value or a file that breaks the contract of a function
│       └── BadTask                 something that cannot be taught as it is
└── ClusterError            cluster/errors.py
    ├── BadConfig               a site file or an option that does not make sense
    ├── LogUnavailable          a broker or a database that does not answer
    │   └── RecordsLost             a producer that has given records up
    ├── SourceUnavailable       a camera or a video that cannot be opened or has died
    └── OutputUnavailable       a result file that cannot be written
"""


class CamweaveError(Exception):
    """Is the base of every error that camweave raises on purpose.

    The message says what went wrong, what was got, what was expected, and what to do.
    """


class ModelError(CamweaveError):
    """Says that a network cannot be built or run."""


class WeightsUnavailable(ModelError):
    """Says that weights are neither on disk nor to be had from a package."""


class WeightsCorrupt(ModelError):
    """Says that a weight file does not match its checksum or cannot be read."""


class DeviceUnavailable(ModelError):
    """Says that the configured device or execution is not to be had on this machine."""


class VersionMissing(ModelError):
    """Says that a version of the learned parts is not where versions are kept."""


class VersionCorrupt(ModelError):
    """Says that a version's file is torn, was tampered with, or holds something else."""


class VersionUnwritable(ModelError):
    """Says that the folder of versions cannot be written to."""


class BadEpisode(ModelError):
    """Says that support and query sets, or the data that they are drawn from, cannot be learned from."""


class BadCrops(ModelError):
    """Says that a folder or a zip of re-identification crops, or one of its images, cannot be used."""

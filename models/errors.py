"""Draws the tree of errors that camweave raises on purpose; each room adds its own branch.

CamweaveError
├── ModelError              models/errors.py
│   ├── WeightsUnavailable      no file, no package client, no network
│   ├── WeightsCorrupt          a file that is not what its checksum or its reader says
│   ├── DeviceUnavailable       a device or execution provider that this machine lacks
│   └── BadCrops                a folder or zip of re-identification crops that cannot be used
├── SceneError              pipeline/errors.py
│   ├── BadFrame                a frame that must not or cannot be decoded (has a cause)
│   └── BadInput                a value or a file that breaks the contract of a function
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


class BadCrops(ModelError):
    """Says that a folder or a zip of re-identification crops, or one of its images, cannot be used."""

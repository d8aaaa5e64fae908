"""Adds the scene's branch to the error tree drawn in models/errors.py."""

from enum import StrEnum

from models.errors import CamweaveError


class SceneError(CamweaveError):
    """Says that something seen, or read about a scene, cannot be used."""


class BadFrameCause(StrEnum):
    """Names why a frame was refused; a bounded set, used as a metric label."""

    EMPTY = "empty"
    NOT_A_FRAME = "not_a_frame"
    NOT_A_JPEG = "not_a_jpeg"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNKNOWN_CAMERA = "unknown_camera"
    SUPERSEDED_GATEWAY = "superseded_gateway"
    DUPLICATE = "duplicate"


class BadFrame(SceneError):
    """Says that one frame must not or cannot be decoded; the stream goes on without it.

    Attributes:
        cause: one of a bounded set, fit for a metric label and for the dead-letter record.
    """

    def __init__(self, cause: BadFrameCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class BadInput(SceneError):
    """Says that a value or a file breaks the contract of a function."""


class BadTask(BadInput):
    """Says that something cannot be taught as it is: its examples, its name, or the files that they are in."""

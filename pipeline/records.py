"""Declares every record that camweave writes, as typed messages in JSON.

Times are Unix nanoseconds of the camera's own clock unless the name says otherwise. The JSON Schemas in
docs/schemas are exported from these classes (`camweave schema`), and a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec

from pipeline.errors import BadInput

Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Offset = Annotated[int, msgspec.Meta(ge=0)]


class _Message(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Is the common form: immutable, named fields only, defaults left out of the JSON."""


class FrameRef(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Names a frame for good: all ids derive from it, so a replay overwrites and never duplicates."""

    topic: str
    partition: Offset
    offset: Offset


class Observation(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is one box in one frame; `track` is absent while no track claims it."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the source frame."""
    score: Ratio
    label: str
    track: str | None = None
    confirmed: bool = False


class FrameResult(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `tracks`: what was seen in one frame. One record a frame, empty ones too."""

    frame: FrameRef
    camera: str
    sequence: Offset
    captured_ns: int
    width: int
    height: int
    model_version: str
    observations: tuple[Observation, ...] = ()
    latency_s: float = 0.0
    """Seconds of wall clock from the gateway's producing the frame to this result."""


class TrackletPhase(StrEnum):
    """Names why a tracklet is told to the gallery."""

    CONFIRMED = "confirmed"
    UPDATED = "updated"
    ENDED = "ended"


class TrackletEvent(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Tells what is known of a track at a moment that matters for its identity."""

    track: str
    phase: TrackletPhase
    at_ns: int
    start_ns: int
    label: str
    box: tuple[float, float, float, float]
    num_samples: int
    beside: tuple[str, ...] = ()
    """Tracks of the same camera seen in the same frame as this one: they are other somebodies."""
    embedding: bytes = b""
    """Mean of the samples, unit length, little-endian float32 (base64 in JSON); empty without a sample."""
    embedder: str = ""
    """Version of the embedder; embeddings of different versions are never compared."""


class TrackletBatch(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `tracklets`: a camera's news, and how far that camera has been processed."""

    camera: str
    watermark_ns: int
    """No later record of this camera will hold an event before this time."""
    frame: FrameRef
    """The last frame that this batch covers."""
    events: tuple[TrackletEvent, ...] = ()
    ended: bool = False
    """True when the stream has ended: nothing waits for this camera any longer."""


class DecisionKind(StrEnum):
    """Names what was decided of a tracklet, or what became known of one already decided."""

    MATCH = "match"
    """The tracklet is somebody known."""
    NEW = "new"
    """The tracklet is somebody not seen before."""
    UPDATE = "update"
    """The tracklet looks different now; its identity stays."""
    END = "end"
    """The tracklet is over; its identity stays."""


class Candidate(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is one identity that a tracklet was compared with."""

    identity: str
    similarity: float
    """Cosine similarity in [-1, 1] of the closest appearances."""
    excluded_by: str = ""
    """The constraint that ruled it out, if one did."""


class IdentityDecision(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `identities`; the whole log of them rebuilds the gallery."""

    track: str
    camera: str
    identity: str
    kind: DecisionKind
    at_ns: int
    start_ns: int
    """When the track was first seen."""
    label: str
    threshold: float = 0.0
    """The similarity that a match needed."""
    similarity: float | None = None
    """Of the identity chosen; absent when there was no candidate."""
    runner_up: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    embedding: bytes = b""
    """The appearance stored for this track, little-endian float32 (base64 in JSON)."""
    embedder: str = ""


class DeadLetter(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `dead-letters`: a message that could not be used, and why."""

    source: FrameRef
    cause: str
    detail: str
    camera: str | None = None
    received_unix_ns: int = 0


RECORDS: dict[str, type[_Message]] = {
    "tracks": FrameResult,
    "tracklets": TrackletBatch,
    "identities": IdentityDecision,
    "dead-letters": DeadLetter,
}
"""The record of each result topic."""

_encoder = msgspec.json.Encoder()
MessageT = TypeVar("MessageT", bound=_Message)


def encode(record: _Message) -> bytes:
    """Encode a record as JSON."""
    return _encoder.encode(record)


def decode(data: bytes, kind: type[MessageT]) -> MessageT:
    """Decode and validate a record.

    Raises:
        BadInput: the data is not JSON, or not of this kind; the message names the field.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInput(f"not a {kind.__name__} record: {error}") from error


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each result topic's record, by topic name."""
    return {topic: msgspec.json.schema(kind) for topic, kind in RECORDS.items()}

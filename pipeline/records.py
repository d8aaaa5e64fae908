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
    taught: dict[str, Ratio] = {}
    """Classes taught at the site that the track seems to be of, with their probability."""


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
    MOVED = "moved"
    """It goes on: its way since it was last told of."""
    UPDATED = "updated"
    """It looks different now."""
    ENDED = "ended"


class PathPoint(msgspec.Struct, frozen=True, array_like=True):
    """Is where an object stood at one moment; a JSON array, because there are many."""

    at_ns: int
    x: float
    """Of the middle of the box's lower edge, as a share of the picture's width."""
    y: float
    """Of the box's lower edge, as a share of the picture's height."""
    height: float
    """Of the box, as a share of the picture's height."""


class TrackletEvent(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Tells what is known of a track at a moment that matters for its identity."""

    track: str
    phase: TrackletPhase
    at_ns: int
    start_ns: int
    label: str
    box: tuple[float, float, float, float]
    num_samples: int
    seen_ns: int = 0
    """When the object was last seen; a track ends some time after that."""
    path: tuple[PathPoint, ...] = ()
    """Its way since it was last told of, at most one point each half second of the camera's clock."""
    beside: tuple[str, ...] = ()
    """Tracks of the same camera newly seen in the same frame as this one: they are other somebodies."""
    embedding: bytes = b""
    """Mean of the samples, unit length, little-endian float32 (base64 in JSON); empty without a sample."""
    embedder: str = ""
    """Version of the embedder; embeddings of different versions are never compared."""
    taught: dict[str, Ratio] = {}
    """Classes taught at the site that the track seems to be of, with their probability."""
    score: Ratio = 0.0
    """Mean score of its detections."""


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

    WAIT = "wait"
    """The tracklet is in doubt: until evidence or its deadline decides, it is an identity of its own."""
    MATCH = "match"
    """The tracklet is somebody known."""
    NEW = "new"
    """The tracklet is somebody not seen before."""
    UPDATE = "update"
    """More is known of the tracklet; its identity stays."""
    END = "end"
    """The tracklet is over; its identity stays."""
    MERGE = "merge"
    """Two identities turned out to be one: all of `absorbed` belongs to `identity` from now on."""
    SPLIT = "split"
    """Part of an identity turned out to be somebody else: the tracks `moved` belong to `identity` from now on."""


class Evidence(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Holds what speaks for (positive) and against one somebody, as natural logs of likelihood ratios."""

    appearance: float = 0.0
    """From how alike they look."""
    motion: float = 0.0
    """From where they were: at the same time in views that overlap, or before and after a gap in one view."""
    transit: float = 0.0
    """From how long it took from camera to camera."""
    prior: float = 0.0
    """Before anything is looked at: the more are known, the less likely it is any given one of them."""


class Candidate(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is one identity that a tracklet was compared with."""

    identity: str
    similarity: float
    """Mean cosine similarity in [-1, 1] to the tracks that look most like it, each look without the mean of its camera;
    0 where nothing can be compared."""
    score: float = 0.0
    """Sum of the evidence."""
    evidence: Evidence | None = None
    excluded_by: str = ""
    """The constraint that ruled it out, if one did."""


class IdentityDecision(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `identities`; the whole log of them rebuilds the gallery and all that was learned.

    Which identity a track has in the end follows from all records together: `pipeline.identity.identities_of_tracks`.
    """

    track: str
    """The track decided on; of a merge or split, the earliest of the tracks that move."""
    camera: str
    identity: str
    kind: DecisionKind
    at_ns: int
    start_ns: int
    """When the track was first seen."""
    label: str
    threshold: float = 0.0
    """The score that a match or merge needed."""
    similarity: float | None = None
    """Of the identity chosen; absent when there was no candidate."""
    score: float | None = None
    """Sum of the evidence for the identity chosen."""
    evidence: Evidence | None = None
    decided_by: str = ""
    """What tipped the scales: the strongest evidence, a constraint, or the deadline."""
    runner_up: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    absorbed: str = ""
    """Of a match or merge: the identity that its tracks had until now."""
    moved: tuple[str, ...] = ()
    """Of a match, merge or split: every remembered track that changes its identity."""
    split_from: str = ""
    """Of a split: the identity that the tracks had until now."""
    seen_ns: int = 0
    """When the track was last seen."""
    path: tuple[PathPoint, ...] = ()
    """Its way since the record before."""
    beside: tuple[str, ...] = ()
    """Tracks newly seen beside it."""
    embedding: bytes = b""
    """The appearance stored for this track, little-endian float32 (base64 in JSON); empty where it stays."""
    embedder: str = ""


class TaskKind(StrEnum):
    """Names what a task teaches."""

    CLASS = "class"
    """A class on detector crops: which of the objects that are found are of it."""
    DETECTION = "detection"
    """A class that the detector lacks: where in a picture it is."""
    CAMERA = "camera"
    """How one camera sees: which of its crops show the same object as those of other cameras."""


class TaskExample(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is one picture of a task, and what it shows."""

    image: bytes
    """A JPEG (base64 in JSON): a crop of one object; of a detection task a whole picture."""
    label: str = ""
    """The class that a crop is of, empty for none of those taught; of a camera task, who or what is on it."""
    camera: str = ""
    """The camera that it is from, where that is known; of a camera task always."""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """Of a detection task: left, top, right, bottom of every object of the class, in pixels of the image."""
    query: bool = False
    """Whether it is kept from learning, to judge what was learned."""


class TaskRecord(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `tasks`: something to learn. The last record of a kind and name holds."""

    kind: TaskKind
    name: str
    """The class that is taught, or the camera."""
    digest: str
    """SHA-256 over the examples, in hexadecimal; with kind and name it names the task."""
    taught_ns: int
    """When, in Unix time of the machine that taught it."""
    examples: tuple[TaskExample, ...] = ()
    """None: the name is to be forgotten."""


class VersionAction(StrEnum):
    """Names what happened to a version of the learned parts."""

    PROMOTED = "promoted"
    """It is served from now on."""
    REJECTED = "rejected"
    """It was judged and is not served."""
    ROLLED_BACK = "rolled_back"
    """An earlier version is served again."""


class TaskScore(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Says how well one task's held-out queries are answered, as shares in [0, 1], by each of those compared."""

    kind: TaskKind
    name: str
    scores: dict[str, float]
    """By the name of what was compared: `current`, `meta`, `fine-tune`, `prototypes`."""
    chosen: str = ""
    """Which of them the candidate holds."""
    num_queries: int = 0
    is_new: bool = False
    """Whether it was taught since the current version."""


class ModelAnnouncement(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `models`: a version of the learned parts, and whether it is served.

    A record counts only when `parent` is the version served before it (see `pipeline.learning.lineage`), so that of
    two learners at once one alone is heard.
    """

    action: VersionAction
    version: str
    """Of the learned parts, e.g. `learned@1f0c2a7b9d3e`; empty when rolled back to none."""
    parent: str
    """The version served when this was decided; empty at the start."""
    serial: int
    """One more than that of the record that made `parent` current."""
    at_ns: int
    sha256: str = ""
    """Of the version's file."""
    num_bytes: int = 0
    reason: str = ""
    tasks: tuple[str, ...] = ()
    """Kind, name and digest of each task that it has learned."""
    data_digest: str = ""
    """SHA-256 over those."""
    scores: tuple[TaskScore, ...] = ()


class DeadLetter(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `dead-letters`: a message that could not be used, and why."""

    source: FrameRef
    cause: str
    detail: str
    camera: str | None = None
    received_unix_ns: int = 0


class GapCause(StrEnum):
    """Names why frames were not looked at."""

    LATEST = "latest"
    """The camera's overload policy skipped to newer ones."""
    STRIDE = "stride"
    """The camera's overload policy looks at one in so many."""
    RETENTION = "retention"
    """The log had removed them before anybody came to read them: they are lost."""


class OffsetRun(msgspec.Struct, frozen=True, array_like=True):
    """Is a run of records of one partition; a JSON array, because there are many."""

    first: Offset
    end: Offset
    """The offset after the last."""


class Gap(_Message, frozen=True, kw_only=True, omit_defaults=True):
    """Is the record of topic `gaps`: frames that nobody looked at, and why. A replay may tell of a frame again.

    A frame of which topic `tracks` holds a result was looked at all the same, in another try.
    """

    cause: GapCause
    topic: str
    partition: Offset
    runs: tuple[OffsetRun, ...]
    camera: str | None = None
    """Absent where several cameras share the partition, and the frames are gone."""
    noticed_unix_ns: int = 0


RECORDS: dict[str, type[_Message]] = {
    "tracks": FrameResult,
    "tracklets": TrackletBatch,
    "identities": IdentityDecision,
    "dead-letters": DeadLetter,
    "gaps": Gap,
    "tasks": TaskRecord,
    "models": ModelAnnouncement,
}
"""The record of each topic but `frames`."""

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

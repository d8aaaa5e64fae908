"""Reads a site file into one immutable value. Defaults live in the dataclasses and nowhere else."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from cluster.errors import BadConfig
from cluster.gateway.config import GatewayConfig, SourceConfig
from cluster.learning_config import LearningConfig
from cluster.log.security import KafkaSecurity, environment_settings
from models.detectors import DetectorConfig
from models.embedders import EmbedderConfig
from models.errors import CamweaveError
from pipeline.guard import FrameConfig
from pipeline.identity import IdentityConfig
from pipeline.overload import OverloadConfig
from pipeline.perception import PerceptionConfig
from pipeline.tracking.config import TrackerConfig
from pipeline.tracklets import TrackletConfig

MAX_SITE_FILE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    """Describes one camera."""

    id: str
    """Names the camera in every record; letters, digits, dot, dash and underscore."""
    source: SourceConfig | None = None
    """Where its pictures come from; absent when a gateway elsewhere sends them. A plain string is its url."""
    gateway: GatewayConfig | None = None
    """How its frames are sent."""
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    """Which of its frames are given up when they come faster than they can be looked at."""
    clock_offset_s: float = 0.0
    """How far this camera's clock is ahead of the site's; subtracted where cameras are shown together."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", self.id):
            raise BadConfig(
                f"camera id {self.id[:64]!r} is not allowed; use 1 to 128 letters, digits, dots, dashes, underscores"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """Describes a site: its cameras, its models and where it runs."""

    site: str = "site"
    """Name shown in reports."""
    log: str = "sqlite:///runs/site.db"
    """The log: `kafka://host:port[,host:port]` or `sqlite:///path/to/file.db`. With `kafka`, its URL says that too."""
    kafka: KafkaSecurity = field(default_factory=KafkaSecurity)
    """How a Kafka is reached: TLS, user, files of certificates and password. CAMWEAVE_KAFKA_* come before it."""
    topic_prefix: str = ""
    """Put before every topic name and group, to keep sites apart on one log."""
    cameras: tuple[CameraConfig, ...] = ()
    frames: FrameConfig = field(default_factory=FrameConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    embedder: EmbedderConfig = field(default_factory=EmbedderConfig)
    perception: PerceptionConfig = field(default_factory=PerceptionConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    tracklets: TrackletConfig = field(default_factory=TrackletConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    placement: Literal["fused", "split"] = "fused"
    """`fused` runs the networks inside each shard (one machine); `split` gives them actors of their own."""
    num_shards: int = 1
    """Actors that track; cameras are spread over them."""
    num_perception: int = 1
    """Actors that hold the networks when `placement` is `split`."""
    perception_gpus: float = 0.0
    """GPUs that each perception actor (or fused shard) reserves; may be a fraction."""
    batch_frames: int = 8
    """Frames that go through a shard together at most."""
    camera_patience_s: float = 10.0
    """Seconds after which identities are decided without waiting for a silent camera."""
    frames_retention_bytes: int = 1 << 30
    """Bytes of frames kept a partition of the log."""
    results_retention_s: float = -1.0
    """Seconds for which results are kept in the log; -1 keeps all. Identities are always kept."""
    metrics_port: int = 9464
    """Port of `/metrics` on loopback; 0 chooses a free one, -1 turns it off."""
    metrics_host: str = "127.0.0.1"
    """Address that `/metrics` listens on."""

    def __post_init__(self) -> None:
        # The URL alone travels to every process that opens the log.
        object.__setattr__(self, "log", self.kafka.secure(self.log))
        ids = [camera.id for camera in self.cameras]
        for camera in ids:
            if ids.count(camera) > 1:
                raise BadConfig(
                    f"camera {camera!r} is described twice under `cameras`; ids are unique in a site"
                )
        for name in ("num_shards", "num_perception", "batch_frames"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} is {getattr(self, name)}, expected at least 1")
        if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", self.topic_prefix):
            raise BadConfig(f"topic_prefix {self.topic_prefix[:64]!r} is not allowed in a topic name")

    def camera(self, name: str) -> CameraConfig:
        """Return one camera.

        Raises:
            BadConfig: there is none of that name; the message names the nearest.
        """
        for camera in self.cameras:
            if camera.id == name:
                return camera
        raise BadConfig(_unknown("camera", name, [camera.id for camera in self.cameras]))


def read_site(path: Path, environment: Mapping[str, str] = os.environ) -> SiteConfig:
    """Read a YAML site file. `${NAME}` in a source's url is replaced from the environment, so that no password
    need stand in the file.

    Raises:
        BadConfig: no such file, not YAML, an unknown key (the nearest known one is named), a wrong type or value.
    """  # fmt: skip
    try:
        if path.stat().st_size > MAX_SITE_FILE_BYTES:
            raise BadConfig(f"{path} is larger than {MAX_SITE_FILE_BYTES} bytes; is it a site file?")
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadConfig(f"cannot read site file {path}: {error.strerror}; give --config FILE") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise BadConfig(f"{path} holds {type(raw).__name__}, expected keys such as `cameras`")
    try:
        return site_from(raw, environment)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error


def site_from(raw: Mapping[str, Any], environment: Mapping[str, str]) -> SiteConfig:
    """Build a site from plain mappings; see `read_site`."""
    tree = dict(raw)
    if isinstance(tree.get("cameras"), list):
        tree["cameras"] = [_expand_camera(camera, environment) for camera in tree["cameras"]]
    _check_keys(SiteConfig, tree, "")
    if isinstance(tree.get("kafka", {}), dict):
        tree["kafka"] = {**tree.get("kafka", {}), **environment_settings(environment)}
    try:
        return msgspec.convert(tree, SiteConfig)
    except msgspec.ValidationError as error:
        raise BadConfig(str(error).replace("`$.", "`")) from error
    except CamweaveError as error:  # a value out of its range, as the section that owns it says
        raise BadConfig(str(error)) from error


def _expand_camera(camera: Any, environment: Mapping[str, str]) -> Any:
    """Write out the short forms of a camera: `source: URL`, and the id that its gateway shares."""
    if not isinstance(camera, dict):
        return camera
    expanded = dict(camera)
    source = expanded.get("source")
    if isinstance(source, str):
        source = {"url": source}
    if isinstance(source, dict) and isinstance(source.get("url"), str):
        expanded["source"] = {**source, "url": _from_environment(source["url"], environment)}
    gateway = expanded.get("gateway") or {}
    if isinstance(gateway, dict):
        expanded["gateway"] = {**gateway, "camera": expanded.get("id")}
    return expanded


def _from_environment(text: str, environment: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise BadConfig(f"the url of a source names ${{{match[1]}}}, which the environment does not hold")
        return environment[match[1]]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value_of, text)


def _check_keys(kind: type, tree: Mapping[str, Any], where: str) -> None:
    """Refuse keys that no field has, all the way down, naming the nearest known one."""
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    for key, value in tree.items():
        if key not in known:
            raise BadConfig(_unknown("key", f"{where}{key}", known))
        for inner in _dataclasses_in(hints[key]):
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(item, dict):
                    place = f"{where}{key}[{index}]." if isinstance(value, list) else f"{where}{key}."
                    _check_keys(inner, item, place)


def _dataclasses_in(hint: Any) -> list[type]:
    inner = [found for argument in typing.get_args(hint) for found in _dataclasses_in(argument)]
    return [hint, *inner] if isinstance(hint, type) and dataclasses.is_dataclass(hint) else inner


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} {name!r}; {hint}"

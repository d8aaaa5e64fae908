"""Owns teaching: examples read from files of the usual formats or from corrections, and made into tasks that are sound."""

from pipeline.teaching.checking import MAX_EXAMPLES, check_name_is_free, check_task
from pipeline.teaching.coco import read_coco
from pipeline.teaching.corrections import Corrections, TrackCrop, read_corrections
from pipeline.teaching.crops import read_crops
from pipeline.teaching.cvat import read_cvat
from pipeline.teaching.identity import task_digest, task_id
from pipeline.teaching.own_tracks import OwnTracks, PastTrack, choose_tracks
from pipeline.teaching.pairs import read_pairs
from pipeline.teaching.pictures import Picture
from pipeline.teaching.tasks import MAX_TASK_BYTES, forget, make_task
from pipeline.teaching.voc import read_voc

__all__ = [
    "MAX_EXAMPLES", "MAX_TASK_BYTES", "Corrections", "OwnTracks", "PastTrack", "Picture", "TrackCrop",
    "check_name_is_free", "check_task", "choose_tracks", "forget", "make_task", "read_coco", "read_corrections",
    "read_crops", "read_cvat", "read_pairs", "read_voc", "task_digest", "task_id",
]  # fmt: skip

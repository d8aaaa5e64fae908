"""Declares and runs `camweave teach`: a site is given examples, and says what it learned of them."""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.cli.declaring import add_command, add_site_file, site_of
from cluster.cli.output import counting, print_json, print_table

if TYPE_CHECKING:  # imported late: torch takes seconds
    from cluster.explain.records import Records
    from pipeline.records import TaskRecord
    from pipeline.teaching import Corrections, Picture, TrackCrop

WAIT_S = 60.0
_DESCRIPTION = """\
Teaches a running site by examples: a class of objects, a class that the detector lacks, or how a camera sees. The
examples are checked and put on the site's log; its learner adapts to them, judges the result on examples that it held
out, and serves it if it is better, without restart. The command says which of the two came of it.

At most 200 examples a task; some are held out: those in a folder `query`, `val` or `test`, else every third.
"""


def add_commands(commands: Any) -> None:
    """Add `teach class`, `detection`, `camera`, `corrections`, `list` and `forget`."""
    parser = commands.add_parser(
        "teach", help="teach a running site by examples", description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    whats = parser.add_subparsers(required=True, metavar="WHAT")
    for add in (_add_class, _add_detection, _add_camera, _add_corrections, _add_list, _add_forget):
        add(whats)


def _add_class(whats: Any) -> None:
    parser = add_command(
        whats, "class", _class, "teach a class of the objects that the detector finds",
        "Teaches which of the objects that the detector finds are of a class: couriers among people, taxis among\n"
        "cars. DIR holds a folder of crops for each class (DIR/NAME/*.jpg), or only crops of NAME; what is not of it\n"
        "lies in DIR/_other, in the folders of other classes, or in the folder given by --against. Crops are cut close\n"
        "around one object, as the detector does. A few of each are enough; those that are alike but not it say most.",
        "  camweave teach class courier --crops crops --config site.yaml\n"
        "  camweave teach class courier --crops couriers --against visitors --config site.yaml\n"
        "  camweave teach class courier --crops crops --replace --config site.yaml    anew, with these crops alone\n"
        "  camweave teach class courier --crops crops --no-wait --json --config site.yaml\n",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="the class")
    parser.add_argument("--crops", type=Path, required=True, metavar="DIR", help="folder or zip of crops")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="folder or zip of crops that are not of it"
    )
    _add_site(parser, teaches=True)


def _add_detection(whats: Any) -> None:
    parser = add_command(
        whats, "detection", _detection, "teach a class that the detector lacks, by pictures with boxes",
        "Teaches the detector a class that it lacks, from whole pictures in which every object of the class has a box.\n"
        "Pictures without a box show what is not of it. PATH is a folder or zip, or a single file of annotations:\n"
        "  --voc    Pascal VOC, an XML file a picture\n"
        "  --coco   COCO, a JSON file for all\n"
        "  --cvat   `CVAT for images 1.1`, an annotations.xml for all",
        "  camweave teach detection raccoon --voc raccoons.zip --config site.yaml\n"
        "  camweave teach detection raccoon --coco annotations/instances.json --images pictures --config site.yaml\n"
        "  camweave teach detection pallet --cvat task.zip --label Europalette --config site.yaml\n",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="the class")
    formats = parser.add_mutually_exclusive_group(required=True)
    for name, words in (("voc", "Pascal VOC"), ("coco", "COCO"), ("cvat", "CVAT for images 1.1")):
        formats.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"pictures annotated as {words}")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="the pictures (default: beside the annotations)"
    )
    parser.add_argument("--label", metavar="TEXT", help="what the class is called there (default: NAME)")
    _add_site(parser, teaches=True)


def _add_camera(whats: Any) -> None:
    parser = add_command(
        whats, "camera", _camera, "teach how a camera sees, by people seen in it and in another one",
        "Teaches what the same people look like in a camera and in others, so that it tells them apart as well as the\n"
        "others do. Five people are a start. DIR is a folder or zip of crops named as in Market-1501\n"
        "(ID_cCsS_FRAME_BB.jpg: who, which camera) or CUHK03 (ID_NN.jpg). FILE holds lines such as\n"
        '  {"same": ["door:3-17-0", "yard:1-5-0"]}\n'
        "for tracks of past results that show the same person; their crops are cut from the frames that the log keeps.\n"
        "With --own-tracks nobody need say who is who: those whom the site itself has found in the camera and in another\n"
        "one are its pairs, four at least, and everybody else shows the camera's light. Of all the last seen are taken.",
        "  camweave teach camera door --own-tracks --config site.yaml    by what the site has seen itself\n"
        "  camweave teach camera door --own-tracks --replace --config site.yaml    anew, since its light has changed\n"
        "  camweave teach camera door --pairs crops --number 6 --config site.yaml    door is camera 6 in the names\n"
        "  camweave teach camera door --corrections same.jsonl --config site.yaml\n"
        "  camweave teach camera door --corrections same.jsonl --run runs/monday --config site.yaml\n",
    )  # fmt: skip
    parser.add_argument("name", metavar="CAMERA", help="the camera, as the site file calls it")
    examples = parser.add_mutually_exclusive_group(required=True)
    examples.add_argument("--pairs", type=Path, metavar="DIR", help="folder or zip of crops")
    examples.add_argument("--corrections", type=Path, metavar="FILE", help="tracks that are the same person")
    examples.add_argument(
        "--own-tracks", action="store_true", help="whom the site has found in it and elsewhere"
    )
    parser.add_argument(
        "--number", default="", metavar="N", help="of CAMERA in the names of --pairs (default: CAMERA)"
    )
    _add_run(parser)
    _add_site(parser, teaches=True)


def _add_corrections(whats: Any) -> None:
    parser = add_command(
        whats, "corrections", _corrections, "teach by correcting past results",
        "Teaches all that a file of corrections says, a line each:\n"
        '  {"track": "door:3-17-0", "class": "courier"}     this track is a courier\n'
        '  {"track": "door:3-20-1", "class": ""}            this one is of no class that is taught\n'
        '  {"same": ["door:3-17-0", "yard:1-5-0"]}          these are the same person\n'
        "Each class becomes a task, and so does each camera with two people or more who are known from another one.\n"
        "The crops are cut from the frames that the log still keeps.",
        "  camweave teach corrections fixed.jsonl --config site.yaml\n"
        "  camweave teach corrections fixed.jsonl --run runs/monday --config site.yaml    of a finished run\n",
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE", help="the corrections (JSON lines)")
    _add_run(parser)
    _add_site(parser, teaches=True)


def _add_list(whats: Any) -> None:
    parser = add_command(
        whats, "list", _list, "list what was taught, and what became of it",
        "Lists what was taught: `promoted` is served, `rejected` was judged no better than what was served before,\n"
        "`withdrawn` was served until `camweave models rollback`, `waiting` has not been learned yet.",
        "  camweave teach list --config site.yaml\n",
    )  # fmt: skip
    _add_site(parser, teaches=False)


def _add_forget(whats: Any) -> None:
    parser = add_command(
        whats, "forget", _forget, "forget what was taught under a name",
        "Has the site forget a class or a camera's adaptation. The other things that it was taught stay.",
        "  camweave teach forget courier --config site.yaml\n"
        "  camweave teach forget door --kind camera --config site.yaml\n",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="the class or the camera")
    parser.add_argument(
        "--kind", choices=["class", "detection", "camera"], help="where the name has several meanings"
    )
    _add_site(parser, teaches=False)
    _add_wait(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, metavar="DIR",
                        help="folder of a finished run, whose tracks are meant (default: the log of the site)")  # fmt: skip


def _add_site(parser: argparse.ArgumentParser, *, teaches: bool) -> None:
    add_site_file(parser)
    if teaches:
        parser.add_argument("--replace", action="store_true", help="teach what was taught before anew")
        _add_wait(parser)


def _add_wait(parser: argparse.ArgumentParser) -> None:
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument("--wait", type=float, default=WAIT_S, dest="wait_s", metavar="SECONDS",
                         help=f"how long to wait for the learner's verdict (default: {WAIT_S:g})")  # fmt: skip
    waiting.add_argument(
        "--no-wait", action="store_const", const=0.0, dest="wait_s", help="return when the log has it"
    )


def _class(options: argparse.Namespace) -> int:
    from pipeline.records import TaskKind
    from pipeline.teaching import read_crops

    return _teach_pictures(options, TaskKind.CLASS, read_crops(options.crops, options.name, options.against))


def _detection(options: argparse.Namespace) -> int:
    from pipeline.records import TaskKind
    from pipeline.teaching import read_coco, read_cvat, read_voc

    readers = ((read_voc, options.voc), (read_coco, options.coco), (read_cvat, options.cvat))
    ((read, path),) = ((read, path) for read, path in readers if path is not None)
    pictures = read(path, options.label or options.name, options.images)
    return _teach_pictures(options, TaskKind.DETECTION, pictures)


def _camera(options: argparse.Namespace) -> int:
    from pipeline.records import TaskKind
    from pipeline.teaching import read_pairs

    site_of(options).camera(options.name)
    if options.pairs:
        pictures = read_pairs(options.pairs, options.name, options.number)
        return _teach_pictures(options, TaskKind.CAMERA, pictures)
    if options.own_tracks:
        from cluster.own_tracks import task_of_own_tracks

        task = task_of_own_tracks(_records(options), options.name, taught_ns=time.time_ns())
        return _teach(options, [task], {})
    from cluster.corrected import task_of_camera

    corrections, crops = _corrected(options, options.corrections)
    return _teach(options, [task_of_camera(corrections, options.name, crops, taught_ns=time.time_ns())], {})


def _corrections(options: argparse.Namespace) -> int:
    from cluster.corrected import cameras_of, task_of_camera, tasks_of_classes
    from pipeline.errors import BadTask

    corrections, crops = _corrected(options, options.file)
    taught_ns = time.time_ns()
    tasks = tasks_of_classes(corrections, crops, taught_ns=taught_ns)
    left_out: dict[str, str] = {}
    for camera in cameras_of(corrections):
        try:
            tasks.append(task_of_camera(corrections, camera, crops, taught_ns=taught_ns))
        except BadTask as error:
            left_out[f"camera/{camera}"] = str(error)
    if not tasks:
        raise BadTask(f"{options.file} teaches nothing: " + "; ".join(left_out.values()))
    return _teach(options, tasks, left_out)


def _list(options: argparse.Namespace) -> int:
    from cluster.teacher import Teacher

    with Teacher(site_of(options)) as teacher:
        rows = {outcome.task.id: outcome.as_json() for outcome in teacher.outcomes()}
    if options.json:
        print_json(rows)
    elif not rows:
        print("nothing was taught")  # noqa: T201
    else:
        columns = ("examples", "taught", "verdict", "before", "after")
        named = {
            f"{row['kind']} {row['name']}": {**row, "taught": row["taught"][:16]} for row in rows.values()
        }
        print_table(named, {column: column for column in columns})
    return 0


def _forget(options: argparse.Namespace) -> int:
    from cluster.teach import Verdict
    from cluster.teacher import Teacher
    from pipeline.records import TaskKind

    kind = TaskKind(options.kind) if options.kind else None
    with Teacher(site_of(options)) as teacher, _waiting(options) as waiting:
        outcome = teacher.forget(
            options.name, kind, now_ns=time.time_ns(), wait_s=options.wait_s, waiting=waiting
        )
    gone = outcome.verdict is Verdict.PROMOTED
    if options.json:
        print_json({**outcome.as_json(), "verdict": "forgotten" if gone else "waiting"})
    else:
        words = "is forgotten" if gone else "is to be forgotten"
        print(f"{outcome.task.kind.value} {options.name!r} {words}")  # noqa: T201
        if not gone and options.wait_s:
            print(_unanswered(options))  # noqa: T201
    return 0 if gone or not options.wait_s else 1


def _corrected(options: argparse.Namespace, path: Path) -> tuple[Corrections, dict[str, list[TrackCrop]]]:
    from cluster.corrected import crops_of_tracks
    from pipeline.teaching import read_corrections

    corrections = read_corrections(path)
    return corrections, crops_of_tracks(_records(options), corrections.tracks)


def _records(options: argparse.Namespace) -> Records:
    from cluster.explain import records_of_run, records_of_site

    return records_of_run(options.run) if options.run else records_of_site(site_of(options))


def _teach_pictures(options: argparse.Namespace, kind: Any, pictures: Sequence[Picture]) -> int:
    from pipeline.teaching import make_task

    return _teach(options, [make_task(kind, options.name, pictures, taught_ns=time.time_ns())], {})


def _teach(options: argparse.Namespace, tasks: Sequence[TaskRecord], left_out: dict[str, str]) -> int:
    from cluster.teach import Verdict
    from cluster.teacher import Teacher

    with Teacher(site_of(options)) as teacher, _waiting(options) as waiting:
        outcomes = teacher.teach(tasks, replace=options.replace, wait_s=options.wait_s, waiting=waiting)
    if options.json:
        print_json({"tasks": [outcome.as_json() for outcome in outcomes], "left_out": left_out})
    else:
        print("\n".join(outcome.sentence() for outcome in outcomes))  # noqa: T201
        for name, reason in left_out.items():
            print(f"{name} is left out: {reason}")  # noqa: T201
        if options.wait_s and any(outcome.verdict is Verdict.WAITING for outcome in outcomes):
            print(_unanswered(options))  # noqa: T201
    well = {Verdict.PROMOTED} if options.wait_s else {Verdict.PROMOTED, Verdict.WAITING}
    return 0 if all(outcome.verdict in well for outcome in outcomes) else 1


@contextlib.contextmanager
def _waiting(options: argparse.Namespace) -> Iterator[Callable[[float], None]]:
    """Show how long the learner has been waited for."""
    with counting(options, "waiting for the learner, seconds") as progress:
        yield lambda waited_s: progress.update(int(waited_s), math.ceil(options.wait_s))


def _unanswered(options: argparse.Namespace) -> str:
    return (
        f"no learner has answered within {options.wait_s:g} s: is the site running (camweave run --config "
        f"{options.config}), with learning turned on? It is in the log, and a learner that starts later takes it up; "
        "`camweave teach list` tells"
    )

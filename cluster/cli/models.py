"""Declares and runs `camweave models`: which versions were learned and which one is served, going back, and pruning."""

from __future__ import annotations

import argparse
from typing import Any, Final

from cluster.cli.declaring import add_command, add_site_file, site_of
from cluster.cli.output import print_json, print_result, print_table

DEFAULT_KEPT: Final = 20
"""Versions that `camweave models prune` leaves to be gone back to."""


def add_commands(commands: Any) -> None:
    """Add `models list`, `models show`, `models rollback` and `models prune`."""
    parser = commands.add_parser(
        "models", help="list, show, roll back and prune what was learned",
        description="Lists, shows, rolls back and prunes the versions of what a site has learned.",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    add_site_file(add_command(
        actions, "list", _list, "list all versions, and which one is served",
        "Lists what the learner has announced, oldest first: the versions that were served, those that the gate\n"
        "rejected, and those that came too late to count, each with the reason. Columns: number of the change, when,\n"
        "version, what became of it, and scores before and after: means over all tasks of how well their held-out\n"
        "queries are answered, by the version served until then and by the new one.",
        "  camweave models list --config site.yaml\n"
        "  camweave models list --config site.yaml --json     with the scores of every task\n",
    ))  # fmt: skip
    show = add_command(
        actions, "show", _show, "show one version: tasks, scores, file",
        "Shows what a version has learned, how each task's held-out queries are answered with it and with what it\n"
        "was compared with, and whether its file is intact.\n\n"
        "VERSION is a name or the beginning of one, with or without `learned@`, or `current`.",
        "  camweave models show current --config site.yaml\n"
        "  camweave models show learned@1f0c2a7b9d3e --config site.yaml --json\n"
        "  camweave models show 1f0c --config site.yaml\n",
    )  # fmt: skip
    show.add_argument("version", metavar="VERSION", help="which one")
    add_site_file(show)
    rollback = add_command(
        actions, "rollback", _rollback, "serve an earlier version again",
        "Serves an earlier version again, in every process of the site and without restart. Its file is verified\n"
        "first; the command returns when the change is in the log. Nothing is lost: a later version can be gone back\n"
        "to in the same way, and the learner goes on from what is served.\n\n"
        "VERSION is a name or the beginning of one, or `none` for the networks alone; without it, the version is\n"
        "chosen that the one served took over from.",
        "  camweave models rollback --config site.yaml                 one step back\n"
        "  camweave models rollback learned@1f0c2a7b9d3e --config site.yaml\n"
        "  camweave models rollback none --config site.yaml            nothing learned is applied\n",
    )  # fmt: skip
    rollback.add_argument("version", metavar="VERSION", nargs="?", help="which one (default: one step back)")
    rollback.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    add_site_file(rollback)
    _add_prune(actions)


def _add_prune(actions: Any) -> None:
    prune = add_command(
        actions, "prune", _prune, "remove the files of versions that are not needed any more",
        "Removes from `learning.store` the files of versions that nobody will serve again, and says which, and how many\n"
        "bytes that freed. What is served stays, what `camweave models rollback` would step back to, the versions that\n"
        "were promoted last before it (--keep), and every file younger than an hour, since its announcement may be on\n"
        "its way. Versions that this site's log does not name are left alone: they may be another site's. It may run\n"
        "while the site serves and learns.\n\n"
        "A version whose file was pruned stays in `camweave models list` with its scores, and its report stays in\n"
        "`learning.store`/reports; it cannot be gone back to any more.",
        "  camweave models prune --config site.yaml --dry-run      what would be removed\n"
        "  camweave models prune --config site.yaml\n"
        "  camweave models prune --config site.yaml --keep 100     stay able to go back further\n",
    )  # fmt: skip
    prune.add_argument(
        "--keep", type=int, default=DEFAULT_KEPT, metavar="N",
        help="earlier versions that can still be gone back to, beside the one served (default: %(default)s)",
    )  # fmt: skip
    prune.add_argument("--dry-run", action="store_true", help="remove nothing, tell what would be removed")
    add_site_file(prune)


def _list(options: argparse.Namespace) -> int:
    from cluster.model_list import list_versions

    listed = list_versions(site_of(options))
    if options.json:
        print_json(listed)
        return 0
    for row in listed["announcements"]:
        print("\n".join(_lines_of(row)))  # noqa: T201
    print(f"served: {listed['served']} (change {listed['serial']})")  # noqa: T201
    return 0


def _lines_of(row: dict[str, Any]) -> list[str]:
    """Return a line that fits a terminal, and the words that belong to it below."""
    means = f"{row['before']:.3f} -> {row['after']:.3f}" if "before" in row and "after" in row else ""
    first = f"{row['change']:>4}  {row['announced']}  {row['version']:<20}  {row['standing']:<11}  {means}"
    taught = f"{row['tasks']} task{'' if row['tasks'] == 1 else 's'}" + (
        f", new: {row['new']}" if row["new"] else ""
    )
    return [first.rstrip(), *(f"      {words}" for words in (taught, row["reason"]) if words)]


def _show(options: argparse.Namespace) -> int:
    from cluster.model_list import show_version

    shown = show_version(site_of(options), options.version)
    if options.json:
        print_json(shown)
        return 0
    tasks = shown.pop("scores")
    print_result(shown, as_json=False)
    if tasks:
        names = dict.fromkeys(name for task in tasks.values() for name in task["scores"])
        rows = {
            name: {**task, **task["scores"], "new": "yes" if task["is_new"] else ""}
            for name, task in tasks.items()
        }
        columns = (
            {"num_queries": "queries", "new": "new"} | {name: name for name in names} | {"chosen": "chosen"}
        )
        print_table(rows, columns)
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from cluster.model_list import roll_back

    print_result(roll_back(site_of(options), options.version, options.reason), options.json)
    return 0


def _prune(options: argparse.Namespace) -> int:
    from cluster.model_list import prune_versions

    pruned = prune_versions(site_of(options), options.keep, dry_run=options.dry_run)
    if options.json:
        print_json(pruned)
        return 0
    for name in pruned["removed"]:
        print(name)  # noqa: T201
    num = len(pruned["removed"])
    done = "would be removed" if options.dry_run else "removed"
    lines = [
        f"{num} version{'' if num == 1 else 's'} {done}, {pruned['num_bytes']:,} bytes; {pruned['kept']} kept"
    ]
    if pruned["left_by_crashes"]:
        lines.append(
            f"among the bytes: {pruned['left_by_crashes']} files that crashed writers left unfinished"
        )
    if pruned["of_others"]:
        lines.append(f"left alone: {pruned['of_others']} versions that this site's log does not name")
    print("\n".join([*lines, f"served: {pruned['served']}"]))  # noqa: T201
    return 0

"""Declares and runs `camweave models`: which versions were learned, which one is served, and going back to one."""

from __future__ import annotations

import argparse
from typing import Any

from cluster.cli.declaring import add_command, add_site_file, site_of
from cluster.cli.output import print_json, print_result, print_table


def add_commands(commands: Any) -> None:
    """Add `models list`, `models show` and `models rollback`."""
    parser = commands.add_parser(
        "models", help="list, show and roll back what was learned",
        description="Lists, shows and rolls back the versions of what a site has learned.",
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

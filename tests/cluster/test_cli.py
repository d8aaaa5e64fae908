import json
from pathlib import Path

import pytest

from cluster.cli import build_parser, main
from pipeline.records import json_schemas


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo"], ["run", "--config", "s.yaml"], ["gateway", "--config", "s.yaml"], ["eval", "detect", "p"],
        ["eval", "mot", "p"], ["eval", "reid", "p"], ["eval", "identity", "p"], ["eval", "site", "p"],
        ["explain", "P1", "--run", "r"], ["explain", "P1", "--config", "s.yaml"],
        ["train", "embedder", "--data", "d", "--out", "o"], ["weights", "fetch"], ["schema"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_that_prints_results_takes_json(arguments: list[str]) -> None:
    assert build_parser().parse_args([*arguments, "--json"]).json is True


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "camweave demo --frames 100 --json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "eval",
        "eval detect",
        "eval mot",
        "eval reid",
        "eval identity",
        "eval site",
        "explain",
        "train embedder",
    ],
)
def test_each_command_s_help_shows_it_in_use(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    examples = capsys.readouterr().out.partition("examples:")[2]
    assert f"camweave {command} " in examples
    # Every example is a command line that would be understood.
    for line in examples.strip().splitlines():
        words = line.strip().split("  ")[0].removeprefix("camweave ").split()
        assert build_parser().parse_args(words).command


def test_an_identity_is_explained_from_a_run_or_from_a_site_not_from_both(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for place in ([], ["--run", "r", "--config", "s.yaml"]):
        with pytest.raises(SystemExit):
            main(["explain", "P1", *place])
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_schemas_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(json_schemas()))


def test_a_missing_site_file_ends_with_one_clear_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["gateway", "--config", str(tmp_path / "no.yaml"), "--json"]) == 1
    printed = capsys.readouterr()
    assert "no.yaml" in printed.err
    assert json.loads(printed.out)["error"] == "BadConfig"


def test_a_missing_video_is_named_with_the_remedy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["demo", "--video", str(tmp_path / "no.avi"), "--out", str(tmp_path / "out")])
    assert code == 1
    assert "--video FILE" in capsys.readouterr().err

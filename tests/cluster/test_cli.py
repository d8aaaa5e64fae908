import json
from pathlib import Path

import pytest

from cluster.cli import build_parser, main
from pipeline.records import json_schemas


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo"], ["run", "--config", "s.yaml"], ["gateway", "--config", "s.yaml"], ["eval", "detect", "p"],
        ["eval", "site", "p"], ["weights", "fetch"], ["schema"],
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

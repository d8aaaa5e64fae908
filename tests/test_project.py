"""Holds the project together: names, layers, packaging, and the make targets that the README promises."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from cluster.config import site_from

ROOT = Path(__file__).parent.parent
ROOMS = ("cluster", "pipeline", "models")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def load_script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_other_distribution_owns_our_import_names():
    owners = importlib.metadata.packages_distributions()
    assert {room: set(owners.get(room, ())) - {"camweave"} for room in ROOMS} == {
        room: set() for room in ROOMS
    }


@pytest.mark.parametrize("room", ROOMS)
def test_an_import_name_leads_to_this_checkout(room):
    assert Path(importlib.util.find_spec(room).origin) == ROOT / room / "__init__.py"


def test_imports_run_from_cluster_to_pipeline_to_models():
    done = run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_for(module):
    assert ast.get_docstring(ast.parse(module.read_text()))


def test_make_alone_lists_every_target_and_what_it_does():
    declared = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    listed = dict(re.findall(r"^  make (\S+) +(\S.*)$", run("make").stdout, re.MULTILINE))
    assert set(listed) == declared
    assert {"setup", "demo", "test", "kafka", "test-kafka", "bench", "check"} <= declared


def test_make_demo_and_make_test_do_their_own_setup(tmp_path):
    # In an empty checkout nothing is up to date, so a dry run shows every step that a fresh clone would take.
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/setup.sh").touch()
    for target in ("demo", "test"):
        steps = run("make", "-C", str(tmp_path), "--dry-run", target).stdout
        assert re.search(r"setup\.sh.*weights fetch.*sample_video\.py", steps, re.DOTALL), steps


def test_the_lock_pins_and_hashes_every_package_and_names_no_host():
    lock = (ROOT / "requirements.lock").read_text()
    requirements = [text for text in re.split(r"\n(?=\S)", lock) if not text.startswith("#")]
    assert len(requirements) > 50
    assert [text for text in requirements if "==" not in text or "--hash=sha256:" not in text] == []
    assert "://" not in lock


def test_the_lock_has_what_pyproject_asks_for():
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    required = {
        re.split(r"[^A-Za-z0-9._-]", text)[0].lower().replace("_", "-")
        for text in importlib.metadata.requires("camweave")
        if 'extra == "gpu"' not in text and "extra == 'gpu'" not in text
    }
    assert required - locked - {"camweave"} == set()


def test_the_readme_s_site_file_and_targets_are_real():
    readme = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    site = site_from(yaml.safe_load(example), {"CAMERA_PASSWORD": "secret"})
    assert [camera.id for camera in site.cameras] == ["entrance", "counter", "recording", "stills", "annex"]
    assert site.cameras[4].source is None
    targets = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/decisions/README.md"])
def test_a_link_inside_the_repository_leads_somewhere(page):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text())
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_the_wheel_holds_the_three_rooms_and_the_command(tmp_path):
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("camweave-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {str(path.relative_to(ROOT)) for path in MODULES} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(ROOMS)
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert b"camweave = cluster.cli:main" in zipfile.ZipFile(wheel).read(entry_points)


def test_the_command_explains_itself():
    done = run(str(Path(sys.executable).with_name("camweave")), "--help")
    assert done.returncode == 0, done.stderr
    assert {"demo", "run", "gateway"} <= set(re.findall(r"\w+", done.stdout))


def test_the_hooks_are_valid_and_fetch_nothing():
    config = ROOT / ".pre-commit-config.yaml"
    assert run(sys.executable, "-m", "pre_commit", "validate-config", str(config)).returncode == 0
    assert set(re.findall(r"repo: (\S+)", config.read_text())) == {"local"}


def test_a_wrong_sample_video_is_refused_and_leaves_nothing_behind(tmp_path):
    script = load_script("sample_video")
    (tmp_path / "other.avi").write_bytes(b"RIFF but not the sample")
    target = tmp_path / "video" / "vtest.avi"
    with pytest.raises(
        script.NoVideoError, match=r"is not the sample video: SHA-256 [0-9a-f]{64}, expected 45cdd"
    ):
        script.place(tmp_path / "other.avi", target)
    assert list(target.parent.iterdir()) == []


def test_a_gzipped_sample_video_is_unpacked(tmp_path, monkeypatch):
    script = load_script("sample_video")
    monkeypatch.setattr(script, "SHA256", hashlib.sha256(b"frames").hexdigest())
    packed = tmp_path / script.PACKAGED.with_name("vtest.avi.gz")
    packed.parent.mkdir(parents=True)
    packed.write_bytes(script.gzip.compress(b"frames"))
    script.from_tree(tmp_path, tmp_path / "vtest.avi")
    assert (tmp_path / "vtest.avi").read_bytes() == b"frames"


def test_without_any_source_the_sample_video_s_error_names_the_remedies(tmp_path):
    done = run(
        sys.executable, "scripts/sample_video.py", "--to", str(tmp_path / "v.avi"),
        PATH=str(tmp_path), CAMWEAVE_VIDEO=str(tmp_path / "absent.avi"),
    )  # fmt: skip
    if done.returncode == 0:
        pytest.skip("the package opencv-doc is installed on this machine: there is a source")
    assert done.returncode == 1
    for remedy in ("camweave demo --video FILE", "CAMWEAVE_VIDEO", "opencv-doc", "absent.avi"):
        assert remedy in done.stderr

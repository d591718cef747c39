"""A method of another package, found by its entry point, as docs/methods/your-own.md has it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from geopretext.data.synthetic import write_synthetic_store
from geopretext.nn.bundle import Encoder
from geopretext.train.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/methods/your-own.md").read_text(encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The example as an installer would leave it: the module, and what its pyproject.toml says of it."""
    site = tmp_path / "site"
    about = site / "rotation-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(ROOT / "examples/rotation.py", site)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rotation\nVersion: 1.0\n")
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    points = tomllib.loads(toml)["project"]["entry-points"]
    lines = [f"[{group}]\n{name} = {place}\n" for group, named in points.items() for name, place in named.items()]
    (about / "entry_points.txt").write_text("".join(lines))
    return site


def geopretext(*arguments: object, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = [str(site)] if site else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "geopretext.apps.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_it_trains_resumes_and_leaves_a_bundle_that_others_read(installed: Path, tmp_path: Path) -> None:
    write_synthetic_store(tmp_path / "tiles.zarr", count=16, workers=1)
    recipe = ROOT / "examples/rotation.yaml"
    options = ["--data", tmp_path / "tiles.zarr", "--max_steps", 6, "--batch_size", 8, "--epochs", 4, "--quiet"]
    done = geopretext("pretrain", recipe, *options, "--out", tmp_path / "run", site=installed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "run/bundle")
    again = geopretext("pretrain", recipe, *options, "--out", tmp_path / "run", site=installed)
    assert again.returncode == 0, again.stderr
    encoder = Encoder.from_pretrained(tmp_path / "run/bundle")  # without the package
    assert encoder.recipe["method"] == "rotation"
    assert encoder.targets == ("rotation",)
    shown = geopretext("pretrain", recipe, "--help", site=installed)
    assert "--pretext.turns" in shown.stdout
    assert "quarter turns to tell apart" in shown.stdout
    wrong = geopretext("pretrain", recipe, *options, "--out", tmp_path / "no", "--pretext.turns", 3, site=installed)
    assert wrong.returncode == 1
    assert "pretext.turns is 3" in wrong.stderr


def test_without_the_package_the_method_is_unknown(tmp_path: Path) -> None:
    failed = geopretext("pretrain", ROOT / "examples/rotation.yaml", "--data", tmp_path, "--out", tmp_path / "run")
    assert failed.returncode == 1
    assert "method is 'rotation'" in failed.stderr
    assert "mp_mae" in failed.stderr


def test_the_page_shows_the_files(tmp_path: Path) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert yaml.safe_load(shown[0]) == yaml.safe_load((ROOT / "examples/rotation.yaml").read_text())
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert code in (ROOT / "examples/rotation.py").read_text()
    assert load_recipe("mp-mae-demo").method == "mp_mae"

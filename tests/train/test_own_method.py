"""A method of another package, found by its entry point, as docs/methods/your-own.md has it."""

import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from geopretext.apps.cli import main
from geopretext.data.synthetic import write_synthetic_store
from geopretext.errors import RecipeError
from geopretext.nn.bundle import Encoder
from geopretext.pretext import methods
from geopretext.pretext.methods import MethodEntry, find_method
from geopretext.train.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/methods/your-own.md").read_text(encoding="utf-8")
RECIPE = str(ROOT / "examples/rotation.yaml")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    methods._theirs.cache_clear()
    yield folder
    sys.modules.pop("rotation", None)
    methods._theirs.cache_clear()


def install(site: Path, entry_points: str) -> None:
    """The example as an installer would leave it: the module, and what its pyproject.toml says of it."""
    about = site / "rotation-1.0.dist-info"
    about.mkdir()
    shutil.copy(ROOT / "examples/rotation.py", site)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rotation\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)


def points_of_the_page() -> str:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    points = tomllib.loads(toml)["project"]["entry-points"]
    lines = [f"[{group}]\n{name} = {place}\n" for group, named in points.items() for name, place in named.items()]
    return "".join(lines)


def test_it_trains_and_leaves_a_bundle_that_others_read(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, points_of_the_page())
    write_synthetic_store(tmp_path / "tiles.zarr", count=8, workers=1)
    options = ["--data", str(tmp_path / "tiles.zarr"), "--max_steps", "2", "--batch_size", "8", "--quiet"]
    assert main(["pretrain", RECIPE, *options, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run/bundle")
    encoder = Encoder.from_pretrained(tmp_path / "run/bundle")
    assert encoder.recipe["method"] == "rotation"
    assert encoder.targets == ("rotation",)
    assert main(["pretrain", RECIPE, *options, "--out", str(tmp_path / "no"), "--pretext.turns", "3"]) == 1
    assert "pretext.turns is 3" in capsys.readouterr().err
    assert main(["pretrain", RECIPE, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--pretext.turns" in shown
    assert "quarter turns to tell apart" in shown


def test_without_the_package_the_method_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", RECIPE, "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert "method is 'rotation'" in told
    assert "mp_mae" in told


@pytest.mark.parametrize(
    ("place", "told"),
    [("rotation:NOTHING", "cannot be loaded"), ("nowhere:METHOD", "cannot be loaded"), ("rotation:F", "is a module")],
)
def test_a_package_that_lies_is_named(site: Path, place: str, told: str) -> None:
    install(site, f"[{methods.GROUP}]\nrotation = {place}\n")
    with pytest.raises(RecipeError, match=told) as caught:
        find_method("rotation")
    assert place in str(caught.value)


def test_the_page_shows_the_files() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert yaml.safe_load(shown[0]) == yaml.safe_load(Path(RECIPE).read_text())
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert code in (ROOT / "examples/rotation.py").read_text()
    assert isinstance(find_method("mp_mae"), MethodEntry)
    assert load_recipe("mp-mae-demo").method == "mp_mae"

"""What bundles are called, and which cells a grid has beside an earlier one."""

from dataclasses import replace

import pytest

from geopretext.evaluate import suite_work
from geopretext.evaluate.cells import Cell
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.suite_settings import Opened, SuiteSettings, bundle_names, plan_cells


def test_names_are_short_unlike_each_other_and_no_baselines() -> None:
    bundles = ("runs/a/bundle", "old/a/bundle", "me/b", "runs/random_init/bundle", "timm:x", "c/d")
    assert bundle_names(bundles, {"me/b": "d"}) == {
        "runs/a/bundle": "runs/a",
        "old/a/bundle": "old/a",
        "me/b": "d",
        "runs/random_init/bundle": "runs/random_init",
        "timm:x": "timm:x",
        "c/d": "c/d",
    }


def test_given_names_stay_and_others_are_made_anew_of_all() -> None:
    first = SuiteSettings(bundles=("runs/a/bundle", "b"), tasks=("t",), names={"b": "mine"})
    second = SuiteSettings(bundles=("old/a/bundle",), tasks=("t",))
    both = second.joined(first, "here")
    assert both.names == {"b": "mine"}
    assert bundle_names(both.bundles, both.names) == {
        "runs/a/bundle": "runs/a",
        "b": "mine",
        "old/a/bundle": "old/a",
    }


def opened(bundle: str, door: str) -> Opened:
    return Opened("t", bundle, TaskKind.SINGLE_LABEL, 1, "images", "labels", door, door, bundle, {})


def test_the_first_bundle_and_seed_of_the_folder_keep_what_depends_on_neither() -> None:
    grid = {"tasks": ("t",), "heads": ("probe",), "representations": ("pretrained", "band_statistics")}
    first = SuiteSettings(bundles=("a",), seeds=(0,), **grid)
    second = SuiteSettings(bundles=("c", "b"), seeds=(3,), **grid)
    held = second.joined(first, "here")
    doors = [opened("c", "another"), opened("b", "shared"), opened("a", "shared")]
    cells, _ = plan_cells(second, doors, held)
    assert {(cell.bundle, cell.representation, cell.seed) for cell in cells} == {
        ("b", "pretrained", 0),
        ("c", "pretrained", 0),
        ("a", "band_statistics", 0),
        ("c", "band_statistics", 0),
    }
    assert all(place.bundle == cell.bundle for cell, place in cells.items())
    seeded, _ = plan_cells(replace(second, amounts=("50%",)), doors, held)
    assert {cell.seed for cell in seeded} == {3}


def test_another_timm_makes_results_of_its_models_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell("t", "a", name, "knn") for name in ("timm:resnet18", "band_statistics")]
    signs = []
    for number in ("1.0", "1.1"):
        monkeypatch.setattr(suite_work, "version", lambda name, number=number: number)
        signs.append([suite_work.basis(opened("a", "door"), cell) for cell in cells])
    assert signs[0][0] != signs[1][0]
    assert signs[0][1] == signs[1][1]

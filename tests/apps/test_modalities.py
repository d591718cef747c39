"""The table of modalities."""

import json
from pathlib import Path

import pytest

from geopretext.apps.cli import main
from geopretext.modality import PUBLISHED, Modality

CROPS = """
modalities:
  - name: crop_map
    kind: categorical map
    dtype: uint8
    missing: [0]
    bands: [crop]
    classes: {1: maize, 2: wheat}
"""


def test_the_table_has_every_published_modality(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modalities"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0] for row in rows] == list(PUBLISHED)
    sentinel2 = next(row for row in rows if row.startswith("sentinel2 "))
    assert "B1 B2 B3 B4 B5 B6 B7 B8A B8 B9 B10 B11 B12" in sentinel2
    assert "uint16, reflectance x 10000" in sentinel2


def test_json_reads_back_as_modalities(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modalities", "--json"]) == 0
    read = [Modality.from_dict(plain) for plain in json.loads(capsys.readouterr().out)]
    assert read == list(PUBLISHED.values())


def test_modalities_of_the_users_own_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yaml").write_text(CROPS)
    assert main(["modalities", "--file", str(tmp_path / "own.yaml")]) == 0
    assert "crop_map" in capsys.readouterr().out
    (tmp_path / "own.yaml").write_text("crops: 1")
    assert main(["modalities", "--file", str(tmp_path / "own.yaml")]) == 1
    assert "has no list 'modalities'" in capsys.readouterr().err

"""What tiles, reconstructions and runs answer over HTTP: media types, names of files, and refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from geopretext.apps.viewer.packet import unpack
from geopretext.data.store import Store

from .pretrained import write_runs


@pytest.fixture(scope="module")
def address(store: Path, tmp_path_factory: pytest.TempPathFactory, serve_viewer: Callable[..., str]) -> str:
    return serve_viewer(write_runs(tmp_path_factory.mktemp("runs"), store))


def test_answers_say_what_they_are(address: str, store: Path) -> None:
    pytest.importorskip("PIL", reason="needs pillow")
    with urlopen(f"{address}api/stores/tiles/tiles/2/thumbnail.png?size=40") as told:
        assert told.headers["Content-Type"] == "image/png"
        assert told.read(4) == b"\x89PNG"
    with urlopen(f"{address}api/stores/tiles/tiles/2/save.csv?modality=aster") as told:
        name = Store.open(store).coordinates.tile_id[2]
        assert told.headers["Content-Disposition"] == f'attachment; filename="{name}_aster.csv"'
    with urlopen(f"{address}api/bundles/second/pretext") as told:
        assert json.load(told)["patch"] == 16
    with urlopen(f"{address}api/bundles/second/reconstruct/tiles/2?ratio=0.5&seed=1") as told:
        assert unpack(told.read())[0]["visible"].count("1") == 2
    with urlopen(f"{address}api/runs/first/config") as told:
        assert json.load(told)["fields"]["recipe.name"] == "first"


@pytest.mark.parametrize(
    ("path", "status", "what"),
    [
        ("stores/nothing/tiles/2", 404, "no store 'nothing' is open"),
        ("stores/tiles/tiles/99999", 422, "there is no tile 99999"),
        ("stores/tiles/tiles/2/thumbnail.png?size=big", 400, "'size' is 'big'"),
        (f"stores/tiles/tiles/2/thumbnail.png?size={'9' * 5000}", 400, "'size' is '9999"),
        ("stores/tiles/tiles/2/thumbnail.png?size=100000", 422, "size is 100000"),
        ("stores/tiles/tiles/2/save.exe", 422, "tiles are not saved as 'exe'"),
        ("stores/tiles/tiles/2/save.tif?modality=..%2Fx", 422, "no modality '../x'"),
        ("stores/tiles/tiles/-1", 404, "there is no such page"),
        ("stores/tiles/find?text=zzz", 404, "no tile has 'zzz' in its id"),
        (f"stores/tiles/find?text={'9' * 5000}", 400, "'text' is '9999"),
        (f"stores/tiles/find?text={'9' * 400}", 404, "no tile has '9999"),
        ("bundles/nothing/pretext", 404, "no bundle 'nothing' is open"),
        ("bundles/encoder/pretext", 422, "holds an encoder only"),
        ("bundles/first/reconstruct/tiles/2?ratio=half", 400, "'ratio' is 'half'"),
        ("bundles/first/reconstruct/tiles/2?ratio=nan", 400, "'ratio' is 'nan'"),
        ("bundles/first/reconstruct/tiles/2?ratio=1.5", 400, "'ratio' is '1.5'"),
        ("bundles/first/reconstruct/tiles/2?seed=inf", 400, "'seed' is 'inf'"),
        ("bundles/first/reconstruct/tiles/2?seed=nan", 400, "'seed' is 'nan'"),
        ("bundles/first/reconstruct/tiles/2?seed=1e30", 400, "'seed' is '1e30'"),
        ("bundles/first/reconstruct/tiles/2?seed=-1", 400, "'seed' is '-1'"),
        (f"bundles/first/reconstruct/tiles/2?seed={'9' * 5000}", 400, "'seed' is '9999"),
        ("bundles/first/reconstruct/tiles/2?visible=0000", 422, "no patch is visible"),
        ("runs/nothing/metrics", 404, "no run 'nothing' is open"),
        ("runs/first/metrics?offset=x", 400, "'offset' is 'x'"),
        (f"runs/first/metrics?offset={'9' * 5000}", 400, "'offset' is '9999"),
    ],
)
def test_what_is_wrong_is_said(address: str, path: str, status: int, what: str) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{address}api/{path}")
    told = json.load(refused.value)
    refused.value.close()
    assert refused.value.code == status
    assert what in told["what"]

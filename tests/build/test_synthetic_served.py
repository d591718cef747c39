"""An archive of the synthetic Earth built from: its files, and its server on the loopback, against the planet."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pystac_client
import pytest

from geopretext.build.file_server import serve_files
from geopretext.build.grid import Grid
from geopretext.build.places import read_places
from geopretext.build.recipe import load_build_recipe
from geopretext.build.synthetic_archive import write_archive
from geopretext.build.synthetic_check import EXPECTED, Difference, bilinear_sentinel2, compare, is_expected
from geopretext.build.synthetic_granules import ArchiveSettings
from geopretext.build.synthetic_server import serve_archive
from geopretext.build.synthetic_truth import truth
from geopretext.build.tiles import TileMaker
from geopretext.errors import InputError, StoreError

SIZE = 32


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive") / "planet"
    write_archive(root, ArchiveSettings(granules=1, size=126, dates=3, places=12, tile_size=SIZE), workers=1)
    return root


def ask(url: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


class TestFiles:
    def test_ranges_are_answered(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "a.bin").write_bytes(bytes(range(200)))
        (tmp_path / "secret").touch()
        with serve_files(tmp_path / "folder") as url:
            assert url.startswith("http://127.0.0.1:")
            status, headers, body = ask(f"{url}/a.bin", Range="bytes=10-19")
            assert (status, body, headers["Content-Range"]) == (206, bytes(range(10, 20)), "bytes 10-19/200")
            assert ask(f"{url}/a.bin", Range="bytes=-5")[2] == bytes(range(195, 200))
            assert ask(f"{url}/a.bin", Range="bytes=500-600")[0] == 416
            status, headers, body = ask(f"{url}/a.bin", method="HEAD")
            assert (status, headers["Content-Length"], headers["Accept-Ranges"], body) == (200, "200", "bytes", b"")
            assert ask(f"{url}/b.bin")[0] == 404
            assert ask(f"{url}/../secret")[0] == 403
            port = int(url.rsplit(":", 1)[1])
            with pytest.raises(InputError, match=f"port {port} of 127"), serve_files(tmp_path, port=port):
                pass
        with pytest.raises(urllib.error.URLError):
            ask(f"{url}/a.bin")

    def test_answers_are_logged_and_may_be_late(self, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(bytes(200))
        with serve_files(tmp_path, log=tmp_path / "log", delay=0.2) as url:
            start = time.monotonic()
            ask(f"{url}/a.bin", Range="bytes=10-19")
            ask(f"{url}/b.bin")
            assert time.monotonic() - start > 0.35
        lines = [line.split("\t") for line in (tmp_path / "log").read_text().splitlines()]
        assert [(line[0], line[3]) for line in lines] == [("206", "/a.bin"), ("404", "/b.bin")]
        assert lines[0][2] == "10"
        assert float(lines[0][1]) > 0.15

    def test_there_must_be_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is no folder"), serve_files(tmp_path / "nowhere"):
            pass


class TestServer:
    def test_an_api_finds_items_whose_files_are_served(self, archive: Path) -> None:
        with serve_archive(archive) as served:
            client = pystac_client.Client.open(served.stac)
            found = list(client.search(collections=["sentinel-1-rtc"]).items())
            assert len(found) == len(list(archive.glob("sentinel-1-rtc/*/")))
            status, _, body = ask(found[0].assets["vv"].href, Range="bytes=0-3")
            assert (status, body) == (206, b"II*\0")
            recipe = load_build_recipe(served.recipe)
            assert recipe.archives["l1c"]["url"] == served.stac
            assert recipe.archives["climate"]["path"].startswith(served.files)

    def test_without_rustac_the_items_are_a_file(self, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geopretext.build.synthetic_server._rustac", lambda: None)
        with serve_archive(archive) as served:
            assert served.stac == ""
            items = json.loads(ask(load_build_recipe(served.recipe).archives["l2a"]["items"])[2])
            assert all(ask(asset["href"], method="HEAD")[0] == 200 for asset in items["features"][0]["assets"].values())

    def test_there_must_be_an_archive(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="holds no finished archive"), serve_archive(tmp_path):
            pass


def differences(archive: Path, recipe: Path) -> dict[str, tuple[int, Difference]]:
    """Of each modality: at how many tiles it is, and how it differs from the planet."""
    made = TileMaker(load_build_recipe(recipe, {"tile_size": SIZE})).make(read_places(archive / "places.parquet"))
    assert [outcome.reason for outcome in made.outcomes] == [None] * 12
    at = made.batch.coordinates
    grids = [Grid(int(crs), t[2], t[5], SIZE, SIZE) for crs, t in zip(at.crs, at.transform, strict=True)]
    records = [json.loads(text) for text in at.source_items]
    result = {}
    for name in EXPECTED:
        tiles = [
            (made.batch.arrays[name][i], grids[i], records[i][name])
            for i in range(12)
            if "missing" not in records[i][name][0]
        ]
        result[name] = (len(tiles), compare(name, tiles))
    return result


# rasterio silences this warning by `warnings.catch_warnings`, which is lost when several threads do so at once.
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestBuild:
    def test_tiles_from_files_are_the_planet(self, archive: Path) -> None:
        for name, (count, found) in differences(archive, archive / "recipe.yaml").items():
            assert count >= (12 if not name.startswith(("sentinel2_scl", "sentinel2_cloudprod")) else 3), name
            assert is_expected(name, found), (name, found)

    @pytest.mark.slow
    def test_tiles_from_the_server_are_the_same(self, archive: Path) -> None:
        with serve_archive(archive) as served:
            assert differences(archive, served.recipe) == differences(archive, archive / "recipe.yaml")


class TestComparison:
    """The yardstick itself."""

    GRID = Grid(32632, 431230.0, 5150170.0, 32, 32)
    WHEN = np.datetime64("2019-07-04T10:30:00", "s")

    def record(self) -> list[dict[str, str]]:
        return [{"date": f"{self.WHEN}Z", "level": "L2A"}]

    def test_bands_of_10_m_are_themselves_and_others_between_their_pixels(self) -> None:
        values, valid = bilinear_sentinel2(self.GRID, time=self.WHEN, level="L2A")
        true = truth("sentinel2", self.GRID, time=self.WHEN)
        assert valid[[1, 2, 3, 8]].all()
        assert np.array_equal(values[[1, 2, 3, 8]], true[[1, 2, 3, 8]])
        coarse = true[11].astype(float)
        assert not np.array_equal(values[11], coarse)
        # Between two pixels of 20 m lie, a quarter and three quarters of the way, two of 10 m. The grid begins at an
        # odd multiple of 10 m, so that the first pixel is the right half of one of 20 m.
        left, right = coarse[0, 0], coarse[0, 1]
        assert values[11, 0, 0] != left or left == right
        row = bilinear_sentinel2(Grid(32632, 431220.0, 5150180.0, 32, 32), time=self.WHEN, level="L2A")[0]
        assert np.array_equal(row[:, 1:, 1:], values[:, :-1, :-1])

    def test_a_shift_of_a_pixel_is_seen(self) -> None:
        values, _ = bilinear_sentinel2(self.GRID, time=self.WHEN, level="L2A")
        numbers = np.rint(values).astype(np.uint16)
        good = compare("sentinel2", [(numbers, self.GRID, self.record())])
        assert is_expected("sentinel2", good)
        shifted = compare("sentinel2", [(np.roll(numbers, 1, axis=2), self.GRID, self.record())])
        assert not is_expected("sentinel2", shifted)
        offset = compare("sentinel2", [(np.where(numbers > 0, numbers + 1000, 0), self.GRID, self.record())])
        assert offset.error == pytest.approx(1000, abs=1)
        lost = compare("sentinel2", [(np.where(numbers > 2000, numbers, 0), self.GRID, self.record())])
        assert lost.missing > 0.1

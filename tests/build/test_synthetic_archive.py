"""An archive of the synthetic Earth on disk: real COGs, sound STAC, the planet's own numbers, finished or refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from pystac.validation import validate_dict
from rasterio.vrt import WarpedVRT

from geopretext.build.grid import Grid
from geopretext.build.places import read_places
from geopretext.build.recipe import load_build_recipe
from geopretext.build.synthetic_archive import archive_settings, write_archive
from geopretext.build.synthetic_cogs import Layer, write_cog
from geopretext.build.synthetic_granules import ArchiveSettings, Granule, granules_of, places_in
from geopretext.build.synthetic_images import asset_name
from geopretext.build.synthetic_items import COLLECTIONS, UNFINISHED
from geopretext.build.synthetic_maps import square_name
from geopretext.build.synthetic_truth import climate, truth
from geopretext.data.synthetic.optics import BANDS, RESOLUTION
from geopretext.errors import InputError, StoreError

SETTINGS = ArchiveSettings(granules=2, size=126, dates=3, places=10, tile_size=32, center=(-8.4, -118.5))
GRANULES = granules_of(SETTINGS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive") / "planet"
    summary = write_archive(root, SETTINGS, workers=1)
    assert summary.items == summary.written == len(items_of(root))
    return root


def items_of(root: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in root.glob("*/*/*.json")}


def read(root: Path, item: dict, key: str) -> np.ndarray:
    with rasterio.open(root / item["collection"] / item["id"] / item["assets"][key]["href"]) as file:
        return file.read(1)


def granule_of(item: dict) -> Granule:
    return next(granule for granule in GRANULES if f"T{granule.name}" in item["id"])


def when(item: dict) -> np.datetime64:
    return np.datetime64(item["properties"]["datetime"].rstrip("Z"), "s")


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


class TestImages:
    def test_bands_are_the_planet_at_native_resolution(self, archive: Path) -> None:
        images = [item for item in items_of(archive).values() if "s2:processing_baseline" in item["properties"]]
        assert len(images) == 2 * SETTINGS.granules * SETTINGS.dates
        kinds = set()
        for item in images:
            level = item["collection"][-3:].upper()
            facts = item["properties"]
            baseline, applied = facts["s2:processing_baseline"], facts.get("earthsearch:boa_offset_applied")
            kinds.add((level, baseline, applied))
            added = 1000 if baseline == "05.00" and not applied else 0
            grid = granule_of(item).grid
            true = truth("sentinel2", grid, time=when(item), level=level).astype(int)
            for metres, bands in RESOLUTION.items():
                for band in bands:
                    if (level, band) == ("L2A", "B10"):
                        assert "B10" not in item["assets"]
                        continue
                    numbers = read(archive, item, asset_name(band)).astype(int)
                    wanted = true[BANDS.index(band), :: metres // 10, :: metres // 10]
                    assert np.array_equal(numbers, np.where(wanted > 0, wanted + added, 0)), (item["id"], band)
            classes = truth("sentinel2_scl", grid, time=when(item))[0]
            share = 100 * np.isin(classes, (8, 9, 10)).sum() / (classes > 0).sum()
            assert facts["eo:cloud_cover"] == pytest.approx(share, abs=1e-3)
            assert ("SCL" in item["assets"]) == (level == "L2A")
            if level == "L2A":
                assert np.array_equal(read(archive, item, "SCL"), classes[::2, ::2])
        assert kinds == {
            ("L1C", "05.00", None),
            ("L1C", "02.12", None),
            ("L2A", "05.00", None),
            ("L2A", "02.12", None),
            ("L2A", "05.00", True),
        }

    def test_radar_is_linear_power_of_one_orbit(self, archive: Path) -> None:
        passes = [item for item in items_of(archive).values() if item["collection"] == "sentinel-1-rtc"]
        assert {item["properties"]["sat:orbit_state"] for item in passes} == {"ascending", "descending"}
        for item in passes:
            first = 0 if item["properties"]["sat:orbit_state"] == "ascending" else 4
            true = truth("sentinel1", granule_of(item).grid, time=when(item))
            assert item["properties"]["sar:polarizations"] == ["VV", "VH"]
            for band, key in enumerate(("vv", "vh")):
                power = read(archive, item, key)
                assert (power > 0).all()
                np.testing.assert_allclose(10 * np.log10(power), true[first + band], atol=1e-5)

    def test_dates_follow_each_other_within_a_week(self) -> None:
        for granule in GRANULES:
            assert len(granule.days) == SETTINGS.dates
            for _, day in granule.radar:
                assert np.abs(np.array(granule.days) - day).min() <= np.timedelta64(6, "D")


class TestMaps:
    def test_dynamic_world_is_on_the_granules_grid(self, archive: Path) -> None:
        maps = [item for item in items_of(archive).values() if item["collection"] == "dynamic-world"]
        assert len(maps) == 2 * SETTINGS.granules
        for item in maps:
            year = item["id"].split("_")[1]
            assert item["properties"]["start_datetime"] == f"{year}-01-01T00:00:00Z"
            assert np.array_equal(read(archive, item, "label"), truth("dynamic_world", granule_of(item).grid)[0])

    def test_squares_of_a_degree_cover_the_granules(self, archive: Path) -> None:
        found = {item["id"]: item for item in items_of(archive).values() if item["collection"] == "cop-dem-glo-30"}
        for granule in GRANULES:
            lat, lon = granule.grid.center
            item = found[square_name("cop-dem-glo-30", (int(np.floor(lat)), int(np.floor(lon))))[1]]
            height = read(archive, item, "data")
            assert height.shape == (3600, 3600)
            a, _, west, _, e, north = item["assets"]["data"]["proj:transform"]
            true = truth("aster", granule.grid)[0]
            seen = height[int((lat - north) / e), int((lon - west) / a)]
            assert seen == pytest.approx(true[63, 63], abs=15)
            assert (height != -9999).mean() < 0.01

    def test_land_cover_is_that_of_the_nearest_pixel(self, archive: Path) -> None:
        granule = GRANULES[0]
        lat, lon = granule.grid.center
        _, item = square_name("esa-worldcover", (int(np.floor(lat)), int(np.floor(lon))))
        on_grid = {
            "crs": f"EPSG:{granule.grid.crs}",
            "transform": rasterio.Affine(*granule.grid.transform),
            "height": SETTINGS.size,
            "width": SETTINGS.size,
        }
        with rasterio.open(archive / "esa-worldcover" / item / "map.tif") as file, WarpedVRT(file, **on_grid) as there:
            codes = there.read(1)
        assert np.mean(codes == truth("esa_worldcover", granule.grid)[0]) > 0.99


class TestClimate:
    def test_cells_near_granules_have_the_planets_months(self, archive: Path) -> None:
        data = xr.open_zarr(archive / "era5-land-monthly.zarr", chunks=None)
        assert str(data.time.values[0])[:7] == "2018-01"  # the year before, of which the months of a year may be
        assert data.indexes["latitude"].is_monotonic_decreasing
        for granule in GRANULES:
            lat, lon = (np.round(np.array([degrees]), 1) for degrees in granule.grid.center)
            cell = data.sel(latitude=lat[0], longitude=lon[0], time="2019-07-01", method="nearest")
            true = climate(0, lat=lat, lon=lon, times=np.array(["2019-07-15"], "datetime64[s]"))[0, 4:8]
            seen = [cell[name].item() for name in cell.data_vars if name != "total_precipitation_sum"]
            np.testing.assert_allclose(sorted(seen), sorted(true[:3]), rtol=1e-5)
            assert cell.total_precipitation_sum.item() == pytest.approx(true[3], rel=1e-5)
        assert np.isnan(data.temperature_2m.sel(latitude=0, longitude=0, method="nearest")).all()


class TestCogs:
    def test_the_layout_is_that_of_a_cog(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(1, 3000, (1098, 1100)).astype(np.uint16)
        write_cog(tmp_path / "a.tif", Layer(values, (10.0, 0.0, 3e5, 0.0, -10.0, 5e6), 32633, nodata=0))
        with rasterio.open(tmp_path / "a.tif") as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.block_shapes == [(512, 512)]
            assert file.overviews(1) == [2, 4]
            assert (file.nodata, file.crs.to_epsg(), file.compression.name) == (0, 32633, "deflate")
            assert np.array_equal(file.read(1), values)
            headers = [int(file.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, ovr=ovr)) for ovr in (None, 0, 1)]
            blocks = [int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=ovr)) for ovr in (None, 0, 1)]
        assert headers == sorted(headers)
        assert max(headers) < min(blocks)
        assert blocks == sorted(blocks, reverse=True)  # the coarsest overview first, as readers of a preview like it

    def test_every_file_says_what_its_item_says(self, archive: Path) -> None:
        for item in items_of(archive).values():
            for key, asset in item["assets"].items():
                with rasterio.open(archive / item["collection"] / item["id"] / asset["href"]) as file:
                    assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                    assert file.profile["tiled"]
                    assert list(file.shape) == asset["proj:shape"], (item["id"], key)
                    assert list(file.transform)[:6] == pytest.approx(asset["proj:transform"])
                    assert f"EPSG:{file.crs.to_epsg()}" == item["properties"]["proj:code"]


class TestStac:
    def test_items_and_collections_are_valid(self, archive: Path) -> None:
        # The schemas of extensions are on the network only; the rest comes with pystac.
        for path in (archive / "catalog.json", *archive.glob("*/collection.json"), *archive.glob("*/*/*.json")):
            validate_dict({**json.loads(path.read_text()), "stac_extensions": []})

    def test_the_catalogue_leads_to_every_file(self, archive: Path) -> None:
        catalogue = pystac.Catalog.from_file(str(archive / "catalog.json"))
        assert {collection.id for collection in catalogue.get_children()} == set(COLLECTIONS)
        found = list(catalogue.get_items(recursive=True))
        assert {item.id for item in found} == set(items_of(archive))
        for item in found:
            for asset in item.get_assets().values():
                assert Path(asset.get_absolute_href()).is_file()
        assert str(archive) not in (archive / "catalog.json").read_text()

    def test_one_file_has_all_items_with_absolute_paths(self, archive: Path) -> None:
        plain = json.loads((archive / "items.json").read_text())
        assert {item["id"] for item in plain["features"]} == set(items_of(archive))
        assert all(Path(asset["href"]).is_file() for item in plain["features"] for asset in item["assets"].values())

    def test_the_recipe_names_the_files(self, archive: Path) -> None:
        recipe = load_build_recipe(archive / "recipe.yaml")
        assert {archive["kind"] for archive in recipe.archives.values()} == {"stac", "climate"}
        for options in recipe.archives.values():
            assert Path(options.get("items") or options["path"]).exists()


class TestPlaces:
    def test_they_lie_evenly_within_the_granules(self, archive: Path) -> None:
        places = read_places(archive / "places.parquet")
        for number, granule in enumerate(GRANULES):
            ours = places.take(np.arange(number, len(places), len(GRANULES)))
            assert len(ours) == SETTINGS.places // 2
            left, bottom, right, top = granule.grid.bounds
            for lat, lon in zip(ours.lat, ours.lon, strict=True):
                tile = Grid.around(lat=lat, lon=lon, crs=granule.grid.crs, size=SETTINGS.tile_size).bounds
                assert left <= tile[0] < tile[2] <= right
                assert bottom <= tile[1] < tile[3] <= top

    def test_more_places_begin_with_the_same(self) -> None:
        few, many = (places_in(replace(SETTINGS, places=count), GRANULES) for count in (10, 30))
        assert np.array_equal(many.lat[:10], few.lat)
        assert len(np.unique(many.lat)) == 30


class TestGranules:
    def test_they_are_scattered_over_land_in_their_zones(self) -> None:
        granules = granules_of(ArchiveSettings(granules=12, size=480, dates=2))
        outlines = [granule.grid.outline() for granule in granules]
        assert not any(a.intersects(b) for i, a in enumerate(outlines) for b in outlines[:i])
        assert len({granule.grid.crs for granule in granules}) > 6
        for granule in granules:
            assert granule.grid.left % 60 == granule.grid.top % 60 == 0

    def test_around_a_center_they_overlap_by_little(self) -> None:
        granules = granules_of(ArchiveSettings(granules=4, size=480, dates=2, center=(-12.5, 130.2)))
        grids = [granule.grid for granule in granules]
        assert {grid.crs for grid in grids} == {32752}
        assert [grid.left - grids[0].left for grid in grids] == [0, 3840, 0, 3840]
        assert [grids[0].top - grid.top for grid in grids] == [0, 0, 3840, 3840]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"size": 100}, "multiple of 6"),
            ({"size": 60}, "size is 60"),
            ({"granules": 0}, "granules is 0"),
            ({"dates": 800}, "800 dates in 731 days"),
            ({"years": (2020, 2019)}, "years are 2020 to 2019"),
            ({"years": (2010, 2012)}, "years are 2010 to 2012"),
            ({"center": (88.0, 0.0)}, "center is 88,0"),
            ({"tile_size": 500}, "tile_size is 500"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, changes: dict, said: str) -> None:
        with pytest.raises(InputError, match=said):
            replace(SETTINGS, **changes)

    def test_granules_beyond_the_zone_are_refused(self) -> None:
        with pytest.raises(InputError, match="leave UTM zone 33"):
            granules_of(ArchiveSettings(granules=900, size=4098, dates=1, center=(40.0, 15.0)))


class TestFinishing:
    def test_a_complete_archive_is_left_as_it_is(self, archive: Path) -> None:
        before = contents(archive)
        assert write_archive(archive, SETTINGS, workers=1).written == 0
        assert contents(archive) == before
        assert archive_settings(archive) == SETTINGS

    def test_one_that_was_interrupted_is_finished_alike(self, archive: Path, tmp_path: Path) -> None:
        root = Path(shutil.copytree(archive, tmp_path / "planet"))
        lost = sorted(path.parent for path in root.glob("*/*/*.json"))[::5]
        for folder in lost:
            folder.rename(folder.with_name(f"{UNFINISHED}{folder.name}"))
        shutil.rmtree(root / "era5-land-monthly.zarr")
        (root / "catalog.json").unlink()
        marker = json.loads((root / "archive.json").read_text())
        (root / "archive.json").write_text(json.dumps({**marker, "complete": False}))
        told = []
        summary = write_archive(root, SETTINGS, workers=1, progress=lambda done, total: told.append((done, total)))
        assert summary.written == len(lost)
        assert told[-1][0] == told[-1][1]
        moved = {"recipe.yaml", "items.json"}  # these name the folder
        after, before = contents(root), contents(archive)
        assert after.keys() == before.keys()
        assert [name for name in after if after[name] != before[name] and name not in moved] == []

    def test_other_settings_are_refused(self, archive: Path) -> None:
        with pytest.raises(StoreError, match="holds an archive with size 126, not 192"):
            write_archive(archive, replace(SETTINGS, size=192))

    def test_another_folder_is_not_touched(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(StoreError, match="no archive of the synthetic Earth"):
            write_archive(tmp_path, SETTINGS)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    @pytest.mark.parametrize("text", ["", "{}", '{"format": "synthetic Earth archive", "version": 9}'])
    def test_a_marker_that_cannot_be_read_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "archive.json").write_text(text)
        with pytest.raises(StoreError, match=r"archive\.json: cannot be read"):
            archive_settings(tmp_path)

    def test_another_version_is_refused(self, archive: Path, tmp_path: Path) -> None:
        plain = json.loads((archive / "archive.json").read_text())
        (tmp_path / "archive.json").write_text(json.dumps({**plain, "version": 2}))
        with pytest.raises(StoreError, match="of version 2"):
            archive_settings(tmp_path)

    @pytest.mark.slow
    def test_several_processes_write_the_same(self, archive: Path, tmp_path: Path) -> None:
        write_archive(tmp_path / "planet", SETTINGS, workers=2)
        after, before = contents(tmp_path / "planet"), contents(archive)
        moved = {"recipe.yaml", "items.json"}
        assert {k: v for k, v in after.items() if k not in moved} == {k: v for k, v in before.items() if k not in moved}

"""Features, scenes and pictures from whichever inputs of an encoder there are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.tiles import TileReader
from geopretext.errors import BandError, GridError, InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.fused_settings import FusedSettings
from geopretext.nn.settings import AutoencoderSettings
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.door_report import door_lines
from geopretext.predict.embedding_map import EmbeddingOptions, embed_scene
from geopretext.predict.features import tile_features
from geopretext.predict.joined_scene import join_scenes
from geopretext.predict.reconstruct import reconstruct
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_door import DoorOptions, open_scene_door
from geopretext.predict.scene_run import RunOptions
from geopretext.predict.tile_embeddings import embed_tiles

BANDS = {"sentinel2": ("B2", "B8A", "B11"), "sentinel1": ("asc_VV", "asc_VH"), "aster": ("elevation", "slope")}
OPTICAL, RADAR = slice(0, 3), slice(3, 5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("several") / "tiles.zarr"
    write_synthetic_store(path, count=12, workers=1)
    return Store.open(path)


@pytest.fixture(scope="module")
def bundle(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    inputs = [PUBLISHED[name].select(bands) for name, bands in BANDS.items()]
    encoder = FusedSettings(size="micro", inputs=BANDS, image_size=32)
    targets = {modality.name: modality for modality in inputs}
    network = MaskedAutoencoder(encoder, AutoencoderSettings(decoder_dim=32), inputs=inputs, targets=targets)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp("bundles") / "fused"
    assert store.statistics is not None
    statistics = store.statistics.to_dict()
    save_bundle(folder, network, statistics=statistics, recipe={}, metrics={}, ground_sampling_distance=10.0)
    return folder


class Fewer:
    """A store that lacks modalities."""

    def __init__(self, store: Store, *names: str) -> None:
        self._store = store
        self.modalities = {name: m for name, m in store.modalities.items() if name not in names}

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def __len__(self) -> int:
        return len(self._store)


def without(store: Store, *names: str) -> TileReader:
    return Fewer(store, *names)  # type: ignore[return-value]  # passes on what it does not have


def by_hand(encoder: Encoder, store: Store, *, absent: slice | None = None) -> np.ndarray:
    """The features of the whole encoder on numbers standardised here, 0 where an input is absent."""
    everything = np.arange(len(store))
    parts = []
    for name, bands in BANDS.items():
        modality = store.modalities[name]
        values, valid = modality.decode(store.read([name], everything)[name])
        rows = list(modality.band_indices(bands))
        stored = store.coordinates.levels.get(name)
        for tile in everything:
            level = modality.levels[stored[tile]] if stored is not None else "all"
            mean, std = (np.asarray(part, np.float32) for part in encoder.alone(name).statistics[level])
            standard = (values[tile, rows] - mean[:, None, None]) / std[:, None, None]
            parts.append(np.where(valid[tile, rows], standard, 0))
    count = len(store)
    image = np.concatenate([np.stack(parts[n * count : (n + 1) * count]) for n in range(3)], 1).astype(np.float32)
    if absent is not None:
        image[:, absent] = 0
    with torch.inference_mode():
        features: np.ndarray = encoder.features(torch.from_numpy(image)).numpy()
    return features


def test_features_use_the_inputs_that_the_tiles_have(store: Store, bundle: Path) -> None:
    encoder = Encoder.from_pretrained(bundle)
    both = tile_features(encoder, store)
    np.testing.assert_allclose(both, by_hand(encoder, store), rtol=1e-3, atol=1e-4)
    dark = tile_features(encoder, without(store, "sentinel2"))
    np.testing.assert_allclose(dark, by_hand(encoder, store, absent=OPTICAL), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(dark, tile_features(encoder.given(["aster", "sentinel1"]), store))
    assert not np.allclose(both, dark, atol=1e-2)


def test_an_encoder_that_is_given_nothing_says_so(store: Store, bundle: Path) -> None:
    encoder = Encoder.from_pretrained(bundle)
    with pytest.raises(InputError, match="'sentinel2' or 'sentinel1' or 'aster'"):
        tile_features(encoder, without(store, *BANDS))
    with pytest.raises(InputError, match="no input 'era5'"):
        encoder.given(["era5"])
    with pytest.raises(InputError, match="given no input"):
        encoder.given([])


def test_a_given_encoder_is_a_bundle_of_its_own(store: Store, bundle: Path, tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(bundle)
    radar = encoder.given(["sentinel1"])
    assert (radar.bands, radar.absent) == (BANDS["sentinel1"], ("sentinel2", "aster"))
    assert radar.relations == encoder.relations["sentinel1"]
    assert set(radar.statistics) == {"all"}
    assert encoder.given(list(BANDS)) is encoder
    radar.save_pretrained(tmp_path / "radar")
    again = Encoder.from_pretrained(tmp_path / "radar")
    np.testing.assert_array_equal(tile_features(again, store), tile_features(radar, store))
    assert "Any of its inputs may be absent" in (bundle / "README.md").read_text()


def test_a_table_of_tiles_says_which_inputs_made_it(store: Store, bundle: Path, tmp_path: Path) -> None:
    from geopretext.predict.embedding_table import EmbeddingTable

    embed_tiles(Encoder.from_pretrained(bundle), without(store, "aster"), tmp_path / "t.parquet")
    facts = EmbeddingTable.open(tmp_path / "t.parquet").facts
    assert facts["inputs"] == {"used": ["sentinel2", "sentinel1"], "absent": ["aster"]}


def scene(name: str, *, side: int = 64, east: float = 0.0) -> ArrayScene:
    units = {"sentinel2": "reflectance x 10000", "sentinel1": "dB", "aster": "m"}
    centre = {"sentinel2": 1500.0, "sentinel1": -12.0, "aster": 300.0}[name]
    values = np.random.default_rng(len(name)).normal(centre, abs(centre) / 5, (len(BANDS[name]), side, side))
    return ArrayScene(
        values.astype(np.float32),
        BANDS[name],
        units[name],
        Georeference("EPSG:32632", (10.0, 0.0, 500000.0 + east, 0.0, -10.0, 5000000.0)),
        level="L2A" if name == "sentinel2" else None,
        where=f"{name}.tif",
    )


def test_a_scene_may_be_radar_alone(bundle: Path) -> None:
    encoder = Encoder.from_pretrained(bundle).given(["sentinel1"])
    door = open_scene_door(scene("sentinel1"), encoder)
    assert door.record["statistics"] == "bundle"
    assert door.record["inputs"] == {"used": ["sentinel1"], "absent": ["sentinel2", "aster"]}
    assert "inputs used: sentinel1; without sentinel2, aster" in door_lines(door.record)[0]


def test_optical_and_radar_go_through_doors_of_their_own(bundle: Path) -> None:
    encoder = Encoder.from_pretrained(bundle).given(["sentinel2", "sentinel1"])
    optical, radar = scene("sentinel2"), scene("sentinel1")
    optical = replace(optical, valid=np.arange(64)[:, None] * np.ones(64) >= 20)
    radar = replace(radar, valid=np.arange(64)[:, None] * np.ones(64) < 40)
    door = open_scene_door(join_scenes([optical, radar]), encoder)
    assert [one["unit"] for one in door.record["by_input"].values()] == ["reflectance x 10000", "dB"]
    lines = door_lines(door.record)
    assert any(line.startswith("sentinel1: unit: dB") for line in lines)
    from geopretext.predict.windows import Windows

    windows = Windows.of(64, 64, patch=8, cell=8, size=64, margin=0, ramp=0)
    for each in (door, door.closed()(door.scene)):
        x, seen = each.read(windows, [0])
        assert seen.all()  # everywhere one of them was observed
        expected = []
        for one in (optical, radar):
            name = one.where.removesuffix(".tif")
            scales = encoder.alone(name).statistics
            mean, std = (np.asarray(part)[:, None, None] for part in scales["L2A" if one is optical else "all"])
            assert one.valid is not None
            expected.append(np.where(one.valid, (one.values - mean) / std, 0))
        np.testing.assert_allclose(x[0].numpy(), np.concatenate(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("names", "used"), [(("sentinel1",), ["sentinel1"]), (("sentinel2", "aster"), ["sentinel2", "aster"])]
)
def test_maps_of_embeddings_take_what_the_scene_has(
    bundle: Path, tmp_path: Path, names: tuple[str, ...], used: list[str]
) -> None:
    pytest.importorskip("rasterio")
    source = join_scenes([replace(scene(name), record={"kind": "array"}) for name in names])
    opener = source if isinstance(source, ArrayScene) else _Opener(source)
    run = RunOptions(door=DoorOptions(statistics="dataset"))
    record = embed_scene(opener, bundle, tmp_path / "e.tif", EmbeddingOptions("float32"), run)
    assert record["input"]["inputs"]["used"] == used
    assert (tmp_path / "e.tif").exists()
    json.dumps(record)


class _Opener:
    def __init__(self, scene: object) -> None:
        self.scene = scene

    def open(self) -> object:
        return self.scene


def test_scenes_that_do_not_lie_on_each_other_are_refused() -> None:
    optical = scene("sentinel2")
    with pytest.raises(GridError, match=r"sentinel1\.tif: has 32 x 32 pixels, sentinel2\.tif 64 x 64"):
        join_scenes([optical, scene("sentinel1", side=32)])
    with pytest.raises(GridError, match="has its pixels at"):
        join_scenes([optical, scene("sentinel1", east=5.0)])
    other = replace(scene("sentinel1"), georeference=Georeference("EPSG:32633", optical.georeference.transform))
    with pytest.raises(GridError, match="another projection"):
        join_scenes([optical, other])
    with pytest.raises(BandError, match="B2, B8A, B11 is in more than one"):
        join_scenes([optical, scene("sentinel2")])
    assert join_scenes([optical]) is optical
    assert join_scenes([optical, scene("sentinel1", east=0.05)]).bands == (*BANDS["sentinel2"], *BANDS["sentinel1"])


def test_bands_of_one_input_may_come_from_several_files(bundle: Path) -> None:
    """As those of ascending and descending orbits do; their unit is then that of these files, not of all."""
    encoder = Encoder.from_pretrained(bundle).given(["sentinel2", "sentinel1"])
    radar = scene("sentinel1")
    halves = [replace(radar, bands=(name,), values=radar.values[n : n + 1]) for n, name in enumerate(radar.bands)]
    apart = open_scene_door(join_scenes([scene("sentinel2"), *halves]), encoder)
    assert {name: one["statistics"] for name, one in apart.record["by_input"].items()} == {
        "sentinel2": "bundle",
        "sentinel1": "bundle",
    }
    from geopretext.predict.windows import Windows

    windows = Windows.of(64, 64, patch=8, cell=8, size=64, margin=0, ramp=0)
    together = open_scene_door(join_scenes([scene("sentinel2"), radar]), encoder)
    expected, _ = together.read(windows, [0])
    for door in (apart, apart.closed()(apart.scene)):
        assert torch.equal(door.read(windows, [0])[0], expected)


def test_a_file_that_nothing_is_read_of_is_refused(bundle: Path) -> None:
    encoder = Encoder.from_pretrained(bundle).given(["sentinel2"])
    unnamed = replace(scene("sentinel1"), bands=("VV", "VH"))
    with pytest.raises(BandError, match=r"sentinel1\.tif: has the bands VV, VH, none of which is used"):
        open_scene_door(join_scenes([scene("sentinel2"), unnamed]), encoder)
    options = DoorOptions(substitutes=(("asc_VV", "VV"), ("asc_VH", "VH")))
    both = Encoder.from_pretrained(bundle).given(["sentinel2", "sentinel1"])
    door = open_scene_door(join_scenes([scene("sentinel2"), unnamed]), both, options)
    assert door.record["by_input"]["sentinel1"]["unit"] == "dB"


def test_what_the_gate_says_of_several_inputs_names_the_level_of_each(bundle: Path) -> None:
    encoder = Encoder.from_pretrained(bundle).given(["sentinel2", "sentinel1"])
    gate = open_scene_door(join_scenes([scene("sentinel2"), scene("sentinel1")]), encoder).gate
    optical, radar = gate.reference.split("; ")
    assert optical.startswith("sentinel2: ")
    assert optical.endswith(" at level L2A")
    assert radar.startswith("sentinel1: ")
    assert "level" not in radar
    assert gate.level == "all"


def test_a_scene_of_something_else_is_refused(bundle: Path) -> None:
    from geopretext.predict.embedding_source import EmbeddingSource

    other = replace(scene("sentinel1"), bands=("HH", "HV"))
    with pytest.raises(BandError, match="no band of sentinel2, sentinel1, aster; they have HH, HV"):
        EmbeddingSource(bundle).of_scene(other, DoorOptions())


def test_pictures_show_what_a_hidden_input_is_predicted_to_be(store: Store, bundle: Path) -> None:
    everything = reconstruct(bundle, store, [0, 3])
    assert (everything.used, everything.absent) == (("sentinel2", "sentinel1", "aster"), ())
    dark = reconstruct(bundle, store, [0, 3], inputs=["sentinel1", "aster"])
    assert (dark.input.name, dark.absent) == ("sentinel1", ("sentinel2",))
    assert [target.everywhere for target in dark.targets] == [True, False, False]
    lacking = reconstruct(bundle, without(store, "sentinel2"), [0, 3])
    assert dark.compared is not None
    assert lacking.compared is not None
    for name, output in dark.compared.outputs.items():  # in units they differ: these tiles do not say their level
        assert torch.equal(output, lacking.compared.outputs[name])
    assert not np.allclose(dark.targets[0].prediction, everything.targets[0].prediction)
    with pytest.raises(InputError, match="no input 'era5'"):
        reconstruct(bundle, store, [0], inputs=["era5"])
    with pytest.raises(InputError, match="has no modality 'sentinel2'"):
        reconstruct(bundle, without(store, "sentinel2"), [0], inputs=["sentinel2"])

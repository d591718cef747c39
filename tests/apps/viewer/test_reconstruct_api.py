"""Reconstructions for the page: the patches that were asked for, and the numbers that ``reconstruct`` gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.apps.viewer.opened import BundleEntry
from geopretext.apps.viewer.packet import unpack
from geopretext.apps.viewer.reconstruct_api import (
    Loaded,
    Networks,
    describe_pretext,
    on_grid,
    parse_visible,
    reconstruct_packet,
    without_guesses,
)
from geopretext.data.statistics import Statistics
from geopretext.data.store import Store
from geopretext.errors import BundleError, GridError, InputError
from geopretext.modality import PUBLISHED, Observed
from geopretext.nn.fused_settings import FusedSettings
from geopretext.nn.masking import unpatchify
from geopretext.predict.reconstruct import Pretrained, Target, reconstruct
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings

from .pretrained import TARGETS, write_runs

TILE = 3
SOME = "1000" + "0110" + "0000" + "0001"


@pytest.fixture(scope="module")
def runs(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"), store)


@pytest.fixture(scope="module")
def reader(store: Path) -> Store:
    return Store.open(store)


def load(runs: Path, name: str) -> Loaded:
    return Networks().load(BundleEntry(name, name, runs / name / "bundle"))


def test_predictions_are_those_of_reconstruct(runs: Path, reader: Store) -> None:
    header, arrays = unpack(reconstruct_packet(load(runs, "first"), reader, TILE, visible=SOME))
    assert header["visible"] == SOME
    visible = np.array([letter == "1" for letter in SOME])[None]
    expected = reconstruct(runs / "first" / "bundle", reader, [TILE], visible=visible)
    assert [target["name"] for target in header["targets"]] == list(TARGETS)
    for target, told in zip(expected.targets, header["targets"], strict=True):
        if not target.modality.kind.is_map:
            assert told["rows"]
            continue
        prediction = arrays[f"{target.modality.name}/prediction"]
        known = ~np.isnan(prediction)
        believed = target.prediction[0].reshape(prediction.shape).astype(np.float32)
        assert np.array_equal(prediction[known], believed[known])
        assert known.all() or target.restored
        truth = arrays[f"{target.modality.name}/truth"].reshape(target.truth.values[0].shape)
        assert np.array_equal(np.isnan(truth), ~target.truth.valid[0])


def test_brightness_of_unseen_patches_is_not_made_up() -> None:
    valid = np.ones((1, 2, 8, 8), bool)
    valid[0, :, :4, 4:] = False  # nothing of the upper right patch
    valid[0, 0, 4:, :] = False  # one of two bands of the lower ones
    valid[0, 1, :4, 1:4] = False
    modality = PUBLISHED["sentinel2"].select(("B2", "B4"))
    prediction = np.ones((1, 2, 8, 8), np.float32)
    target = Target(modality, Observed(np.zeros((1, 2, 8, 8), np.float32), valid), prediction, restored=True)
    known = ~np.isnan(without_guesses(target, 2))
    expected = np.ones((2, 8, 8), bool)
    expected[:, :4, 4:] = False
    assert np.array_equal(known, expected)
    assert not np.isnan(without_guesses(replace(target, restored=False), 2)).any()


def test_losses_are_compared_only_where_they_mean_the_same(runs: Path, reader: Store) -> None:
    first = load(runs, "first")
    assert first.settings is not None

    def compared(loaded: Loaded) -> dict[str, str]:
        header, _ = unpack(reconstruct_packet(loaded, reader, TILE, visible="1001"))
        return {target["name"]: target["compared"] for target in header["targets"]}

    def scaled(factor: float) -> Loaded:
        """The same network, its Sentinel-1 standardised otherwise."""
        plain = json.loads(json.dumps(first.pretrained.statistics.to_dict()))
        for level in plain["modalities"]["sentinel1"]["bands"].values():
            for band in level.values():
                band["std"] *= factor
        return replace(first, pretrained=replace(first.pretrained, statistics=Statistics.from_dict(plain)))

    told = compared(first)
    assert compared(load(runs, "first")) == told == compared(scaled(1.0))
    assert {name for name, text in compared(scaled(2.0)).items() if text != told[name]} == {"sentinel1"}
    other = compared(load(runs, "second"))  # patches of another size, and trained on shown patches too
    assert {name for name in told if other[name] == told[name]} == {"era5", "biome"}
    nonzero = replace(first, settings=replace(first.settings, denominator="nonzero"))
    assert compared(nonzero)["sentinel1"] != told["sentinel1"]
    assert compared(replace(first, settings=None))["sentinel1"] is None


def test_errors_count_hidden_pixels_in_their_unit(runs: Path, reader: Store) -> None:
    header, arrays = unpack(reconstruct_packet(load(runs, "first"), reader, TILE, visible=SOME))
    shown = np.array([letter == "1" for letter in SOME]).reshape(4, 4).repeat(8, 0).repeat(8, 1)
    target = next(each for each in header["targets"] if each["name"] == "sentinel2")
    apart = np.abs(arrays["sentinel2/prediction"] - arrays["sentinel2/truth"])
    for place, told in enumerate(target["errors"]):
        assert told["band"] == TARGETS["sentinel2"][place]
        assert told["error"] == pytest.approx(float(np.nanmean(apart[place][~shown])), rel=1e-4)
        assert told["unit"] == "reflectance x 10000"
    classes = next(each for each in header["targets"] if each["name"] == "dynamic_world")
    hidden = ~shown & ~np.isnan(arrays["dynamic_world/truth"][0])
    wrong = arrays["dynamic_world/prediction"][0] != arrays["dynamic_world/truth"][0]
    assert classes["errors"][0]["error"] == pytest.approx(float(wrong[hidden].mean()))
    assert target["loss"] > 0
    assert classes["loss_is"] == "cross-entropy"


def test_chance_hides_as_many_as_asked_for(runs: Path, reader: Store) -> None:
    loaded = load(runs, "first")
    for ratio, shown in ((None, 8), (0.25, 12), (0.0, 16), (1.0, 1)):
        header, _ = unpack(reconstruct_packet(loaded, reader, TILE, ratio=ratio, seed=2))
        assert header["visible"].count("1") == shown
    patterns = {unpack(reconstruct_packet(loaded, reader, TILE, seed=seed))[0]["visible"] for seed in range(4)}
    assert len(patterns) == 4


def test_networks_of_other_patches_see_the_same_area(runs: Path, reader: Store) -> None:
    coarse = "1001"
    fine, _ = unpack(reconstruct_packet(load(runs, "first"), reader, TILE, visible=coarse))
    assert fine["visible"] == "1100" + "1100" + "0011" + "0011"
    own, _ = unpack(reconstruct_packet(load(runs, "second"), reader, TILE, visible=coarse))
    assert own["visible"] == coarse
    with pytest.raises(GridError, match=r"4 x 4 patches were chosen.* 2 x 2"):
        reconstruct_packet(load(runs, "second"), reader, TILE, visible=SOME)
    assert on_grid(np.ones((1, 1), bool), 3).shape == (3, 3)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"visible": "0" * 16}, "no patch is visible"),
        ({"visible": "101"}, "'visible' is '101'"),
        ({"visible": "12" * 8}, "'visible' is"),
        ({"ratio": 1.5}, "'ratio' is 1.5"),
        ({"tile": 500}, "no tile 500"),
    ],
)
def test_what_cannot_be_asked(runs: Path, reader: Store, given: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        reconstruct_packet(load(runs, "first"), reader, **{"tile": TILE, **given})
    assert parse_visible("") is None


def test_networks_are_kept_and_read_anew_when_they_change(runs: Path, store: Path, tmp_path: Path) -> None:
    networks = Networks()
    entry = BundleEntry("first", "first", write_runs(tmp_path, store) / "first" / "bundle")
    loaded = networks.load(entry)
    assert networks.load(entry) is loaded
    weights = entry.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert networks.load(entry) is not loaded
    told = describe_pretext(loaded)
    assert (told["patch"], told["mask_ratio"], told["known_loss"]) == (8, 0.5, True)
    with pytest.raises(BundleError, match="an encoder only"):
        networks.load(BundleEntry("encoder", "encoder", runs / "encoder"))
    weights.unlink()
    with pytest.raises(BundleError, match="has no weights"):
        networks.load(entry)


def test_a_network_of_several_inputs_sees_those_that_are_asked_for(reader: Store) -> None:
    inputs = {"sentinel2": ("B2", "B3", "B4"), "sentinel1": ("asc_VV", "asc_VH")}
    settings = MPMAESettings(
        targets={**inputs, "biome": None}, decoder_dim=16, standardise_patches=(), input_dropout=0.5
    )
    encoder = FusedSettings(size="micro", inputs=inputs, patch_size=8, image_size=32)
    torch.manual_seed(0)
    network = MPMAE(encoder, settings, reader.modalities).network.eval()
    assert reader.statistics is not None
    loaded = Loaded(Pretrained(network, reader.statistics), settings)
    told = describe_pretext(loaded)
    assert (told["inputs"], told["any_input"]) == (["sentinel2", "sentinel1"], True)
    both, _ = unpack(reconstruct_packet(loaded, reader, TILE, visible=SOME))
    assert both["inputs"] == {"used": ["sentinel2", "sentinel1"], "absent": []}
    radar, arrays = unpack(reconstruct_packet(loaded, reader, TILE, visible=SOME, inputs=("sentinel1",)))
    assert radar["inputs"] == {"used": ["sentinel1"], "absent": ["sentinel2"]}
    optical, seen = radar["targets"][:2]
    assert (optical["everywhere"], seen["everywhere"]) == (True, False)
    # as in training, an input that is not shown counts on all patches
    shown = parse_visible(SOME)
    assert shown is not None
    field = reconstruct(loaded.pretrained, reader, [TILE], visible=shown.reshape(1, -1), inputs=["sentinel1"])
    assert field.compared is not None
    output = unpatchify(field.compared.outputs["sentinel2"], 8, grid=(4, 4))
    truth = field.compared.fields["sentinel2"]
    assert optical["loss"] == pytest.approx(float((output - truth.values)[truth.valid].square().mean()), rel=1e-4)
    assert arrays["input"].shape[0] == 2

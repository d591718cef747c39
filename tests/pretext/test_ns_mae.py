"""NS-MAE over the Earth: its truth, its masks, its losses."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geopretext.errors import BandError, InputError, RecipeError
from geopretext.modality import PUBLISHED, Acquisition, Observed
from geopretext.nn import families
from geopretext.nn.columns import View
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.ns_mae import NSMAE
from geopretext.pretext.ns_mae_settings import NSMAESettings

BANDS = ("B4", "B8")
ENCODER = EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32)
SCALES = {"aster": {"elevation": (500.0, 200.0)}, "canopy_height_eth": {"height": (8.0, 10.0)}}
STATISTICS = {
    "modalities": {
        name: {"bands": {"all": {band: {"mean": mean, "std": std} for band, (mean, std) in bands.items()}}}
        for name, bands in SCALES.items()
    }
}
SMALL = {"height_range": 100.0, "height_bins": 5, "bin_growth": 1.0, "decoder_dim": 32}


def made(encoder: Any = ENCODER, **settings: Any) -> NSMAE:
    torch.manual_seed(0)
    method = NSMAE(encoder, NSMAESettings(**{**SMALL, **settings}), PUBLISHED)
    method.learn_scales(STATISTICS)
    return method


def standardised(name: str, metres: np.ndarray) -> Tensor:
    ((mean, std),) = SCALES[name].values()
    return torch.tensor((metres - mean) / std, dtype=torch.float32)[:, None]


def batch(count: int = 2, side: int = 32, seed: int = 0) -> tuple[dict[str, Observed[Tensor]], Any, Any]:
    """Fields, and elevation and canopy height in metres."""
    generator = np.random.default_rng(seed)
    ground = 300 + generator.uniform(0, 40, (count, side, side))
    canopy = generator.uniform(0, 30, (count, side, side))
    image = torch.tensor(generator.normal(size=(count, 2, side, side)), dtype=torch.float32)
    fields = {
        "sentinel2": Observed(image, torch.ones_like(image, dtype=torch.bool)),
        "aster": Observed(standardised("aster", ground), torch.ones(count, 1, side, side, dtype=torch.bool)),
        "canopy_height_eth": Observed(
            standardised("canopy_height_eth", canopy), torch.ones(count, 1, side, side, dtype=torch.bool)
        ),
    }
    return fields, ground, canopy


def seen(count: int = 2, pixel: float = 10.0) -> Acquisition[Tensor]:
    unknown = Observed(torch.zeros(count), torch.zeros(count, dtype=torch.bool))
    return Acquisition(unknown, unknown, unknown, ground_sampling_distance=pixel)


SEEDS = torch.tensor([11, 12])


def test_the_surface_is_the_highest_of_ground_and_what_stands_on_it_over_the_lowest_ground() -> None:
    fields, ground, canopy = batch()
    fields["canopy_height_eth"].valid[0, 0, :2, :2] = False  # a whole cell
    fields["canopy_height_eth"].valid[0, 0, 2, 2] = False  # a pixel of one
    fields["aster"].values[1, 0, 4, 4] += 1  # 200 m higher: out of the columns
    surface = made().surface(fields)
    for tile in range(2):
        lowest = ground[tile].min()
        for row in range(16):
            for column in range(16):
                pixels = [(2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)]
                known = [p for p in pixels if fields["canopy_height_eth"].valid[tile, 0][p]]
                if not known or (tile, row, column) == (1, 2, 2):
                    assert not surface.valid[tile, row, column]
                    continue
                highest = max(ground[tile][p] - lowest + canopy[tile][p] for p in known)
                assert float(surface.values[tile, row, column]) == pytest.approx(highest, abs=1e-3)
                assert surface.valid[tile, row, column]


def test_without_heights_of_what_stands_there_the_surface_is_the_ground() -> None:
    fields, ground, _ = batch()
    surface = made(height=None).surface(fields)
    assert float(surface.values[0].max()) == pytest.approx(ground[0].max() - ground[0].min(), abs=1e-3)


def test_without_an_elevation_the_surface_is_what_stands_on_flat_ground() -> None:
    fields, _, canopy = batch()
    del fields["aster"]
    method = made(elevation=None)
    surface = method.surface(fields)
    highest = canopy.reshape(2, 16, 2, 16, 2).max((2, 4))
    assert np.abs(surface.values.numpy() - highest).max() < 1e-3  # not over the lowest: a wood is as high as it is
    assert method.targets == ("sentinel2", "canopy_height_eth")
    assert set(method(fields, SEEDS, seen())) == set(method.tasks)


def test_contrast_is_the_reflectance_standardised_within_each_patch() -> None:
    method, (fields, _, _) = made(standardise_patches=("sentinel2",), cell=1), batch()
    image, valid = fields["sentinel2"]
    image += torch.tensor([3.0, -2.0])[None, :, None, None]  # the spectrum stays: the mean is over both bands
    valid[0, 1, 3, 5] = False
    image[0, 1, 3, 5] = 99.0
    truth = method._truth(fields, torch.ones(2, 1, 4, 4, dtype=torch.bool)).reflectance
    assert not truth.valid[0, 1, 3, 5]
    for tile, row, column in ((0, 0, 0), (1, 2, 3)):
        window = (tile, slice(None), slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
        seen_, known = image[window].numpy(), valid[window].numpy()
        expected = (seen_ - seen_[known].mean()) / seen_[known].std(ddof=1)
        assert np.abs(truth.values[window].numpy() - expected)[known].max() < 1e-4
    assert method.network.settings.standardise_patches == ("sentinel2",)  # by which viewers restore the level


def test_losses_are_those_of_the_views() -> None:
    """Reflectance on hidden cells only; heights everywhere, whatever is hidden from the encoder."""
    method, (fields, _, _) = made(), batch()
    hidden = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    hidden[:, :, 1, 2] = True
    fields["sentinel2"].valid[0, 1, 8:10, 16:18] = False
    truth = method._truth(fields, hidden)
    view = View(torch.randn(2, 2, 16, 16), torch.rand(2, 16, 16) * 50)
    reflectance, height = method._compare(view, truth)
    assert float(height.count) == 2 * 16 * 16
    surface = method.surface(fields).values
    assert float(height.total) == pytest.approx(float((view.height - surface).abs().sum()) / 100, rel=1e-5)
    total, count = 0.0, 0
    image = fields["sentinel2"].values
    for tile in range(2):
        for band in range(2):
            for row in range(4, 8):
                for column in range(8, 12):
                    if (tile, band, row, column) == (0, 1, 4, 8):
                        continue
                    mean = image[tile, band, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean()
                    total += float((view.reflectance[tile, band, row, column] - mean) ** 2)
                    count += 1
    assert float(reflectance.count) == count
    assert float(reflectance.total) == pytest.approx(total, rel=1e-5)


def test_supervision_covers_what_the_encoder_does_not_see() -> None:
    """In the published code, masking changed the target in place, so that only what was visible was learnt."""
    method, (fields, _, _) = made(), batch()
    before = {name: tuple(part.clone() for part in field) for name, field in fields.items()}
    losses = method(fields, SEEDS, seen())
    assert all(torch.equal(a, b) for name, field in fields.items() for a, b in zip(field, before[name], strict=True))
    assert float(losses["surface_height"].count) == 2 * 16 * 16
    assert float(losses["reflectance"].count) == 2 * 2 * 8 * 16  # two bands; half of 16 patches of 16 cells, two tiles


def test_cells_that_are_shown_are_compared_if_all_are() -> None:
    fields, _, _ = batch()
    losses = made(compare="all")(fields, SEEDS, seen())
    assert float(losses["reflectance"].count) == 2 * 2 * 16 * 16
    assert float(losses["surface_height"].count) == 2 * 16 * 16


def test_flat_ground_looks_the_same_from_the_side() -> None:
    method, (fields, _, _) = made(), batch()
    fields["aster"].values.zero_()
    fields["canopy_height_eth"].values.fill_(-0.8)  # 8 m less than the mean of 8 m
    truth = method._truth(fields, torch.ones(2, 1, 4, 4, dtype=torch.bool))
    aslant = method._seen_aslant(truth, torch.tensor([[0.01, 0.02], [-0.01, 0.0]]))
    assert aslant.height.valid.all()
    assert torch.allclose(aslant.height.values, torch.zeros(2, 16, 16), atol=1e-3)
    assert torch.allclose(aslant.reflectance.values, truth.reflectance.values, atol=1e-4)


def test_a_raised_plain_is_seen_aside() -> None:
    """A plain 50 m up, 20 m a cell: at a tangent of 0.8, what is seen over a cell lies two cells on."""
    method, (fields, _, _) = made(), batch()
    fields["aster"].values.fill_(0.0)
    fields["canopy_height_eth"].values.fill_((50 - 8) / 10)
    truth = method._truth(fields, torch.ones(2, 1, 4, 4, dtype=torch.bool))
    aslant = method._seen_aslant(truth, torch.tensor([[0.8 / 20, 0.0], [0.0, 0.0]]))
    assert torch.allclose(aslant.height.values[0, :, :13], torch.tensor(50.0), atol=1e-3)
    expected = truth.reflectance.values[0, :, :, 2:15]
    assert torch.allclose(aslant.reflectance.values[0, :, :, :13], expected, atol=1e-3)
    assert not aslant.height.valid[0, :, 14:].any()


def test_each_tile_has_a_mask_and_a_view_of_its_own() -> None:
    """In the published code a batch shared one mask."""
    method = made()
    slopes = method._slopes(torch.arange(200))
    angle = slopes.square().sum(1).sqrt().atan().rad2deg()
    assert 0 <= float(angle.min()) < 1
    assert 19 < float(angle.max()) < 20
    assert (slopes[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.15)
    fields, _, _ = batch()
    same = {
        name: Observed(f.values[:1].repeat(2, 1, 1, 1), f.valid[:1].repeat(2, 1, 1, 1)) for name, f in fields.items()
    }
    columns = []
    network = method.network
    original = network.columns

    def remember(x: Tensor, visible: Tensor | None, count: int | None = None) -> Any:
        columns.append(visible)
        return original(x, visible, count)

    network.columns = remember  # type: ignore[method-assign]
    method(same, SEEDS, seen())
    assert columns[0] is not None
    assert columns[0].sum(1).tolist() == [8, 8]
    assert not torch.equal(columns[0][0], columns[0][1])


@dataclass(frozen=True)
class TwoInputs:
    """A convolution over an image and an elevation model."""

    inputs: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"sentinel2": BANDS, "aster": ("elevation",)})
    family: str = "two_inputs"
    patch_size: int = 8
    image_size: int = 32
    initialisation: str = "small"
    bands: tuple[str, ...] = (*BANDS, "elevation")
    widths: tuple[int, ...] = (16,)
    patches: int = 16
    title: str = "convolution"

    def pooled_width(self, pooling: str) -> int:
        return 32 if pooling == "stages" else 16


class Convolution(EncoderNetwork):
    def __init__(self, settings: TwoInputs) -> None:
        super().__init__()
        self.settings = settings
        self.layer = nn.Conv2d(3, 16, 8, stride=8)
        self.saw: list[tuple[Tensor, Tensor | None]] = []

    @property
    def strides(self) -> tuple[int, ...]:
        return (8,)

    def forward(self, x: Tensor, visible: Tensor | None = None, count: int | None = None) -> Tensor:
        self.saw.append((x, visible))
        return self.layer(x)

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self(x),)


@pytest.fixture
def two_inputs(monkeypatch: pytest.MonkeyPatch) -> TwoInputs:
    monkeypatch.setitem(families.FAMILIES, "two_inputs", families.Family("here:TwoInputs", "here:Convolution"))
    monkeypatch.setattr(
        families, "_imported", lambda place: {"TwoInputs": TwoInputs, "Convolution": Convolution}[place.split(":")[1]]
    )
    assert asdict(TwoInputs())["family"] == "two_inputs"
    return TwoInputs()


def test_inputs_are_hidden_independently(two_inputs: TwoInputs) -> None:
    """Half of the patches of the image, nine pixels in ten of the elevation; and all of both is learnt."""
    method, (fields, _, _) = made(two_inputs), batch()
    losses = method(fields, SEEDS, seen())
    assert float(losses["surface_height"].count) == 2 * 16 * 16
    assert method.network.mask_token is None
    ((x, visible),) = method.encoder.saw  # type: ignore[union-attr]
    assert visible is None
    shown = (x[:, :2] != 0).all(1).reshape(2, 4, 8, 4, 8).permute(0, 1, 3, 2, 4).flatten(3).float().mean(-1)
    assert set(shown.flatten().tolist()) == {0.0, 1.0}
    assert shown.mean((1, 2)).tolist() == [0.5, 0.5]
    kept = x[:, 2] != 0
    assert kept.float().mean() == pytest.approx(0.1, abs=0.03)
    assert torch.equal(x[:, 2][kept], fields["aster"].values[:, 0][kept])
    assert not torch.equal(kept[0], kept[1])
    # Heights are also left where the image is hidden, and the other way round.
    image = (x[:, :2] != 0).all(1)
    assert (kept & ~image).any()
    assert (kept & image).any()


def test_only_from_above_there_are_two_tasks() -> None:
    method, (fields, _, _) = made(max_view_angle=0.0), batch()
    assert method.tasks == ("reflectance", "surface_height")
    assert tuple(method(fields, SEEDS, seen())) == method.tasks


def test_bands_and_targets_follow_from_the_settings() -> None:
    method = made()
    assert method.bands == {"sentinel2": BANDS, "aster": ("elevation",), "canopy_height_eth": ("height",)}
    assert method.targets == ("sentinel2", "aster", "canopy_height_eth")
    assert made(height=None).targets == ("sentinel2", "aster")


def test_what_cannot_be_added_up_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"pretext\.elevation: aster\.slope is in 'degree'"):
        made(elevation=("aster", "slope"))
    with pytest.raises(RecipeError, match=r"pretext\.height is 'esa_worldcover', a categorical map"):
        made(height=("esa_worldcover", "map"))
    with pytest.raises(BandError, match="no band 'top'"):
        made(elevation=("aster", "top"))
    without = {name: modality for name, modality in PUBLISHED.items() if name != "aster"}
    with pytest.raises(InputError, match="the data hold no modality 'aster'"):
        NSMAE(ENCODER, NSMAESettings(), without)
    with pytest.raises(RecipeError, match="shows 0 of 16"):
        made(mask_ratio=0.99)


def test_bad_settings_are_refused() -> None:
    cases: dict[str, Any] = {
        "max_view_angle": 60.0,
        "sparse_mask_ratio": 1.0,
        "weighting": "best",
        "compare": "some",
        "elevation": ("aster",),
    }
    with pytest.raises(RecipeError, match="are null, so that there is no surface"):
        NSMAESettings(elevation=None, height=None)
    with pytest.raises(RecipeError, match="standardise_patches names 'aster', which is not rendered"):
        NSMAESettings(standardise_patches=("aster",))
    for name, value in cases.items():
        with pytest.raises(RecipeError, match=f"pretext.{name} is"):
            NSMAESettings(**{name: value})


def test_scales_and_acquisition_must_be_known() -> None:
    fields, _, _ = batch()
    method = NSMAE(ENCODER, NSMAESettings(**SMALL), PUBLISHED)
    with pytest.raises(InputError, match="cannot be added up without their scales"):
        method(fields, SEEDS, seen())
    method.learn_scales(STATISTICS)
    with pytest.raises(InputError, match="lacks its acquisition"):
        method(fields, SEEDS)
    with pytest.raises(InputError, match="the batch has pixels of nan m"):
        method(fields, SEEDS, seen(pixel=float("nan")))
    assert made(max_view_angle=0.0)(fields, SEEDS, seen(pixel=float("nan")))
    del fields["aster"]
    with pytest.raises(InputError, match="lacks aster"):
        method(fields, SEEDS, seen())

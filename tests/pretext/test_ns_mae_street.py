"""NS-MAE for cameras and LiDAR: the faults of the published code, each with a test that fails with it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from geopretext.errors import InputError, RecipeError
from geopretext.modality import Band, Kind, Modality, Observed
from geopretext.nn.rays import pixel_directions
from geopretext.nn.rendering import Rendered
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.street_settings import StreetSettings
from geopretext.nn.streets import Cameras, StreetViews
from geopretext.nn.voxels import VoxelEncoder, choose_voxels, voxel_of
from geopretext.pretext.ns_mae_street import NSMAEStreet, StreetTruth, depth_maps, highest_points

CAMERA = Modality("camera", Kind.CONTINUOUS_MAP, (Band("R"), Band("G"), Band("B")), "uint8")
ENCODER = EncoderSettings(
    size="micro", modality="camera", bands=("R", "G", "B"), patch_size=8, image_size=32, stem="convnextv2"
)
SMALL = StreetSettings(depth_bins=6, far=13.0, reach=4.0, bottom=0.0, top=4.0, voxel=1.0, voxel_height=1.0)
STATISTICS = {"modalities": {"camera": {"bands": {"all": {b: {"mean": 100.0, "std": 50.0} for b in ("R", "G", "B")}}}}}
SEEDS = torch.tensor([5, 6])
LOOKS_AHEAD = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])


def made() -> NSMAEStreet:
    torch.manual_seed(0)
    method = NSMAEStreet(ENCODER, SMALL, {"camera": CAMERA})
    method.learn_scales(STATISTICS)
    return method


def observed(values: Tensor) -> Observed[Tensor]:
    return Observed(values, torch.ones_like(values, dtype=torch.bool))


def batch(count: int = 2, points: int = 300) -> dict[str, Observed[Tensor]]:
    """Two cameras that look ahead and behind, and points anywhere."""
    generator = torch.Generator().manual_seed(0)
    intrinsics = torch.tensor([[24.0, 0, 24], [0, 24, 16], [0, 0, 1]]).expand(count, 2, 3, 3)
    behind = LOOKS_AHEAD.clone()
    behind[:2] *= -1
    places = torch.rand(count, points, 4, generator=generator) * torch.tensor([16.0, 16, 6, 1])
    return {
        "camera": observed(torch.randn(count, 2, 3, 32, 48, generator=generator)),
        "camera_intrinsics": observed(intrinsics),
        "camera_pose": observed(torch.stack([LOOKS_AHEAD, behind]).expand(count, 2, 4, 4)),
        "points": observed(places - torch.tensor([8.0, 8, 1, 0])),
    }


def remembered(method: NSMAEStreet, fields: dict[str, Observed[Tensor]]) -> tuple[dict[str, Any], StreetTruth, Any]:
    """What the networks were given in a step, what was compared, and the losses."""
    given: dict[str, Any] = {}
    truths: list[StreetTruth] = []
    network, compare, voxels = method.network.forward, method.compare, method.network.voxels.forward

    def forward(pictures: Tensor, visible: Tensor, count: int, cameras: Cameras, **rest: Tensor) -> StreetViews:
        given.update(rest, visible=visible, count=count, cameras=cameras)
        return network(pictures, visible, count, cameras, **rest)

    def encode(points: Tensor, cells: Tensor, shown: Tensor) -> Tensor:
        given.update(shown=shown, cells=cells)
        return voxels(points, cells, shown)

    def remember(views: StreetViews, truth: StreetTruth) -> Any:
        truths.append(truth)
        return compare(views, truth)

    method.network.forward = forward  # type: ignore[method-assign]
    method.network.voxels.forward = encode  # type: ignore[method-assign]
    method.compare = remember  # type: ignore[method-assign]
    losses = method(fields, SEEDS)
    return given, truths[0], losses


def test_both_weights_of_depth_are_at_work_from_the_first_step_and_the_encoders_learn() -> None:
    """Fault 1: both were 1e-8 from the start. Fault 2: what was to be frozen, was not; here nothing is."""
    method = made()
    losses = method(batch(), SEEDS)
    active = {task: torch.tensor(True) for task in method.tasks}
    means = {task: loss.total / loss.count for task, loss in losses.items()}
    _, weights = method.weighting(means, active)
    assert {task: float(weight) for task, weight in weights.items()} == {"colour": 1, "depth": 1, "depth_from_above": 1}
    # Points reach the cameras' view as sparse depths, and the view from above by their encoder.
    for task, parts in {
        "depth": [method.encoder],
        "depth_from_above": [method.encoder, method.network.voxels],
    }.items():
        method.zero_grad()
        means[task].backward(retain_graph=True)
        for part in parts:
            assert any(p.grad is not None and bool((p.grad != 0).any()) for p in part.parameters()), task
    assert all(parameter.requires_grad for parameter in method.parameters())


def test_supervision_covers_all_points_and_the_encoder_sees_a_tenth_of_the_voxels() -> None:
    """Fault 3: the target was the tensor that masking changed in place."""
    method, fields = made(), batch()
    before = {name: field.values.clone() for name, field in fields.items()}
    given, truth, losses = remembered(method, fields)
    assert all(torch.equal(field.values, before[name]) for name, field in fields.items())
    cells, inside = voxel_of(fields["points"].values, fields["points"].valid[..., 0], SMALL)
    for sample in range(2):
        held = set(cells[sample][inside[sample]].tolist())
        shown = set(cells[sample][given["shown"][sample]].tolist())
        assert len(shown) == math.ceil(len(held) / 10)
        assert {int(c) for c in cells[sample][inside[sample]] if int(c) in shown} == shown
        columns = {cell % 64 for cell in held}
        assert int(truth.above.valid[sample].sum()) == len(columns)
    assert float(losses["depth_from_above"].count) == int(truth.above.valid.sum())
    everything = int(truth.depth.isfinite().sum())
    assert int(given["sparse_depth"].isfinite().sum()) < everything / 3
    assert float(losses["depth"].count) == int(((truth.depth >= 1) & (truth.depth <= 13)).sum()) > 0


def test_bins_and_samples_are_at_the_same_distances() -> None:
    """Fault 4: bins stood from 1 to 60 m, and were rendered as if from 1 to 80 m."""
    network = made().network
    assert network.edges.tolist() == pytest.approx([1, 3, 5, 7, 9, 11, 13])
    frustum = torch.zeros(1, 6, SMALL.camera_dim, 1, 1)
    intrinsics = torch.tensor([[[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]])
    rays = pixel_directions(intrinsics, height=1, width=1)
    with torch.no_grad():
        network.camera_head.weight.zero_()
        network.camera_head.bias.copy_(torch.tensor([0.0, 0, 0, -60]))
        network.camera_head.weight[3, 0] = 1.0
        for bin_, distance in enumerate((2, 4, 6, 8, 10, 12)):
            only = frustum.clone()
            only[:, bin_, 0] = 1e3
            assert float(network._look(only, rays).depth) == pytest.approx(distance)
            # It is lifted to the same place: (distance, 0) ahead of a car, if that is in the grid.
            above = network._splat(only, rays, Cameras(intrinsics, LOOKS_AHEAD[None]), 1)[0, 0]
            expected = [[4, 4 + distance]] if distance < 4 else []
            assert above.nonzero().tolist() == expected


def test_a_bin_has_three_colours_and_a_density() -> None:
    """Fault 5: all densities were read from the outputs of the last quarter of the bins."""
    network = made().network
    with torch.no_grad():
        network.camera_head.weight.zero_()
        network.camera_head.bias.copy_(torch.tensor([-2.0, 0.0, 2.0, -60.0]))
        for channel in range(4):
            network.camera_head.weight[channel, channel] = 1.0
    rays = torch.tensor([0.0, 0, 1]).expand(1, 1, 1, 3)
    for bin_ in range(6):
        frustum = torch.zeros(1, 6, SMALL.camera_dim, 1, 1)
        frustum[:, bin_, 3] = 1e3  # dense
        frustum[:, bin_, 0] = 5.0  # red
        seen = network._look(frustum, rays)
        assert seen.weights[0, 0, 0].tolist() == pytest.approx([float(k == bin_) for k in range(6)], abs=1e-6)
        assert seen.features is not None
        assert seen.features[0, 0, 0].tolist() == pytest.approx([1 / (1 + math.exp(-x)) for x in (3, 0, 2)], abs=1e-5)


def test_a_point_in_the_highest_layer_is_something_else_than_no_point() -> None:
    """Fault 6: both were 0, and left out."""
    points = torch.tensor([[[0.5, 0.5, 3.75, 0], [0.5, 0.5, 1, 0], [-3.5, 2.5, 0.25, 0], [2.5, 2.5, 9, 0]]])
    there = torch.tensor([[True, True, True, True]])
    above = highest_points(points, *voxel_of(points, there, SMALL), SMALL)
    assert above.valid[0].nonzero().tolist() == [[4, 4], [6, 0]]
    assert float(above.values[0, 4, 4]) == 0.25  # of the highest of two points
    assert float(above.values[0, 6, 0]) == 3.75
    method = made()
    zero = torch.zeros(1, 8, 8)
    flat = Rendered(zero, zero, torch.full((1, 8, 8), 2.0), None)
    picture = Rendered(zero, zero, torch.ones(1, 2, 2), torch.zeros(1, 2, 2, 3))
    truth = StreetTruth(torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2), torch.inf), above)
    losses = method.compare(StreetViews(picture, flat), truth)
    assert float(losses["depth_from_above"].total) == pytest.approx((1.75 + 1.75) / 4)
    assert float(losses["depth_from_above"].count) == 2
    assert float(losses["depth"].count) == 0


def test_a_cell_has_the_nearest_of_its_points() -> None:
    """Fault 8: sparse depths were resized by taking one pixel in eight, along each axis."""
    intrinsics, pose = torch.tensor([[24.0, 0, 24], [0, 24, 16], [0, 0, 1]]), LOOKS_AHEAD
    # 6 and 4 m ahead in the cell right of the principal point and below it; one behind; one far to the left.
    points = torch.tensor([[[6.0, -0.5, 0.8, 0], [4, -0.4, 0.9, 0], [-5, 0, 1, 0], [3, 9, 1, 0]]])
    chosen = torch.ones(1, 4, dtype=torch.bool)
    maps = depth_maps(points, chosen, intrinsics[None, None], pose[None, None], height=32, width=48, cell=8)
    assert maps.shape == (1, 4, 6)
    assert maps.isfinite().nonzero().tolist() == [[0, 2, 3]]
    assert float(maps[0, 2, 3]) == pytest.approx(4)


def test_each_picture_has_a_mask_of_its_own() -> None:
    """The published code shares one among all cameras and samples."""
    given, _, _ = remembered(made(), batch())
    assert given["visible"].shape == (4, 24)
    assert given["visible"].sum(1).tolist() == [12] * 4
    assert given["count"] == 12
    assert len({tuple(row) for row in given["visible"].tolist()}) == 4
    assert not torch.equal(given["shown"][0], given["shown"][1])


def test_pictures_stay_on_their_device() -> None:
    """Fault 7: they went through numpy in every step. On the meta device there is nothing that numpy could read."""
    method = made().to("meta")
    pictures = torch.empty(4, 3, 32, 48, device="meta")
    assert method._colours(pictures, 8).shape == (4, 4, 6, 3)


def test_colours_are_means_of_cells_from_0_to_1() -> None:
    method, fields = made(), batch()
    colours = method._colours(fields["camera"].values.flatten(0, 1), 8)
    cell = fields["camera"].values[0, 1, 2, 8:16, 16:24] * 50 + 100
    assert float(colours[1, 1, 2, 2]) == pytest.approx(float(cell.mean()) / 255, rel=1e-5)


def test_hidden_patches_and_points_change_nothing() -> None:
    method, fields = made().eval(), batch()
    given, _, _ = remembered(method, fields)
    patches = ~given["visible"].reshape(2, 2, 1, 4, 6).repeat_interleave(8, 3).repeat_interleave(8, 4)
    other = {**fields, "camera": observed(torch.where(patches, 9.0, fields["camera"].values))}
    places = fields["points"].values.clone()
    places[..., 3] = torch.where(given["shown"], places[..., 3], 0.123)  # the intensity of hidden points
    other["points"] = observed(places)
    with torch.no_grad():
        one, two = made().eval()(fields, SEEDS), made().eval()(other, SEEDS)
    for task in ("depth", "depth_from_above"):
        assert float(one[task].total) == pytest.approx(float(two[task].total), rel=1e-5)
    assert float(one["colour"].total) != pytest.approx(float(two["colour"].total), rel=1e-3)


def test_voxels_are_numbered_by_layer_row_and_column() -> None:
    points = torch.tensor([[[-4.0, -4, 0], [3.9, -4, 0], [-4, 3.9, 0], [-4, -4, 3.9], [4, 0, 0], [0, 0, -0.1]]])
    cells, inside = voxel_of(points, torch.ones(1, 6, dtype=torch.bool), SMALL)
    assert inside.tolist() == [[True] * 4 + [False] * 2]
    assert cells[0, :4].tolist() == [0, 7, 56, 192]


def test_a_voxel_knows_its_points_by_their_number_mean_place_and_intensity() -> None:
    points = torch.tensor([[[0.2, 0.5, 1.5, 0.4], [0.6, 0.5, 1.9, 0.8], [0.9, 0.5, 1.5, 1.0]]])
    cells, _ = voxel_of(points, torch.ones(1, 3, dtype=torch.bool), SMALL)
    facts = VoxelEncoder(SMALL)._facts(points, cells, torch.tensor([[True, True, False]]))
    assert facts.shape == (1, 5, 4, 8, 8)
    assert facts[0, :, 1, 4, 4].tolist() == pytest.approx([math.log(3), -0.1, 0, 0.2, 0.6], abs=1e-6)
    assert int((facts != 0).any(1).sum()) == 1


def test_no_voxel_is_shown_twice_and_none_of_an_empty_sample() -> None:
    cells = torch.tensor([[3, 3, 5, 7, 9], [0, 0, 0, 0, 0]])
    inside = torch.tensor([[True] * 5, [False] * 5])
    noise = torch.linspace(0.9, 0.1, 10).expand(2, 10)  # 9 is first, then 7
    shown = choose_voxels(cells, inside, noise, 0.5)
    assert shown.tolist() == [[False, False, False, True, True], [False] * 5]
    assert choose_voxels(cells, inside, noise, 0.0).tolist() == inside.tolist()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RecipeError, match="the encoder sees R, G"):
        NSMAEStreet(EncoderSettings(modality="camera", bands=("R", "G")), SMALL, {"camera": CAMERA})
    with pytest.raises(InputError, match="no modality 'camera'"):
        NSMAEStreet(ENCODER, SMALL, {})
    method = NSMAEStreet(ENCODER, SMALL, {"camera": CAMERA})
    with pytest.raises(InputError, match="without their scales"):
        method(batch(), SEEDS)
    with pytest.raises(InputError, match="the batch lacks points"):
        method({name: field for name, field in batch().items() if name != "points"}, SEEDS)
    cases = {"near": 0.0, "far": 0.5, "depth_bins": 1, "voxel": 0.7, "top": -2.0, "mask_ratio": 0.0}
    for name, value in {**cases, "voxel_mask_ratio": 1.0, "weighting": "best", "voxel_height": 3.0}.items():
        with pytest.raises(RecipeError, match=r"pretext\."):
            StreetSettings(**{name: value})  # type: ignore[arg-type]

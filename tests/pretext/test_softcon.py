"""SoftCon against loops in numpy, on batches made by hand."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.errors import BandError, BundleError, InputError, RecipeError
from geopretext.modality import PUBLISHED, Observed, Role
from geopretext.nn.bundle import Encoder
from geopretext.nn.masking import sample_visible
from geopretext.nn.seeded import derived
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.softcon import (
    SoftCon,
    classes_shown,
    instance_loss,
    label_similarity,
    similarity_loss,
    two_dates,
)
from geopretext.pretext.softcon_settings import SoftConSettings
from geopretext.train.recipe import load_recipe

from .random_fields import random_fields

ENCODER = EncoderSettings(size="micro", patch_size=16, image_size=64, bands=("B2", "B3", "B4", "B8"))
SMALL = {"projection_width": 32, "embedding_width": 8, "blur_sigma": (0.1, 1.0)}
SEEDS = torch.arange(6) + 100


def make_method(seed=0, encoder=ENCODER, modalities=PUBLISHED, **settings) -> SoftCon:
    torch.manual_seed(seed)
    return SoftCon(encoder, SoftConSettings(**{**SMALL, **settings}), modalities)


def make_fields(method: SoftCon, tiles=6, size=64, seed=0):
    fields = random_fields(method.bands, PUBLISHED, tiles=tiles, size=size, missing=0.1, seed=seed)
    blocks = torch.randint(9, (tiles, 4, 4), generator=torch.Generator().manual_seed(seed))
    labels = blocks.repeat_interleave(size // 4, 1).repeat_interleave(size // 4, 2)
    valid = torch.ones_like(labels, dtype=torch.bool)
    valid[-1] = False  # a tile without labels
    return {**fields, "dynamic_world": Observed(labels.masked_fill(~valid, 0), valid)}


# --- labels ---

SETS = torch.tensor(
    [[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]], dtype=torch.bool
)
"""two alike, one empty, one with everything, one that shares nothing with the first two"""
OTHERS = SETS[[1, 0, 4, 2, 5, 3]]


def similarities(sets, others):
    wanted = np.zeros((len(sets), len(others)))
    known = np.zeros((len(sets), len(others)), bool)
    for i, one in enumerate(sets):
        for j, other in enumerate(others):
            a, b = {k for k in range(4) if one[k]}, {k for k in range(4) if other[k]}
            known[i, j] = bool(a) and bool(b)
            wanted[i, j] = len(a & b) / math.sqrt(len(a) * len(b)) if known[i, j] else 0
    return wanted, known


def test_labels_are_as_similar_as_their_sets_and_empty_sets_are_similar_to_none():
    wanted, known = label_similarity(SETS, OTHERS)
    expected, counted = similarities(SETS.tolist(), OTHERS.tolist())
    np.testing.assert_allclose(wanted.numpy(), expected, atol=1e-7)
    assert np.array_equal(known.numpy(), counted)
    assert not known[2].any()
    assert not known[:, 3].any()
    assert wanted.max() == 1  # exactly, for equal sets


def test_labels_are_the_classes_of_valid_pixels_in_the_box():
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(5, (3, 8, 10), generator=generator)
    valid = torch.rand(3, 8, 10, generator=generator) > 0.5
    boxes = torch.tensor([[0, 0, 2, 3], [5, 7, 3, 3], [3, 2, 1, 1]])
    for share in (0.0, 0.25):
        shown = classes_shown(Observed(values.masked_fill(~valid, 0), valid), boxes, 5, share)
        for tile, (top, left, rows, columns) in enumerate(boxes.tolist()):
            inside = [
                int(values[tile, y, x])
                for y in range(top, top + rows)
                for x in range(left, left + columns)
                if valid[tile, y, x]
            ]
            expected = [k in inside and inside.count(k) >= share * len(inside) for k in range(5)]
            assert shown[tile].tolist() == expected
    whole = classes_shown(Observed(values, valid), None, 5, 0.0)
    assert whole.tolist() == [[bool(((values[t] == k) & valid[t]).any()) for k in range(5)] for t in range(3)]
    assert not classes_shown(Observed(values, torch.zeros_like(valid)), boxes, 5, 0.0).any()


def test_a_class_at_exactly_the_least_share_counts():
    values = torch.tensor([[[0, 0, 0, 1]]])
    shown = classes_shown(Observed(values, torch.ones_like(values, dtype=torch.bool)), None, 2, 0.25)
    assert shown.tolist() == [[True, True]]


# --- the two terms ---


def random_cosines(rows=4, columns=6, seed=0):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(rows, 5)), random.normal(size=(columns, 5))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return a @ b.T


@pytest.mark.parametrize("first", [0, 2])
def test_the_instance_term_finds_each_row_among_all_columns(first):
    cosines = random_cosines()
    cosines[1] = 0.3  # a tie
    expected = 0.0
    for i in range(4):
        scores = [math.exp(c / 0.2) for c in cosines[i]]
        expected -= math.log(scores[first + i] / sum(scores))
    every = torch.ones(4, 6, dtype=torch.bool)
    loss = instance_loss(torch.tensor(cosines, dtype=torch.float32), every, first, 0.2)
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)
    assert float(loss.count) == 4


def test_a_row_or_column_that_is_not_known_is_in_no_instance_term():
    cosines = torch.tensor(random_cosines(4, 4), dtype=torch.float32, requires_grad=True)
    rows, columns = torch.tensor([1, 1, 0, 1]).bool(), torch.tensor([1, 1, 1, 0]).bool()
    expected = 0.0
    for i in (0, 1):
        scores = [math.exp(c / 0.2) for c in cosines[i, :3].tolist()]
        expected -= math.log(scores[i] / sum(scores))
    loss = instance_loss(cosines, rows[:, None] & columns, 0, 0.2)
    loss.total.backward()
    assert (float(loss.total.detach()), float(loss.count)) == (pytest.approx(expected, rel=1e-5), 2)
    assert not cosines.grad[2:].any()
    assert not cosines.grad[:, 3].any()
    assert cosines.grad[:2, :3].all()


def mapped(cosine, mapping, temperature):
    return {
        "sigmoid": 1 / (1 + math.exp(-cosine / temperature)),
        "clamp": min(max(cosine, 1e-6), 1 - 1e-6),
        "linear": min(max((cosine + 1) / 2, 1e-6), 1 - 1e-6),
    }[mapping]


@pytest.mark.parametrize("mapping", ["sigmoid", "clamp", "linear"])
@pytest.mark.parametrize("kind", ["binary", "squared"])
def test_the_similarity_term_compares_pairs_with_labels(kind, mapping):
    cosines = random_cosines()
    wanted, known = similarities(SETS[:4].tolist(), OTHERS.tolist())
    total, count = 0.0, 0
    for i in range(4):
        for j in range(6):
            if known[i, j]:
                s, y = mapped(cosines[i, j], mapping, 0.3), wanted[i, j]
                total += (s - y) ** 2 if kind == "squared" else -(y * math.log(s) + (1 - y) * math.log(1 - s))
                count += 1
    loss = similarity_loss(
        torch.tensor(cosines, dtype=torch.float32),
        *label_similarity(SETS[:4], OTHERS),
        kind=kind,
        mapping=mapping,
        temperature=0.3,
    )
    assert float(loss.total) == pytest.approx(total, rel=1e-4)
    assert float(loss.count) == count == 15


def test_rows_are_compared_as_shares_of_their_sum():
    sets = torch.cat([SETS, torch.tensor([[0, 0, 1, 0]], dtype=torch.bool)])
    others = SETS[[0, 1, 2, 3]]  # of which none shares a class with the last set, and one is empty
    cosines = random_cosines(7, 4)
    wanted, known = similarities(sets.tolist(), others.tolist())
    total, count = 0.0, 0
    for i in range(7):
        columns = [j for j in range(4) if known[i, j]]
        if sum(wanted[i]) > 0:
            scores = {j: math.exp(cosines[i, j] / 0.3) for j in columns}
            for j in columns:
                total -= wanted[i, j] / sum(wanted[i]) * math.log(scores[j] / sum(scores.values()))
            count += 1
    numbers = torch.tensor(cosines, dtype=torch.float32, requires_grad=True)
    loss = similarity_loss(numbers, *label_similarity(sets, others), kind="rows", mapping="sigmoid", temperature=0.3)
    assert float(loss.total.detach()) == pytest.approx(total, rel=1e-4)
    assert float(loss.count) == count == 4
    loss.total.backward()
    assert numbers.grad.isfinite().all()
    assert not numbers.grad[[2, 5, 6]].any()


@pytest.mark.parametrize("kind", ["binary", "squared", "rows"])
def test_without_any_label_there_is_nothing_to_learn(kind):
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    cosines = torch.randn(3, 3, requires_grad=True)
    loss = similarity_loss(cosines, *label_similarity(nothing, nothing), kind=kind, mapping="sigmoid", temperature=0.2)
    loss.total.backward()
    assert (float(loss.total.detach()), float(loss.count)) == (0, 0)
    assert not cosines.grad.any()


# --- a step ---


def by_hand(method, fields, seeds):
    """Both terms from views and branches, pair by pair."""
    views = []
    image, labels = fields["sentinel2"], fields["dynamic_world"]
    for number, stream in enumerate((101, 102)):
        views.append(method.view(image, labels, derived(seeds, stream), method.settings.blur_shares[number]))
    with torch.no_grad():
        queries = [method._lead(view).numpy() for view in views]
        keys = [method._follow(view).numpy() for view in views]
    totals = {"instance": 0.0, "similarity": 0.0}
    counts = {"instance": 0, "similarity": 0}
    for one, other in ((0, 1), (1, 0)):
        cosines = queries[one] @ keys[other].T
        sets, others = views[one].labels.numpy(), views[other].labels.numpy()
        for i, row in enumerate(cosines):
            scores = np.exp(row / method.settings.temperature)
            totals["instance"] -= math.log(scores[i] / scores.sum())
            counts["instance"] += 1
            for j, cosine in enumerate(row):
                if sets[i].any() and others[j].any():
                    y = (sets[i] & others[j]).sum() / math.sqrt(sets[i].sum() * others[j].sum())
                    s = 1 / (1 + math.exp(-cosine / method.settings.similarity_temperature))
                    totals["similarity"] -= y * math.log(s) + (1 - y) * math.log(1 - s)
                    counts["similarity"] += 1
    return totals, counts


def test_a_step_compares_each_view_with_the_other_views_of_all_tiles():
    method = make_method()
    with torch.no_grad():  # apart, as after some steps
        for parameter in method.momentum_encoder.parameters():
            parameter.mul_(1.1)
    fields = make_fields(method)
    totals, counts = by_hand(method, fields, SEEDS)
    losses = method(fields, SEEDS)
    assert tuple(losses) == method.tasks == ("instance", "similarity")
    assert counts == {"instance": 12, "similarity": 50}  # one of six tiles has no label
    for name, loss in losses.items():
        assert float(loss.count) == counts[name]
        assert float(loss.total.detach()) == pytest.approx(totals[name], rel=1e-4), name
    doubled = make_method(instance_weight=2.0, similarity_weight=0.5)
    means = {name: loss.total.detach() / loss.count for name, loss in losses.items()}
    active = {name: torch.tensor(True) for name in losses}
    expected = 2 * means["instance"] + 0.5 * means["similarity"]
    assert float(doubled.combine(means, active)) == pytest.approx(float(expected))
    assert float(doubled.combine(means, {**active, "similarity": torch.tensor(False)})) == pytest.approx(
        float(2 * means["instance"])
    )


def test_gradients_reach_the_trained_branch_only_and_all_of_it():
    method = make_method()
    sum(loss.total for loss in method(make_fields(method), SEEDS).values()).backward()
    for name, parameter in method.named_parameters():
        if name.startswith("momentum"):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


def test_a_tile_of_which_nothing_is_observed_is_compared_with_nothing():
    method = make_method()
    fields = make_fields(method)
    image = fields["sentinel2"]
    blank = torch.arange(6) != 2
    fields["sentinel2"] = Observed(*(x * blank[:, None, None, None] for x in image))
    view = method.view(fields["sentinel2"], fields["dynamic_world"], SEEDS, 1.0)
    assert view.seen.tolist() == blank.tolist()
    assert not view.labels[2].any()
    losses = method(fields, SEEDS)
    assert float(losses["instance"].count) == 10  # five tiles, both ways
    assert float(losses["similarity"].count) == 32  # four with labels


def test_the_slow_branch_follows_along_half_a_cosine():
    method = make_method(momentum=0.9)
    names = [name for name, _ in method.named_parameters() if name.startswith("momentum_")]
    weights = dict(method.named_parameters())
    expected = {name: weights[name].double().clone() for name in names}
    for step in range(1, 6):
        with torch.no_grad():
            for name, parameter in weights.items():
                if not name.startswith("momentum_"):
                    parameter.add_(0.1 * step)
        method.after_step(step / 5)
        m = 1 - (1 - 0.9) * (math.cos(math.pi * step / 5) + 1) / 2
        for name in names:
            fast = weights[name.removeprefix("momentum_")].double()
            expected[name] = m * expected[name] + (1 - m) * fast
    for name in names:
        torch.testing.assert_close(weights[name].double(), expected[name], atol=1e-5, rtol=0)
    assert names


def test_the_slow_branch_is_part_of_the_state():
    method = make_method()
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    method.after_step(0.1)
    other = make_method(seed=1)
    other.load_state_dict(method.state_dict())
    fields = make_fields(method)
    for name, loss in method(fields, SEEDS).items():
        assert torch.equal(other(fields, SEEDS)[name].total, loss.total)


def test_patches_are_hidden_from_the_trained_branch_only():
    method = make_method(mask_ratio=0.5, **dict.fromkeys(("jitter_share", "gray_share", "drop_share"), 0.0))
    fields = make_fields(method)
    view = method.view(fields["sentinel2"], fields["dynamic_world"], derived(SEEDS, 101), 0.0)
    visible = sample_visible(derived(view.seeds, 103), 16, 0.5)
    pixels = visible.reshape(6, 1, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3)
    changed = view._replace(image=torch.where(pixels, view.image, 5.0))
    with torch.no_grad():
        torch.testing.assert_close(method._lead(view), method._lead(changed), atol=1e-5, rtol=0)
        assert not torch.allclose(method._follow(view), method._follow(changed), atol=1e-3)
        whole = make_method(mask_ratio=0.0)
        assert torch.allclose(whole.encoder(view.image).mean((2, 3)), whole.momentum_encoder(view.image).mean((2, 3)))


def test_views_differ_and_depend_on_the_tile_alone():
    method = make_method()
    fields = make_fields(method)
    some = {name: Observed(*(x[2:4] for x in field)) for name, field in fields.items()}
    one = method.view(fields["sentinel2"], fields["dynamic_world"], SEEDS, 1.0)
    part = method.view(some["sentinel2"], some["dynamic_world"], SEEDS[2:4], 1.0)
    other = method.view(fields["sentinel2"], fields["dynamic_world"], SEEDS + 1000, 1.0)
    torch.testing.assert_close(one.image[2:4], part.image, atol=1e-6, rtol=0)
    assert torch.equal(one.labels[2:4], part.labels)
    assert not torch.allclose(one.image, other.image)
    assert not torch.equal(one.labels, other.labels)
    tile = make_method(labels_of="tile")
    a, b = (tile.view(fields["sentinel2"], fields["dynamic_world"], SEEDS + k, 1.0).labels for k in (0, 1000))
    assert torch.equal(a, b)
    assert (a | ~one.labels).all()  # a view shows no class that the tile has not


def test_views_may_be_cut_from_larger_crops():
    method = make_method(source_size=96)
    assert method.crop == 96
    view = method.view(*make_fields(method, size=96).values(), SEEDS, 1.0)
    assert view.image.shape == (6, 4, 64, 64)


# --- series ---


def test_two_dates_are_different_and_mostly_observed():
    valid = torch.rand(300, 7, 2, 4, 4, generator=torch.Generator().manual_seed(0)) < torch.rand(
        300, 7, 1, 1, 1, generator=torch.Generator().manual_seed(1)
    )
    share = valid.float().mean((2, 3, 4))
    dates = two_dates(valid, torch.arange(300))
    usable = (share >= 0.5).sum(1)
    chosen = share.gather(1, dates)
    assert (chosen[usable > 1] >= 0.5).all()
    assert (dates[usable > 1, 0] != dates[usable > 1, 1]).all()
    assert (dates[usable < 2, 0] == dates[usable < 2, 1]).all()
    assert (chosen[usable == 1] >= 0.5).all()
    assert two_dates(torch.ones(2, 1, 2, 4, 4, dtype=torch.bool), torch.arange(2)).tolist() == [[0, 0], [0, 0]]
    counts = torch.bincount(two_dates(torch.ones(700, 7, 1, 1, 1, dtype=torch.bool), torch.arange(700)).flatten())
    assert ((counts - 200).abs() < 60).all()


def test_dates_of_a_series_are_the_views(tmp_path: Path):
    method = make_method(series="sentinel2_series")
    assert method.bands == {"sentinel2_series": ENCODER.bands, "dynamic_world": None}
    fields = make_fields(make_method())
    images = torch.randn(6, 3, 4, 64, 64)
    valid = torch.ones_like(images, dtype=torch.bool)
    valid[:, 1] = False  # padding
    series = Observed(images.masked_fill(~valid, 0), valid)
    chosen = method._images({"sentinel2_series": series}, SEEDS)
    for tile in range(6):
        found = {
            int(torch.stack([(image.values[tile] == x).all() for x in images[tile]]).nonzero()) for image in chosen
        }
        assert found == {0, 2}
    losses = method({"sentinel2_series": series, "dynamic_world": fields["dynamic_world"]}, SEEDS)
    assert all(loss.total.isfinite() for loss in losses.values())

    def bands(mean):
        return {"bands": {"all": {band: {"mean": mean, "std": 2.0} for band in ENCODER.bands}}}

    statistics = {"modalities": {"sentinel2": bands(1.0), "sentinel2_series": bands(5.0)}}
    method.save(tmp_path / "x", statistics=statistics, recipe={}, metrics={}, ground_sampling_distance=10.0)
    encoder = Encoder.from_pretrained(tmp_path / "x")
    assert encoder.modality.name == "sentinel2"
    assert encoder.statistics["all"] == ((5.0,) * 4, (2.0,) * 4)  # as the network saw its input


# --- several processes ---


@pytest.mark.slow
def test_two_processes_compute_losses_and_gradients_of_one(tmp_path: Path):
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch, torch.distributed as dist\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.pretext.test_softcon import make_fields, make_method, Observed, SEEDS\n"
        "rank, place = int(sys.argv[1]), sys.argv[2]\n"
        "dist.init_process_group('gloo', init_method=f'file://{place}', rank=rank, world_size=2)\n"
        "method = make_method()\n"
        "mine = slice(3 * rank, 3 * rank + 3)\n"
        "fields = {n: Observed(*(x[mine] for x in f)) for n, f in make_fields(method).items()}\n"
        "losses = method(fields, SEEDS[mine])\n"
        "sum(loss.total for loss in losses.values()).backward()\n"
        "numbers = torch.stack([x.detach() for loss in losses.values() for x in (loss.total, loss.count)])\n"
        "dist.all_reduce(numbers)\n"
        "gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}\n"
        "for gradient in gradients.values(): dist.all_reduce(gradient)\n"
        "if rank == 0: torch.save({'numbers': numbers, **gradients}, sys.argv[3])\n"
    )
    arguments = [str(tmp_path / "meet"), str(tmp_path / "out.pt")]
    other = subprocess.Popen([sys.executable, str(script), "1", *arguments])
    try:
        subprocess.run([sys.executable, str(script), "0", *arguments], check=True, timeout=240)
        assert other.wait(60) == 0
    finally:
        other.kill()
        other.wait()
    theirs = torch.load(tmp_path / "out.pt", weights_only=True)
    method = make_method()
    losses = method(make_fields(method), SEEDS)
    sum(loss.total for loss in losses.values()).backward()
    numbers = torch.stack([x.detach() for loss in losses.values() for x in (loss.total, loss.count)])
    torch.testing.assert_close(theirs.pop("numbers"), numbers, rtol=1e-5, atol=0)
    mine = {name: method.get_parameter(name).grad for name in theirs}
    largest = max(gradient.abs().max() for gradient in mine.values())
    for name, gradient in theirs.items():
        assert (mine[name] - gradient).abs().max() < 1e-5 * largest, name


# --- what does not fit ---


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": "soil"}, InputError, "pretext.labels: the data hold no modality 'soil'"),
        ({"labels": "sentinel1"}, RecipeError, "pretext.labels names 'sentinel1', a continuous map.*dynamic_world"),
        ({"mask_ratio": 0.95}, RecipeError, "mask_ratio 0.95 shows none of 16 patches.*change"),
        ({"series": "sentinel2_dates"}, InputError, "pretext.series: the data hold no modality 'sentinel2_dates'"),
        ({"series": "aster"}, RecipeError, "pretext.series names 'aster', a continuous map.*time series, or null"),
        ({"series": "sentinel1_series"}, BandError, "no band 'B2'"),
        ({"start": "nowhere/at/all"}, BundleError, "no such folder"),
        ({"similarity_loss": "hinge"}, RecipeError, "pretext.similarity_loss is 'hinge'.*binary, squared, rows"),
        ({"momentum": 1.5}, RecipeError, "pretext.momentum is 1.5.*from 0 to 1"),
        ({"temperature": 0.0}, RecipeError, "pretext.temperature is 0.0.*above 0"),
        ({"blur_sigma": (2.0, 0.1)}, RecipeError, "pretext.blur_sigma is.*two numbers above 0"),
        ({"blur_shares": (0.5, 2.0)}, RecipeError, "pretext.blur_shares is.*two numbers from 0 to 1"),
        ({"source_size": 0}, RecipeError, "pretext.source_size is 0.*at least 1"),
        ({"smallest_box": 0.0}, RecipeError, "pretext.smallest_box is 0.0.*above 0"),
        ({"mask_ratio": 1.0}, RecipeError, "pretext.mask_ratio is 1.0.*below 1"),
        ({"instance_weight": 0.0, "similarity_weight": 0.0}, RecipeError, "are 0.*one of them above 0"),
    ],
)
def test_what_does_not_fit_is_named(changes, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        make_method(**changes)


def test_downstream_labels_are_refused():
    held = {**PUBLISHED, "dynamic_world": replace(PUBLISHED["dynamic_world"], role=Role.LABEL)}
    with pytest.raises(RecipeError, match="downstream label"):
        make_method(modalities=held)


def test_recipes_of_all_published_encoders_ship():
    backbones = {"": (384, 16), "-vitb14": (768, 16), "-rn50": (2048, 7)}
    for backbone, (width, cells) in backbones.items():
        for modality, bands in {"": 13, "-s1": 2}.items():
            recipe = load_recipe(f"softcon{backbone}{modality}")
            assert (recipe.method, recipe.epochs, recipe.learning_rate) == ("softcon", 100, 1.5e-4)
            assert (recipe.encoder.widths[-1], len(recipe.encoder.bands)) == (width, bands)
            assert (recipe.encoder.image_size, recipe.encoder.patches) == (224, cells**2)

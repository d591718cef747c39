"""Compiled kernels against plain torch, which the tests of each layer hold against the papers."""

import logging
import stat
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geopretext.errors import ClassError, GridError, InputError
from geopretext.nn import kernels, sites
from geopretext.nn.convnextv2 import Block, ConvNeXtV2
from geopretext.nn.kernels import compiler, kernels_enabled
from geopretext.nn.masking import sample_visible
from geopretext.nn.response_norm import GlobalResponseNorm
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.sites import Visible, Whole, halve, shown_patches

pytestmark = pytest.mark.skipif(compiler.library() is None, reason="no C compiler with OpenMP on this machine")
with_vectors = pytest.mark.skipif(
    compiler.library() is not None and not compiler.has_mlp(40), reason="needs a processor with AVX-512"
)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def randomise(*modules: nn.Module) -> None:
    for module in modules:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)


def results_of(function, x, modules, upstream=None):
    """Output, and the gradients of the input (if it has one) and of all parameters."""
    x = x.clone().requires_grad_(x.is_floating_point() and upstream is not None)
    for module in modules:
        module.zero_grad(set_to_none=True)
    y = function(x)
    torch.manual_seed(1)
    y.backward(torch.randn(y.shape).to(y.dtype))
    gradients = [p.grad for module in modules for p in module.parameters()]
    return [y.detach(), *([x.grad] if x.requires_grad else []), *gradients]


def assert_same(function, x, modules, *, input_gradient=True, dtype=torch.float32):
    """The compiled form in ``dtype`` is the plain form in float32."""
    with kernels_enabled(False):
        expected = results_of(function, x, modules, input_gradient or None)
    calls = []
    original, compiler_call = compiler.call, kernels.operators.call
    kernels.operators.call = lambda name, *rest: (calls.append(name), original(name, *rest))[1]
    try:
        actual = results_of(function, x.to(dtype), modules, input_gradient or None)
    finally:
        kernels.operators.call = compiler_call
    assert len(calls) == 2, "the kernel ran forward and backward"
    strides = [p.stride() for module in modules for p in module.parameters()]
    assert [gradient.stride() for gradient in actual[-len(strides) :]] == strides, "processes exchange them as they lie"
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.float() - theirs).abs().max() <= TOLERANCE[dtype] * max(theirs.abs().max(), 0.1)


@st.composite
def layouts(draw):
    """Features at the sites of visible patches or of a whole map."""
    tiles, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    features, dtype = draw(st.sampled_from([7, 16, 40])), draw(st.sampled_from(list(TOLERANCE)))
    side = draw(st.sampled_from([1, 2, 4, 8]))
    torch.manual_seed(draw(st.integers(0, 9)))
    if draw(st.booleans()):
        return Whole(), torch.randn(tiles, height * side, width * side, features), dtype
    count = draw(st.integers(1, height * width))
    shown = torch.stack([torch.randperm(height * width)[:count].sort().values for _ in range(tiles)])
    sites = Visible(shown, grid=(height, width), side=side)
    return sites, torch.randn(tiles, count, side, side, features), dtype


@settings(derandomize=True, deadline=None, max_examples=30)
@given(layouts())
def test_convolution_and_norm_are_those_of_torch(layout):
    sites, x, dtype = layout
    conv = nn.Conv2d(x.shape[-1], x.shape[-1], 7, padding=3, groups=x.shape[-1])
    norm = nn.LayerNorm(x.shape[-1], eps=1e-6)
    randomise(conv, norm)
    assert_same(lambda x: sites.convolve_norm(x, conv, norm), x, (conv, norm), dtype=dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize("shape", [(1, 3, 16), (5, 2, 2, 160), (3, 2, 4, 4, 64), (70, 1, 32)])
def test_response_norm_of_gelu_is_that_of_torch(shape, scope, dtype):
    torch.manual_seed(0)
    norm, bias = GlobalResponseNorm(shape[-1], scope), nn.Linear(1, shape[-1])
    randomise(norm, bias)
    bias.weight.grad = torch.zeros_like(bias.weight)

    def apply(x):
        if not kernels._enabled:
            return norm(F.gelu(x + bias.bias))
        return norm.of_gelu(x, bias.bias)

    bias.register_parameter("weight", None)
    assert_same(apply, 3 * torch.randn(shape), (norm, bias), dtype=dtype)


@with_vectors
@pytest.mark.parametrize(
    ("width", "shape"), [(40, (3, 2, 8, 8)), (48, (2, 50)), (64, (17, 64)), (80, (2, 7, 8, 1)), (32, (1, 61))]
)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_a_network_of_two_layers_is_that_of_torch(width, shape, residual, dtype):
    torch.manual_seed(0)
    norm, first, second = (
        GlobalResponseNorm(4 * width, "sample"),
        nn.Linear(width, 4 * width),
        nn.Linear(4 * width, width),
    )
    randomise(norm, first, second)

    def apply(x):
        shortcut = 3 * x if residual else None
        if kernels._enabled:
            assert kernels.mlp_fits(x.float())
            return kernels.mlp(x, shortcut, first, norm.gamma.flatten(), norm.beta.flatten(), second, 1e-6)
        y = second(norm(F.gelu(first(x))))
        return y if shortcut is None else shortcut + y

    assert_same(apply, torch.randn(*shape, width), (norm, first, second), dtype=dtype)


@with_vectors
def test_networks_of_two_layers_that_other_code_computes_as_fast():
    assert kernels.mlp_fits(torch.zeros(1, 64, 40))
    for shape in ((1, 64, 160), (1, 47, 40), (1, 2**13, 40), (1, 64, 16)):  # wide, few sites, many, no tiles
        assert not kernels.mlp_fits(torch.zeros(shape)), shape
    assert kernels.mlp_fits(torch.zeros(1, 64, 40, dtype=torch.bfloat16))
    assert not kernels.mlp_fits(torch.zeros(1, 64, 80, dtype=torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not kernels.mlp_fits(torch.zeros(1, 64, 40))


@with_vectors
@pytest.mark.parametrize("reason", ["sample", "batch", "dropped", "adapted", "dense"])
def test_a_block_is_that_of_torch_whatever_computes_it(reason):
    class Adapted(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    torch.manual_seed(0)
    block = Block(40, grn_scope="batch" if reason == "batch" else "sample", drop_path=0.5 * (reason == "dropped"))
    if reason == "adapted":
        block.pwconv2 = Adapted(160, 40)
    randomise(block)
    shown = torch.tensor([[0, 3], [1, 2]])
    sites, shape = (Whole(), (2, 8, 8)) if reason == "dense" else (Visible(shown, grid=(2, 2), side=8), (2, 2, 8, 8))

    def apply(x):
        torch.manual_seed(2)
        return block(x, sites)

    x, calls, original = torch.randn(*shape, 40), [], kernels.operators.call
    with kernels_enabled(False):
        expected = results_of(apply, x, [block], True)
    kernels.operators.call = lambda name, *rest: (calls.append(name), original(name, *rest))[1]
    try:
        actual = results_of(apply, x, [block], True)
    finally:
        kernels.operators.call = original
    assert ("mlp_forward" in calls) == (reason in ("sample", "dense"))
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_response_norms_that_extinguish_a_feature_have_a_gradient():
    """Where 1 + gamma share is near 0, the activation cannot be had from what came out."""
    torch.manual_seed(0)
    norm, x = GlobalResponseNorm(32, "sample"), torch.randn(2, 5, 32)
    with torch.no_grad():
        active = F.gelu(x[:1])
        share = active.norm(dim=1) / active.norm(dim=1).mean()
        norm.gamma.copy_(torch.where(torch.arange(32) < 20, -1 / share, 0.7))  # just so for the first tile
        norm.beta.normal_()
    bias = torch.zeros(32)
    assert_same(lambda x: norm.of_gelu(x, bias) if kernels._enabled else norm(F.gelu(x + bias)), x, (norm,))


def test_gelu_is_exact_to_the_last_digits():
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, -0.0, 1e-30, 80.0, -80.0, 1e15, -1e15])])
    x = F.pad(x, (0, -len(x) % 16)).reshape(1, 1, -1)
    zeros, minus = torch.zeros(x.shape[-1]), torch.zeros(x.shape[-1])
    y = kernels.gelu_response(x, zeros, zeros, minus, 1e-6, over_batch=False)  # gamma 0: the norm does nothing
    torch.testing.assert_close(y, F.gelu(x), rtol=2e-6, atol=1e-6)


def test_what_is_not_a_number_stays_so():
    for bad in (float("nan"), float("inf")):
        x = torch.zeros(1, 2, 16)
        x[0, 1, 3] = bad
        zeros = torch.zeros(16)
        assert not kernels.gelu_response(x, zeros, zeros, zeros, 1e-6, over_batch=False)[0, 1, 3].isfinite()
        logits, values = torch.zeros(1, 1, 64 * 9), torch.zeros(1, 8, 8, dtype=torch.int64)
        logits[0, 0, 5] = bad
        total, _ = kernels.cross_entropy(logits, values, values == 0, torch.zeros(1, 1, dtype=torch.int64), 8)
        assert not total.isfinite()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", [(2, 2, 4, 16), (3, 5, 2, 2, 40), (1, 8, 6, 7)])
def test_halving_is_that_of_torch(shape, dtype):
    torch.manual_seed(0)
    norm, conv = nn.LayerNorm(shape[-1], eps=1e-6), nn.Conv2d(shape[-1], 24, 2, stride=2)
    randomise(norm, conv)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert_same(lambda x: halve(x, norm, conv), torch.randn(shape), (norm, conv))


def test_odd_sizes_are_halved_by_torch():
    norm, conv = nn.LayerNorm(16, eps=1e-6), nn.Conv2d(16, 24, 2, stride=2)
    x = torch.randn(2, 7, 5, 16)
    with torch.no_grad():
        halved = halve(x, norm, conv)
        with kernels_enabled(False):
            torch.testing.assert_close(halved, halve(x, norm, conv))
    assert halved.shape == (2, 3, 2, 24)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("patch", "bands", "features"), [(8, 12, 40), (8, 1, 16), (16, 13, 40), (16, 3, 33), (32, 2, 8)]
)
def test_stem_is_that_of_torch(patch, bands, features, whole):
    torch.manual_seed(0)
    k = patch // 8
    first = nn.Sequential(nn.Conv2d(bands, features, 3, padding=1), nn.LayerNorm(features, eps=1e-6), nn.GELU())
    second = nn.Sequential(nn.Conv2d(features, features, k, k, groups=features), nn.LayerNorm(features, eps=1e-6))
    randomise(first, second)
    visible = sample_visible(torch.arange(3), 6, 0.5)
    sites = Whole() if whole else Visible(shown_patches(visible, 3), grid=(2, 3), side=patch)
    images = torch.randn(3, bands, 2 * patch, 3 * patch)
    assert_same(lambda x: sites.stem(x, first, second), images, (first, second), input_gradient=False)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("standardise", [False, True])
def test_squared_error_is_that_of_the_definition(standardise, dtype):
    torch.manual_seed(0)
    values, valid = torch.randn(3, 5, 16, 24), torch.rand(3, 5, 16, 24) > 0.3
    valid[0, :, :8, :8] = False  # nothing is known of a patch
    values = values.masked_fill(~valid, 0)
    prediction = torch.randn(3, 2, 64 * 5, dtype=dtype, requires_grad=True)
    chosen = torch.tensor([[0, 4], [1, 2], [3, 5]])
    total, count = kernels.squared_error(prediction, values, valid, chosen, 8, standardise=standardise)
    (3 * total).backward()
    reference = prediction.detach().float().requires_grad_()
    expected, known = 0, 0
    for tile in range(3):
        for place, number in enumerate(chosen[tile].tolist()):
            y, x = 8 * (number // 3), 8 * (number % 3)
            target = values[tile, :, y : y + 8, x : x + 8].permute(1, 2, 0).flatten()
            there = valid[tile, :, y : y + 8, x : x + 8].permute(1, 2, 0).flatten()
            if standardise and there.any():
                target = (target - target[there].mean()) / (target[there].var() + 1e-6).sqrt()
            expected = expected + (reference[tile, place] - target)[there].square().sum()
            known += int(there.sum())
    (3 * expected).backward()
    assert count == known
    torch.testing.assert_close(total, expected.detach(), rtol=1e-5, atol=0)
    assert prediction.grad.dtype == dtype
    torch.testing.assert_close(prediction.grad.float(), reference.grad, rtol=TOLERANCE[dtype], atol=1e-5)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("classes", [1, 2, 9, 16, 37])
def test_cross_entropy_is_that_of_torch(classes, dtype):
    torch.manual_seed(0)
    values, valid = torch.randint(classes, (2, 16, 8)), torch.rand(2, 16, 8) > 0.3
    prediction = (4 * torch.randn(2, 1, 64 * classes)).to(dtype).requires_grad_()
    chosen = torch.tensor([[1], [0]])
    total, count = kernels.cross_entropy(prediction, values, valid, chosen, 8)
    total.backward()
    reference = prediction.detach().float().requires_grad_()
    rows = torch.stack([values[0, 8:], values[1, :8]]).flatten(), torch.stack([valid[0, 8:], valid[1, :8]]).flatten()
    each = F.cross_entropy(reference.reshape(-1, classes), rows[0], reduction="none")
    expected = each[rows[1]].sum()
    expected.backward()
    assert count == rows[1].sum()
    torch.testing.assert_close(total, expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prediction.grad.float(), reference.grad, rtol=TOLERANCE[dtype], atol=1e-5)


def test_targets_of_other_dtypes_count_the_same():
    torch.manual_seed(0)
    prediction, chosen = torch.randn(2, 1, 64), torch.tensor([[0], [1]])
    values, valid = torch.randn(2, 1, 8, 16), torch.ones(2, 1, 8, 16, dtype=torch.bool)
    expected = kernels.squared_error(prediction, values, valid, chosen, 8, standardise=False)[0]
    for other in (values.double(), values.transpose(2, 3).contiguous().transpose(2, 3)):
        assert (
            kernels.squared_error(prediction, other, valid.to(torch.uint8), chosen, 8, standardise=False)[0] == expected
        )
    classes = torch.randint(3, (2, 8, 16))
    logits = torch.randn(2, 1, 64 * 3)
    known = torch.ones(2, 8, 16, dtype=torch.bool)
    expected = kernels.cross_entropy(logits, classes, known, chosen, 8)[0]
    assert kernels.cross_entropy(logits, classes.to(torch.uint8), known, chosen, 8)[0] == expected


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_target_that_is_no_class_is_refused_unless_it_is_missing(bad):
    logits, classes, chosen = torch.zeros(1, 1, 64 * 3), torch.zeros(1, 8, 8, dtype=torch.int64), torch.tensor([[0]])
    classes[0, 2, 5] = bad
    known = classes == 0
    assert kernels.cross_entropy(logits, classes, known, chosen, 8)[1] == 63
    with pytest.raises(ClassError, match="not from 0 to 2") as caught:
        kernels.cross_entropy(logits, classes, torch.ones_like(known), chosen, 8)
    assert "not valid" in caught.value.hint


def test_what_does_not_fit_together_is_refused_before_memory_is_read():
    prediction, values, chosen = torch.zeros(2, 1, 64 * 5), torch.zeros(2, 5, 8, 16), torch.tensor([[0], [1]])
    known = torch.ones_like(values, dtype=torch.bool)
    for arguments in (
        (prediction, values[:1], known, chosen),
        (prediction, values[:, :4], known[:, :4], chosen),
        (prediction, values, known[:, :, :4], chosen),
        (prediction, values, known, chosen + 1),
        (prediction, values, known, chosen[:1]),
    ):
        with pytest.raises(GridError, match="do not fit"):
            kernels.squared_error(*arguments, 8, standardise=False)
    with pytest.raises(GridError, match="7 x 4 sites cannot be halved"):
        kernels.norm_fold(torch.zeros(1, 7, 4, 16), nn.LayerNorm(16))
    vector = torch.zeros(20)
    y, first, second = torch.zeros(1, 9, 32), nn.Linear(32, 128), nn.Linear(128, 32)
    for wrong in ((y, y[:, :8], first, second), (y, None, second, first), (y[..., :16], None, first, second)):
        features, residual, *layers = wrong
        with pytest.raises(InputError, match="have no kernel for features"):
            kernels.mlp(features, residual, layers[0], torch.zeros(128), torch.zeros(128), layers[1], 1e-6)
    with pytest.raises(InputError, match="20 features are no multiple of 16"):
        kernels.gelu_response(torch.zeros(1, 2, 20), vector, vector, vector, 1e-6, over_batch=False)


_LARGE = [
    pytest.param(size, "mmearth", 8, (2, 1), marks=pytest.mark.slow) for size in ("tiny", "base", "large", "huge")
]


@pytest.mark.parametrize(
    ("size", "stem", "patch", "grid"),
    [
        ("micro", "mmearth", 8, (3, 2)),
        ("micro", "mmearth", 16, (1, 4)),
        ("micro", "mmearth", 32, (2, 1)),
        ("micro", "convnextv2", 8, (4, 1)),
        ("micro", "convnextv2", 16, (2, 3)),
        ("atto", "mmearth", 8, (3, 2)),
        ("atto", "mmearth", 16, (1, 4)),
        ("atto", "convnextv2", 32, (2, 2)),
        *((size, "mmearth", 8, (2, 1)) for size in ("femto", "pico", "nano")),
        *_LARGE,
    ],
)
def test_three_paths_agree_in_single_precision(size, stem, patch, grid):
    torch.manual_seed(0)
    settings_ = EncoderSettings(size=size, patch_size=patch, image_size=patch * 4, stem=stem, bands=("B2", "B3", "B4"))
    encoder = ConvNeXtV2(settings_)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.2)
    patches = grid[0] * grid[1]
    images = torch.randn(2, 3, grid[0] * patch, grid[1] * patch)
    for count in sorted({1, patches // 2, patches - 1, patches}):
        visible = torch.zeros(2, patches, dtype=torch.bool)
        for tile in visible:
            tile[torch.randperm(patches)[:count]] = True
        paths = {"visible": (visible, count), "masked": (visible, None)}
        if count == patches:
            paths["dense"] = (None, None)
        results = {}
        for name, (shown, number) in paths.items():
            encoder.zero_grad()
            output = encoder(images, shown, number)
            output.square().mean().backward()
            results[name] = [output.detach(), *(p.grad.clone() for p in encoder.parameters())]
        for name in paths:
            for ours, theirs in zip(results[name], results["masked"], strict=True):
                assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max(), (name, count)


def test_results_do_not_depend_on_the_number_of_threads():
    torch.manual_seed(0)
    encoder = ConvNeXtV2(EncoderSettings(size="micro"))
    images, visible = torch.randn(5, 12, 56, 56), sample_visible(torch.arange(5), 49, 0.6)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            sites = Visible(shown_patches(visible, 19), grid=(7, 7), side=8)
            block, features = encoder.stages[0][0], torch.linspace(-1, 1, 5 * 19 * 64 * 32).reshape(5, 19, 8, 8, 32)
            with torch.no_grad():
                y = sites.convolve_norm(features, block.dwconv, block.norm)
            encoder.zero_grad()
            block(features, sites).square().sum().backward()
            stem = sites.__class__(shown_patches(visible, 19), grid=(7, 7), side=8).stem
            stem(images, encoder.initial_conv, encoder.stem).square().sum().backward()
            learned = [*encoder.initial_conv.parameters(), *block.parameters()]
            results.append([y, *(p.grad.clone() for p in learned)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "conv_norm",
        "gelu_response",
        pytest.param("mlp", marks=with_vectors),
        "norm_fold",
        "squared_error",
        "cross_entropy",
        "stem",
    ],
)
def test_torch_accepts_the_operators(name):
    torch.manual_seed(0)

    def leaf(*shape):
        return torch.randn(*shape).requires_grad_()

    chosen = torch.tensor([[0], [1]])
    maps = torch.randint(3, (2, 8, 16))
    vector, row = [leaf(3) for _ in range(3)], torch.arange(8)[None] * 8
    five = [leaf(5) for _ in range(6)]
    stem = (leaf(5, 2, 3, 3), *five[:3], leaf(5, 1, 2, 2), *five[3:])
    known = torch.ones(2, 1, 8, 16, dtype=torch.bool)
    arguments = {
        "conv_norm": (leaf(2, 8, 8, 3), row, 8, 8, 8, leaf(3, 1, 7, 7), *vector, 1e-6, torch.float32),
        "gelu_response": (leaf(2, 4, 16), leaf(16), leaf(16), leaf(16), 1e-6, False),
        "mlp": (
            leaf(2, 5, 32),
            leaf(2, 5, 32),
            leaf(128, 32),
            *[leaf(128) for _ in range(3)],
            leaf(32, 128),
            leaf(32),
            1e-6,
        ),
        "norm_fold": (leaf(2, 4, 4, 3), leaf(3), leaf(3), 1e-6, torch.float32),
        "squared_error": (leaf(2, 1, 64), torch.randn(2, 1, 8, 16), known, chosen, 8, True),
        "cross_entropy": (leaf(2, 1, 64 * 3), maps, maps > 0, chosen, 8),
        "stem": (torch.randn(2, 2, 8, 8), row, 8, 8, 8, *stem, 1e-6, torch.float32),
    }
    operator = getattr(torch.ops.geopretext, name).default
    torch.library.opcheck(
        operator, arguments[name], test_utils=("test_schema", "test_faketensor", "test_autograd_registration")
    )


def test_other_dtypes_and_a_switch_take_plain_torch(monkeypatch):
    assert kernels.can_run(torch.zeros(1))
    assert not kernels.can_run(torch.zeros(1, dtype=torch.float64))
    assert not kernels.can_run(torch.zeros(1, dtype=torch.float16))
    assert not kernels.can_run(torch.zeros(1, device="meta"))
    with kernels_enabled(False):
        assert not kernels.can_run(torch.zeros(1))
    check = "import torch; from geopretext.nn.kernels import can_run; print(can_run(torch.zeros(1)))"
    monkeypatch.setenv("GEOPRETEXT_KERNELS", "0")
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=True).stdout == b"False\n"


@pytest.fixture
def fresh(monkeypatch):
    """``library`` as in a new process, compiled in less time."""
    monkeypatch.setattr(compiler, "_FLAGS", ("-O0", *compiler._FLAGS[1:]))
    compiler.library.cache_clear()
    yield compiler.library
    compiler.library.cache_clear()


def test_compiling_is_done_once_and_shared(tmp_path, monkeypatch, fresh):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert fresh() is not None
    (made,) = (tmp_path / "cache" / "geopretext").iterdir()
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    first = made.stat().st_mtime_ns
    fresh.cache_clear()
    assert fresh() is not None
    assert made.stat().st_mtime_ns == first


def test_without_a_compiler_plain_torch_serves(tmp_path, monkeypatch, fresh, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with caplog.at_level(logging.INFO, "geopretext"):
        assert fresh() is None
    assert "no C compiler here (cc, gcc, clang)" in caplog.text
    assert "two to three times as long" in caplog.text


def test_with_a_compiler_that_fails_plain_torch_serves(tmp_path, monkeypatch, fresh, caplog):
    broken = tmp_path / "cc"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho no such instruction >&2\nexit 1\n')
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with caplog.at_level(logging.INFO, "geopretext"):
        assert fresh() is None
    assert "no such instruction" in caplog.text
    assert not list((tmp_path / "cache" / "geopretext").iterdir()), "nothing half-made is left"


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch, fresh):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fresh() is not None


@pytest.mark.parametrize("patch", [8, 16])
def test_maps_larger_than_the_kernels_room_are_computed_in_bands(monkeypatch, patch):
    torch.manual_seed(0)
    network = ConvNeXtV2(EncoderSettings(size="micro", patch_size=patch, bands=("B2", "B3"), image_size=64)).eval()
    x = torch.randn(2, 2, 96, 64)
    with torch.no_grad():
        at_once = network.forward_stages(x)
        monkeypatch.setattr(sites, "LARGEST_MAP", 64 * 20)
        for ours, theirs in zip(network.forward_stages(x), at_once, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

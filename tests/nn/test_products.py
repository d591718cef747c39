"""Products by another library or in another order, against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from geopretext.nn import products
from geopretext.nn.kernels import kernels_enabled
from geopretext.nn.kernels.operators import _in_order
from geopretext.nn.products import Linear, adopt, linear, multiply

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.fixture(params=["mkl", pytest.param("onednn", marks=pytest.mark.skipif(not HAS_ONEDNN, reason="no oneDNN"))])
def library(request, monkeypatch):
    """Whichever processor this is, both ways are taken."""
    monkeypatch.setattr(products, "_FEW", 0)
    monkeypatch.setattr(products, "onednn_is_faster", lambda: request.param == "onednn")
    return request.param


def gradients(function, *inputs):
    inputs = [None if each is None else each.clone().requires_grad_() for each in inputs]
    y = function(*inputs)
    torch.manual_seed(1)
    y.backward(torch.randn(y.shape).to(y.dtype))
    return y.detach(), *(each.grad for each in inputs if each is not None)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("few", "wide"), [(40, 160), (16, 17), (160, 40), (320, 1280), (1, 3), (5, 1)])
def test_how_a_product_is_computed_changes_nothing(few, wide, with_bias, library):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 5, 2, few), torch.randn(wide, few), torch.randn(wide) if with_bias else None
    found, wanted = gradients(linear, x, weight, bias), gradients(F.linear, x, weight, bias)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
        assert ours.stride() == theirs.stride(), "processes exchange gradients as they lie"


class Operators(TorchDispatchMode):
    """Names of the operators that are called within it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **kwargs or {})


def test_the_chosen_library_multiplies_all_three_times(library):
    x, weight = torch.randn(8, 4, requires_grad=True), torch.randn(16, 4, requires_grad=True)
    with Operators() as called:
        linear(x, weight).sum().backward()
    assert called.names.count("geopretext.multiply.default") == (3 if library == "onednn" else 0)


def test_a_vector_and_an_empty_batch_are_multiplied_too(library):
    weight, bias = torch.randn(3, 4), torch.randn(3)
    for x in (torch.randn(4), torch.randn(0, 4), torch.randn(2, 0, 4)):
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))


def test_a_strided_input_is_multiplied_as_it_is(library):
    x, weight = torch.randn(8, 2, 6).transpose(0, 1), torch.randn(3, 12)[:, ::2]
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(multiply(x[0].t(), torch.randn(8, 5).t()).shape, torch.Size([6, 5]))


@pytest.mark.parametrize(
    ("matrix", "stays"),
    [
        (torch.ones(3, 5), True),
        (torch.ones(3, 5).t(), True),
        (torch.ones(3, 8)[:, :5], True),
        (torch.ones(1).expand(3, 5), False),
        (torch.ones(5).expand(3, 5), False),
        (torch.ones(3, 10)[:, ::2], False),
    ],
)
def test_the_library_gets_rows_or_columns(matrix, stays):
    assert (_in_order(matrix) is matrix) == stays
    assert 1 in _in_order(matrix).stride()
    assert 0 not in _in_order(matrix).stride()


@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)])
def test_what_needs_no_gradient_gets_none(needed, library):
    shapes = (4, 8), (16, 8), (16,)
    inputs = [torch.randn(shape).requires_grad_(need) for shape, need in zip(shapes, needed, strict=True)]
    linear(*inputs).sum().backward()
    assert tuple(each.grad is not None for each in inputs) == needed


def test_autocast_decides_the_numbers(library):
    x, weight = torch.randn(4, 8), torch.randn(16, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = linear(x, weight)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert weight.grad.dtype == torch.float32


def test_other_numbers_and_no_kernels_are_left_to_torch(library, monkeypatch):
    monkeypatch.setattr(products._Linear, "apply", lambda *_: pytest.fail("not torch's own"))
    x, weight = torch.randn(4, 8), torch.randn(16, 8)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    assert linear(x.bfloat16(), weight.bfloat16()).dtype == torch.bfloat16
    with kernels_enabled(False):
        assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_few_multiply_adds_are_not_worth_a_call(monkeypatch):
    taken = []
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(
        products._Linear, "apply", lambda x, weight, bias: taken.append(len(x)) or F.linear(x, weight, bias)
    )
    for sites in (1, 2**12, 2**13):
        linear(torch.randn(sites, 32), torch.randn(32, 32))
    assert taken == [2**12, 2**13]


def test_layers_of_other_libraries_are_adopted(library):
    network = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.ModuleDict({"inner": nn.Linear(8, 2)})["inner"])
    x = torch.randn(3, 4)
    before, names = network(x), list(network.state_dict())
    adopt(network)
    assert [type(layer) for layer in network] == [Linear, nn.GELU, Linear]
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network(x), before, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning")  # torch's own
def test_a_compiled_layer_is_one_graph(library):
    layer, x = Linear(8, 16), torch.randn(4, 8)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x), rtol=1e-5, atol=1e-5)
    compiled(x).sum().backward()
    assert layer.weight.grad.shape == (16, 8)


@pytest.mark.parametrize(
    ("maker", "capability", "faster"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("GenuineIntel", "AVX512", False),
        ("AuthenticAMD", "AVX2", False),
        ("", "AVX512", False),
    ],
)
@pytest.mark.skipif(not (HAS_ONEDNN and torch.backends.mkl.is_available()), reason="torch has one library only")
def test_the_library_follows_from_the_processor(maker, capability, faster, monkeypatch):
    monkeypatch.setattr(products, "processor_says", lambda _: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert products._onednn_is_faster.__wrapped__() is faster

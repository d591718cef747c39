import torch

from geopretext.nn.seeded import derived, scramble, uniform


def test_scramble_is_splitmix64():
    first, second = 16294208416658607535, 7960286522194355700  # of state 0, from the authors' reference code
    step = 0x9E3779B97F4A7C15 - 2**64
    assert [int(x) % 2**64 for x in scramble(torch.tensor([0, step]))] == [first, second]


def test_numbers_are_uniform_and_below_one():
    numbers = uniform(torch.arange(2000), 50)
    assert numbers.dtype == torch.float32
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    counts = torch.histc(numbers, 10, 0, 1)
    assert ((counts - 10_000).abs() < 400).all()  # four standard deviations
    correlation = torch.corrcoef(numbers.T)
    assert (correlation - torch.eye(50)).abs().max() < 0.1


def test_numbers_depend_on_the_seed_alone():
    seeds = torch.tensor([5, 2**62, 7])
    assert torch.equal(uniform(seeds, 3)[1:], uniform(seeds[1:], 3))
    assert torch.equal(uniform(seeds, 2), uniform(seeds, 3)[:, :2])


def test_streams_have_nothing_in_common():
    seeds = torch.arange(2000)
    streams = torch.cat([uniform(derived(seeds, stream), 1) for stream in range(1, 20)], 1)
    assert (torch.corrcoef(streams.T) - torch.eye(19)).abs().max() < 0.1
    assert len(streams.unique()) > 0.99 * streams.numel()

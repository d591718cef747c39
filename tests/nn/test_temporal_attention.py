"""Attention over dates, against loops and closed forms."""

import numpy as np
import pytest
import torch

from geopretext.nn.temporal_attention import (
    SeriesDecoder,
    SeriesProjector,
    day_of_year,
    encode_days,
    telling_dates,
)

INPUTS, DIM, HEADS = 6, 16, 4


def make_projector(dropout: float = 0.0) -> SeriesProjector:
    torch.manual_seed(0)
    return SeriesProjector(INPUTS, DIM, widths=(8,), heads=HEADS, key_dim=3, dropout=dropout, date_base=367.0).eval()


def made(count: int = 5, dates: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, dates, INPUTS, generator=generator)
    seen = torch.rand(count, dates, generator=generator) < 0.7
    seen[0], seen[1, 0], seen[1, 1:] = True, True, False
    return x * seen[..., None], seen, torch.randint(1, 367, (count, dates), generator=generator)


def test_days_of_the_year_are_numpys() -> None:
    dates = np.arange(np.datetime64("1896-01-01"), np.datetime64("2105-01-01"), 1)
    since = dates.astype("datetime64[D]").astype(np.int64)
    wanted = (dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1
    np.testing.assert_array_equal(day_of_year(torch.from_numpy(since)).numpy(), wanted)
    assert day_of_year(torch.tensor([-0.5, 58.9, 59.0])).tolist() == [365, 59, 60]


def test_days_are_encoded_as_in_the_transformer() -> None:
    width, base = 6, 367.0
    found = encode_days(torch.tensor([[3, 200]]), width, base)
    for place, day in enumerate((3, 200)):
        for feature in range(width):
            angle = day / base ** (2 * (feature // 2) / width)
            wanted = np.cos(angle) if feature % 2 else np.sin(angle)
            assert float(found[0, place, feature]) == pytest.approx(wanted, abs=1e-5)


@torch.no_grad()
def test_a_token_is_what_a_loop_over_heads_and_dates_gathers() -> None:
    projector = make_projector()
    x, seen, days = made()
    tokens, attention = projector(x, seen, days)
    width = DIM // HEADS
    for n in range(len(x)):
        features = projector.embed(x[n]).numpy() + np.tile(encode_days(days[n], width, 367.0).numpy(), HEADS)
        keys = features @ projector.keys.weight.numpy().T + projector.keys.bias.numpy()
        here = np.flatnonzero(seen[n].numpy())
        gathered, mean = np.zeros(DIM), np.zeros(len(days[n]))
        for head in range(HEADS):
            logits = keys[here, 3 * head : 3 * head + 3] @ projector.query[head].numpy() / np.sqrt(3)
            weights = np.exp(logits) / np.exp(logits).sum()
            mean[here] += weights / HEADS
            for weight, date in zip(weights, here, strict=True):
                gathered[width * head : width * (head + 1)] += (
                    weight * features[date, width * head : width * (head + 1)]
                )
        np.testing.assert_allclose(attention[n].numpy(), mean, atol=1e-5)
        wanted = projector.out(torch.from_numpy(gathered).float()[None])[0]
        np.testing.assert_allclose(tokens[n].numpy(), wanted.numpy(), atol=1e-4)


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    projector = make_projector()
    x, seen, days = made()
    tokens, attention = projector(x, seen, days)
    longer = [torch.cat([part, part.new_zeros(len(x), 4, *part.shape[2:])], 1) for part in (x, seen, days)]
    more, padded = projector(*longer)
    assert torch.allclose(more, tokens, atol=1e-6)
    assert torch.allclose(padded[:, :7], attention, atol=1e-6)
    assert not padded[:, 7:].any()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    shuffled, _ = projector(x[:, order], seen[:, order], days[:, order])
    assert torch.allclose(shuffled, tokens, atol=1e-5)


def test_a_patch_without_dates_and_a_single_one_are_finite() -> None:
    projector = make_projector().train()
    x, seen, days = made()
    seen[2] = False
    tokens, attention = projector(x * seen[..., None], seen, days)
    assert tokens.isfinite().all()
    assert not attention[2].any()
    assert torch.allclose(attention.sum(1)[seen.any(1)], torch.tensor(1.0))
    tokens.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in projector.parameters())
    one, _ = projector(x[:1, :1], seen[:1, :1], days[:1, :1])
    assert one.shape == (1, DIM)


def test_attention_is_given_before_dropout() -> None:
    """Dropout would put noise, and zeros, into what dates are reconstructed."""
    x, seen, days = made()
    projector = make_projector(0.5)
    x = torch.zeros_like(x)  # dropout of features before the keys leaves numbers that do not depend on x
    for module in projector.embed:
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    quiet = projector(x, seen, days)[1]
    noisy = projector.train()(x, seen, days)
    assert torch.equal(noisy[1], quiet)
    assert not torch.equal(noisy[0], projector(x, seen, days)[0])


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.75, 1.0])
def test_telling_dates_are_those_above_numpys_quantile(quantile: float) -> None:
    generator = torch.Generator().manual_seed(3)
    attention = torch.rand(6, 9, generator=generator)
    seen = torch.rand(6, 9, generator=generator) < 0.7
    seen[0], seen[1], seen[2] = True, False, False
    seen[2, 4] = True
    attention = attention * seen
    chosen = telling_dates(attention, seen, quantile)
    for row in range(6):
        here = attention[row][seen[row]].numpy()
        wanted = np.zeros(9, bool)
        if len(here):
            wanted = seen[row].numpy() & (attention[row].numpy() >= np.quantile(here, quantile) - 1e-7)
        np.testing.assert_array_equal(chosen[row].numpy(), wanted)
    assert chosen.any(1).tolist() == seen.any(1).tolist()
    longer = [torch.cat([part, torch.zeros_like(part)], 1) for part in (attention, seen)]
    assert torch.equal(telling_dates(*longer, quantile)[:, :9], chosen)


@torch.no_grad()
def test_a_series_is_decoded_by_one_layer_of_token_and_day() -> None:
    decoder = SeriesDecoder(5, 8, 367.0)
    tokens, days = torch.randn(3, 8), torch.tensor([1, 150, 366])
    wanted = (tokens + encode_days(days, 8, 367.0)) @ decoder.linear.weight.T + decoder.linear.bias
    assert torch.allclose(decoder(tokens, days), wanted, atol=1e-6)
    assert decoder(tokens[:0], days[:0]).shape == (0, 5)

"""Which band of the inputs goes into which band of an encoder: by name, by a declared substitute, or filled.

Nothing is ever matched by position, and nothing is replaced without being asked for: a band that is missing is an error
that says how to go on. So2Sat has neither B1 nor B9; MMEarth takes B2 and B8A in their places, and that is written
``--substitute B1=B2,B9=B8A``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geopretext.errors import BandError


@dataclass(frozen=True)
class BandMatch:
    """Where each band of an encoder comes from."""

    wanted: tuple[str, ...]
    """the encoder's bands in its order"""
    sources: tuple[str | None, ...]
    """the band of the inputs that each is read from; None: it is filled, that is, missing everywhere"""
    unused: tuple[str, ...] = ()
    """bands of the inputs that the encoder does not see"""
    notes: tuple[str, ...] = field(default=())
    """declared and not needed"""

    @property
    def real(self) -> tuple[str, ...]:
        """Bands that come from the band of the same name."""
        return tuple(name for name, source in zip(self.wanted, self.sources, strict=True) if source == name)

    @property
    def substituted(self) -> dict[str, str]:
        """Bands that come from another one, and which."""
        pairs = zip(self.wanted, self.sources, strict=True)
        return {name: source for name, source in pairs if source is not None and source != name}

    @property
    def filled(self) -> tuple[str, ...]:
        """Bands that are missing everywhere."""
        return tuple(name for name, source in zip(self.wanted, self.sources, strict=True) if source is None)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for ``scores.json``."""
        return {
            "matched": list(self.real),
            "substituted": self.substituted,
            "filled": list(self.filled),
            "unused": list(self.unused),
        }


def match_bands(
    wanted: Sequence[str],
    given: Sequence[str],
    *,
    substitutes: Mapping[str, str] | None = None,
    fill: Sequence[str] = (),
    where: str = "",
) -> BandMatch:
    """Find each wanted band among those given.

    Args:
        wanted: the encoder's bands, in its order.
        given: bands of the inputs.
        substitutes: for a wanted band that is not given, the given band to take in its place.
        fill: wanted bands that may be missing everywhere, if they are not given.
        where: the inputs, for messages.

    Raises:
        BandError: a wanted band is neither given, substituted nor filled, or a declaration makes no sense.
    """
    substitutes = substitutes or {}
    for name, source in substitutes.items():
        if source not in given:
            raise BandError(
                f"band {source!r}, declared in the place of {name!r}, is not there; there are {', '.join(given)}",
                where=where,
                hint="--substitute WANTED=GIVEN",
            )
    absent = [name for name in wanted if name not in given]
    helpless = [name for name in absent if name not in substitutes and name not in fill]
    if helpless:
        common = [name for name in wanted if name in given]
        raise BandError(
            f"the encoder wants band {', '.join(helpless)}, which the images lack; they have {', '.join(given)}",
            where=where,
            hint="pretrain an encoder on bands that they have: a recipe with encoder.bands:"
            f" [{', '.join(common or given)}]; or declare what to take instead,"
            f" --substitute {helpless[0]}={(common or given)[0]}, or that nothing is, --fill {','.join(helpless)}",
        )
    sources = tuple(name if name in given else substitutes.get(name) for name in wanted)
    if all(source is None for source in sources):
        raise BandError("every band of the encoder would be filled", where=where)
    return BandMatch(
        tuple(wanted),
        sources,
        tuple(name for name in given if name not in sources),
        tuple(name for name in (*substitutes, *fill) if name not in absent),
    )

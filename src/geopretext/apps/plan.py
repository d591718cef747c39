"""``geopretext plan``: what a build will take, measured on a few of its tasks."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.build_recipe import add_recipe, open_maker, read_overrides
from geopretext.apps.progress import ProgressLine

if TYPE_CHECKING:  # the geospatial libraries load when a build is planned
    from geopretext.build.plan import BuildPlan

_EXAMPLE = """\
geopretext plan places.parquet --recipe mmearth-stac
geopretext plan places.parquet --recipe mmearth-stac --workers 8 --trials 4 --json"""

_ABOUT = """\
Say what `geopretext build` with the same words will take: requests, bytes read, size of the store, hours, cost of
storage. A few of its tasks are really done, and what they took is multiplied; nothing is kept."""

_DOLLARS = 0.023


def run(arguments: Sequence[str]) -> None:
    """Try, multiply, print."""
    parser = VerbParser(
        "plan",
        about=_ABOUT,
        example=_EXAMPLE,
        usage="geopretext plan PLACES --recipe RECIPE [options] [--KEY.KEY VALUE]",
    )
    add_recipe(parser)
    add = parser.add_argument
    add("--limit", type=whole(1), metavar="N", help="only the first N places")
    add("--trials", type=whole(1), default=2, metavar="N", help="tasks to do; default: %(default)s")
    add("--group-size", type=whole(1), metavar="N", help="places of one task, as for `geopretext build`")
    add("--workers", type=whole(1), metavar="N", help="processes to give hours for; default: 1, 4, 16 and 64")
    add(
        "--price",
        type=float,
        default=_DOLLARS,
        metavar="USD",
        help="of a GB of storage a month; default: %(default)s, the list price of S3 Standard",
    )
    add("--json", action="store_true", help="print it as JSON")
    options, rest = parser.parse_known_args(arguments)
    recipe, maker, places = open_maker(options, read_overrides(parser, rest))

    from geopretext.build.pipeline import GROUP_SIZE
    from geopretext.build.plan import plan_build

    plan = plan_build(
        recipe,
        maker,
        places.take(slice(options.limit)),
        group_size=options.group_size or GROUP_SIZE,
        trials=options.trials,
        progress=ProgressLine("trial tasks done"),
    )
    workers = [options.workers] if options.workers else [1, 4, 16, 64]
    if options.json:
        hours = {str(count): plan.hours(count) for count in workers}
        print(json.dumps({**plan.to_dict(), "hours": hours, "usd_a_month": _cost(plan, options.price)}, indent=2))
    else:
        print("\n".join(_lines(plan, workers, options.price)))


def _cost(plan: "BuildPlan", price: float) -> float:
    return plan.store_bytes / 1e9 * price


def _lines(plan: "BuildPlan", workers: Sequence[int], price: float) -> list[str]:
    low, high = (amount / 1e9 for amount in plan.bytes_read_range)
    failed = ", ".join(f"{count:,} {reason}" for reason, count in plan.failed.items())
    rows = [
        ("places", f"{plan.places:,} in {plan.tasks:,} tasks"),
        ("tiles", f"about {plan.tiles:,}" + (f"; not: {failed}" if failed else "")),
        ("requests", f"{plan.requests:,} ({plan.requests / plan.places:.1f} a place)"),
        (
            "read",
            f"{plan.bytes_read / 1e9:,.3g} GB ({low:,.3g} to {high:,.3g} by single trial tasks)",
        ),
        ("store", f"{plan.store_bytes / 1e9:,.3g} GB, {_cost(plan, price):,.2f} USD a month at {price:g} a GB"),
        *((f"{count} worker{'s' if count > 1 else ''}", _duration(plan.hours(count))) for count in workers),
    ]
    width = max(len(name) for name, _ in rows)
    return [
        *(f"{name:{width}}  {text}" for name, text in rows),
        "",
        f"Assumed: other places are as those of the {plan.tried_tasks} trial tasks ({plan.tried_places:,} places),",
        "workers have this machine and network each, and archives answer so many. While a build runs,",
        "its parts beside the store take about as much again.",
    ]


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:,.1f} minutes"

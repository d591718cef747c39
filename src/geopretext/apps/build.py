"""``geopretext build``: places and a recipe -> tile store, on the processes of this machine or of a Dask cluster."""

import argparse
import json
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.build_recipe import ShowRecipe, add_recipe, open_maker, parse_with_overrides
from geopretext.apps.progress import say
from geopretext.errors import Reason

if TYPE_CHECKING:  # the geospatial libraries load when a build runs
    from geopretext.build.crew import Crew
    from geopretext.build.pipeline import Build, BuildOutlook, BuildReport

_EXAMPLE = """\
geopretext build places.parquet --recipe synthetic --out tiles.zarr
geopretext build places.parquet --recipe mmearth-stac --out tiles.zarr --limit 100      # the first 100, for a look
geopretext build places.parquet --recipe mmearth-stac --out tiles.zarr --retry-failed
geopretext build --show-recipe mmearth-stac > my.yaml
geopretext build places.parquet --recipe my.yaml --out s3://bucket/tiles.zarr --scheduler tcp://10.0.0.1:8786
geopretext build places.parquet --recipe my.yaml --out tiles.zarr --modalities.sentinel2.pair.max_cloud 30"""

_BUG = str(Reason.BUG)

_ABOUT = """\
Make a tile of every place by a recipe, and put them into a store with split and statistics.

The same command goes on with a build that was stopped, in whatever way. A place that cannot be made does not stop the
others: the store's places.parquet says of each place whether it is done, or why not. docs/pipeline.md tells the rest.

Any key of the recipe can be replaced, by --KEY.KEY VALUE, where the value is YAML."""


def run(arguments: Sequence[str]) -> int:
    """Build, print what came of it; 1 if there is no tile at all, or with ``--strict`` if any place failed."""
    parser = _parser()
    options, overrides = parse_with_overrides(parser, arguments)
    if options.memory and (options.scheduler or options.workers == 0):
        parser.error("argument --memory: it is of the processes of --workers; there are none of ours to limit here")
    with _terminated_as_interrupted():
        build = _build(options, overrides)
        if options.dry_run:
            _print_outlook(build.outlook(), build, as_json=options.json)
            return 0
        from geopretext.apps.build_progress import build_progress

        try:
            with _crew(options, build) as crew, build_progress() as progress:
                report = build.run(crew, progress=progress)
        except KeyboardInterrupt:
            say("stopped; the same command goes on with the build")
            raise
    _print_report(report, arguments, as_json=options.json)
    return 1 if not report.done or (options.strict and report.failed) else 0


def _parser() -> VerbParser:
    parser = VerbParser(
        "build",
        about=_ABOUT,
        example=_EXAMPLE,
        usage="geopretext build PLACES --recipe RECIPE --out STORE [options] [--KEY.KEY VALUE ...]",
    )
    add_recipe(parser)
    add = parser.add_argument
    add("--show-recipe", action=ShowRecipe, metavar="NAME", help="print a recipe that ships, to be changed; no more")
    add("--out", required=True, metavar="STORE", help="tile store to write or to go on with: a folder, s3:// or gs://")
    add("--limit", type=whole(1), metavar="N", help="only the first N places; it can be raised later")
    add("--retry-failed", action="store_true", help="make places again that have failed before")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=whole(0),
        metavar="N",
        help="processes on this machine; 0: none but this one; default: one a core",
    )
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that runs, as tcp://10.0.0.1:8786")
    add("--memory", metavar="SIZE", help="most memory of each process, as 4GiB; default: an equal share of all")
    add("--group-size", type=whole(1), metavar="N", help="places of one task; tiles do not depend on it")
    add("--strict", action="store_true", help="exit with 1 if any place failed")
    add("--json", action="store_true", help="print the summary as JSON")
    return parser


def _build(options: argparse.Namespace, overrides: Mapping[str, Any]) -> "Build":
    recipe, maker, places = open_maker(options, overrides)

    from geopretext.build.pipeline import GROUP_SIZE, Build

    return Build(
        recipe=recipe,
        maker=maker,
        places=places,
        out=options.out,
        limit=options.limit,
        group_size=options.group_size or GROUP_SIZE,
        retry_failed=options.retry_failed,
    )


@contextmanager
def _crew(options: argparse.Namespace, build: "Build") -> Iterator["Crew"]:
    """Whoever is to make the tiles, and a word about them."""
    tasks = build.outlook().tasks
    if options.workers == 0 or not tasks:
        from geopretext.build.crew import SingleProcess

        yield SingleProcess()
        return
    from geopretext.build.dask_crew import cluster_crew, local_crew

    if options.scheduler:
        with cluster_crew(options.scheduler) as crew:
            crew.probe(build.staging.path)
            say(f"{crew.workers} workers of {options.scheduler}{_dashboard(crew.dashboard)}")
            yield crew
        return
    with local_crew(options.workers, at_most=tasks, memory_limit=options.memory) as crew:
        say(f"{crew.workers} workers on this machine{_dashboard(crew.dashboard)}")
        yield crew


def _dashboard(address: str) -> str:
    return f", dashboard at {address}" if address else ""


def _print_outlook(outlook: "BuildOutlook", build: "Build", *, as_json: bool) -> None:
    sources = {name: ", ".join(entry.archives) or "derived" for name, entry in build.recipe.modalities.items()}
    if as_json:
        print(json.dumps({**outlook.to_dict(), "sources": sources}, indent=2))
        return
    from geopretext.apps.build_progress import failures

    state = "goes on with" if outlook.exists else "would make"
    print(f"{state} {outlook.path}: {outlook.places:,} places")
    print(f"  {outlook.done:,} done, {failures(outlook.failed) or '0 failed'}")
    print(f"  {outlook.to_make:,} to make, in {outlook.tasks:,} tasks of up to {build.group_size}")
    width = max(map(len, sources))
    print("\n".join(f"  {name:{width}}  {source}" for name, source in sources.items()))


def _print_report(report: "BuildReport", arguments: Sequence[str], *, as_json: bool) -> None:
    from geopretext.apps.build_progress import failures

    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(f"{report.path}: {report.done:,} of {report.places:,} places are tiles")
        if report.failed:
            print(failures(report.failed))
        if report.splits:
            print(", ".join(f"{count:,} {name}" for name, count in report.splits.items()))
        rate = f", {report.made / report.seconds:,.1f} a second" if report.made else ""
        amounts = "".join(f", {count:,} {what}" for what, count in report.counts.items())
        print(f"{report.made:,} places in {report.seconds:,.0f} s{rate}{amounts}")
    for note in report.notes:
        say(note)
    if bugs := report.failed.get(_BUG):
        say(f"{bugs:,} places failed by an {_BUG} that looks like a bug of geopretext")
        say(f"hint: please report it to its authors, with the sentences of {report.path}/places.parquet")
    if not report.done:
        say("error: no place could be made into a tile")
        say(f"hint: {report.path}/places.parquet says why of each")
    elif report.failed:
        again = [word for word in arguments if word not in ("--retry-failed", "--json")]
        say(f"to try the failed ones again: {shlex.join(['geopretext', 'build', *again, '--retry-failed'])}")
    else:
        say(f"next: geopretext inspect {report.path}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a job, do what Ctrl-C does: leave cleanly, and let others go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

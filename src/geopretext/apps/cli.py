"""``geopretext VERB``: finds the verb, runs it, and turns what went wrong into one line, a hint and an exit code.

A verb is a module of this package with ``run(arguments)``; it is imported only when it is called, so that
``geopretext --help`` needs neither torch nor numpy. Exit codes: 0 done, 1 geopretext refused and said why,
2 the command line was wrong, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Protocol, cast

from geopretext import __version__
from geopretext.errors import GeopretextError


@dataclass(frozen=True)
class Verb:
    """One word of the command line and the module that does it."""

    name: str
    module: str
    """of this package; has ``run(arguments)``"""
    summary: str
    """one line for ``geopretext --help``"""


class VerbModule(Protocol):
    """What the module of a verb offers."""

    def run(self, arguments: Sequence[str]) -> int | None:
        """Parse, call, print; the exit code, or None for 0."""


VERBS = (
    Verb("demo", "demo", "the whole idea in minutes: tiles, pretraining, probes, a report with pictures"),
    Verb("modalities", "modalities", "the modalities: kinds, bands, units, missing values, classes"),
    Verb("places", "places", "sample places on the Earth by biome and ecoregion -> places.parquet"),
    Verb("plan", "plan", "what a build will take: requests, bytes, hours, storage"),
    Verb("build", "build", "places and a recipe of archives -> tile store"),
    Verb("convert", "convert", "official MMEarth files or a folder of GeoTIFFs -> tile store"),
    Verb("inspect", "inspection", "what a tile store holds, and whether it is sound"),
    Verb("stats", "stats", "recompute the statistics that inputs are normalised with"),
    Verb("split", "split", "divide the tiles into train, val and test"),
    Verb("pretrain", "pretrain", "pretrain an encoder by a recipe -> bundle"),
    Verb("evaluate", "evaluate", "downstream worth of a bundle: k-NN, linear probe"),
    Verb("import-official", "import_official", "published weights (MMEarth, ConvNeXt V2, SoftCon) -> bundle"),
    Verb("reconstruct", "reconstruct", "every modality from a masked input: tiles -> picture, scene -> maps"),
    Verb("embed", "embed", "vectors of a scene's patches (COG) or of tiles (GeoParquet)"),
    Verb("segment", "segment", "scene -> map of classes, by a fine-tuned bundle"),
    Verb("regress", "regress", "scene -> map of quantities, by a fine-tuned bundle"),
    Verb("search", "search", "places like this one, in a table of embeddings"),
    Verb("view", "view", "look at stores, runs, bundles and embeddings in the browser"),
    Verb("serve-synthetic", "serve_synthetic", "an archive of the synthetic Earth: COGs, STAC items, a server"),
    Verb("export", "export", "a bundle for other programs: the Hugging Face hub, timm, ONNX"),
)
"""In the order of the work."""

_EXAMPLE = """\
examples:
  geopretext demo                                             everything at once, on a synthetic Earth
  geopretext pretrain mp-mae-atto-56-8 --data tiles.zarr --out runs/first
  geopretext evaluate probe runs/first/bundle --task tiles.zarr:crop_calendar --out runs/first/probe

options:
  -h, --help     this page; `geopretext VERB --help` for one verb
  --version      the version
  --traceback    with any verb: show where an error came from (also GEOPRETEXT_DEBUG=1)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` by default) and return its exit code; never raises for expected errors."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--traceback" in words or os.environ.get("GEOPRETEXT_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--traceback"]
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if debug:
            raise
        return _complain("interrupted", code=130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): that is its right. Point stdout elsewhere, so that the
        # interpreter's own flush at exit does not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except GeopretextError as error:
        if debug:
            raise
        return _complain(f"{error.where}: {error.what}" if error.where else error.what, hint=error.hint)
    except OSError as error:
        if debug or error.filename is None:
            raise
        return _complain(f"{error.filename}: {error.strerror}", hint="--traceback shows where it happened")


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"geopretext {__version__}")
        return 0
    verbs = {verb.name: verb for verb in VERBS}
    if words[0] not in verbs:
        near = get_close_matches(words[0], verbs, n=3, cutoff=0.6)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        return _complain(f"no verb {words[0]!r}", hint=f"{meant}`geopretext --help` lists all verbs", code=2)
    module = cast("VerbModule", import_module(f"geopretext.apps.{verbs[words[0]].module}"))
    try:
        return module.run(words[1:]) or 0
    except SystemExit as stop:  # argparse leaves this way, after --help (0) or a wrong option (2)
        return stop.code if isinstance(stop.code, int) else 0


def _overview() -> str:
    width = max(len(verb.name) for verb in VERBS)
    verbs = "\n".join(f"  {verb.name:{width}}  {verb.summary}" for verb in VERBS)
    return (
        "usage: geopretext VERB [options]\n\n"
        "Pretrain Earth-observation encoders with many pretext tasks, and see what they are worth.\n\n"
        f"verbs:\n{verbs}\n\n{_EXAMPLE}"
    )


def _complain(what: str, *, hint: str = "", code: int = 1) -> int:
    print(f"error: {what}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""``geopretext evaluate finetune``: what a bundle reaches when it is trained on a task; every setting is an option."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.overrides import add_overrides
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.task_arguments import TASKS, add_task_arguments, task_options
from geopretext.errors import InputError
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.presets import DEFAULT, load_preset, preset_fields, preset_names, settings_to_plain

_EXAMPLE = """\
geopretext evaluate finetune runs/first/bundle --task EuroSAT/2750 --out runs/first/eurosat
geopretext evaluate finetune runs/s2/bundle --task FIELDS --out runs/s2/fields --preset segmentation --save-bundle
geopretext evaluate finetune runs/s2/bundle --task geobench:m-so2sat --out runs/s2/so2sat --trained lora --epochs 20"""

_ABOUT = f"""\
Train a bundle's encoder with a head on a task, and the same network from random weights beside it. The epoch is chosen
on the validation split; scores are of the test split, with 95 % bootstrap intervals, averaged over seeds.

presets, MMEarth's also with -official appended (as its code does it, bugs and all; docs/finetuning.md):
{{presets}}

Any field of the preset can be overridden; with --help and --preset NAME, the values of that preset are shown.

{TASKS}

Writes DIR/scores.json."""


def run(arguments: Sequence[str]) -> None:
    """Train, score, write, print the table."""
    options = _parser(_preset_to_show(arguments)).parse_args(arguments)
    settings = load_preset(options.preset, options.fields)
    # torch and Lightning load here, after everything that can be wrong on the command line
    from geopretext.evaluate.finetune_evaluation import FINETUNED, FROM_SCRATCH, evaluate_finetuning
    from geopretext.evaluate.tasks import TaskOptions, load_task
    from geopretext.nn.bundle import Encoder
    from geopretext.predict.door_report import door_lines

    encoder = Encoder.from_pretrained(options.bundle).to(options.device)
    if options.inputs is not None:
        series = [one.modality.name for one in encoder.series if one.modality.name in options.inputs]
        if series:
            raise InputError(
                f"fine-tuning trains on maps, and {', '.join(series)} is a time series",
                where="--inputs",
                hint=f"name some of {', '.join(modality.name for modality in encoder.inputs)}",
            )
        encoder = encoder.given(options.inputs)
    task = load_task(options.task, TaskOptions(**task_options(options)), seed=options.split_seed)
    lines: dict[tuple[str, int], ProgressLine] = {}

    def report(method: str, seed: int, done: int, total: int) -> None:
        lines.setdefault((method, seed), ProgressLine(f"steps, {method}, seed {seed}"))(done, total)

    methods = (FROM_SCRATCH,) if options.from_scratch else (FINETUNED, FROM_SCRATCH)
    scores = evaluate_finetuning(
        encoder,
        task,
        settings,
        seeds=options.seeds,
        methods=methods[:1] if options.no_baselines else methods,
        strict=options.strict,
        bootstrap_seed=options.split_seed,
        out=options.out,
        save=options.out / "bundle" if options.save_bundle else None,
        progress=None if options.quiet else report,
        looked=lambda record: say("\n".join(door_lines(record))),
    )
    if options.json:
        print(json.dumps(scores.to_dict(), indent=2))
    else:
        from rich.console import Console

        Console(width=None if Console().is_terminal else 140).print(scores.table())
    say(f"wrote {options.out / 'scores.json'}")


def _parser(shown: tuple[str, FinetuneSettings]) -> VerbParser:
    names = "\n".join(f"  {name}" for name in preset_names() if not name.endswith("-official"))
    parser = VerbParser(
        "evaluate finetune",
        about=_ABOUT.format(presets=names),
        example=_EXAMPLE,
        usage="geopretext evaluate finetune BUNDLE --task TASK --out DIR [--preset PRESET] [--FIELD VALUE ...]",
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="folder, or a name on the Hugging Face hub")
    add("--task", required=True, metavar="TASK", help="see above")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for scores.json")
    add("--preset", default=DEFAULT, metavar="PRESET", help="one of the above, or a YAML file; default: %(default)s")
    add("--seeds", type=_seeds, default=(0, 1, 2), metavar="N,N,...", help="a run for each; default: 0,1,2")
    add("--from-scratch", action="store_true", help="only the network of random weights")
    add("--no-baselines", action="store_true", help="only the bundle, without the network of random weights")
    add("--save-bundle", action="store_true", help="write the first run's encoder and head to DIR/bundle")
    add("--split-seed", type=whole(0), default=0, help="of the bootstrap and of random splits; default: %(default)s")
    add("--device", default="cpu", help="that trains: cpu, cuda, mps; default: %(default)s")
    add("--quiet", action="store_true", help="no progress on stderr")
    add("--json", action="store_true", help="print what scores.json holds instead of the table")
    add_task_arguments(parser)
    name, settings = shown
    add_overrides(parser, f"fields of the preset {name}, with its values", preset_fields(), settings_to_plain(settings))
    return parser


def _preset_to_show(arguments: Sequence[str]) -> tuple[str, FinetuneSettings]:
    """The preset whose values ``--help`` is to show."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--preset", nargs="?", default=DEFAULT)
    asked = {"-h", "--help"} & set(arguments)
    name = (finder.parse_known_args(arguments)[0].preset if asked else None) or DEFAULT
    return name, load_preset(name)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seeds such as 0,1,2") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"seeds {text} are not different numbers from 0 on")
    return seeds

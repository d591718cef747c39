"""What decoders of labels of pixels cost: parameters, and time for a tile beside that of the encoder alone.

Variants take turns on the same random images, and ratios are taken within each round. Training is one forward and one
backward pass, without an optimiser. Caveats: machines are noisy, so compare ratios; the encoder's time depends on its
kernels. Decoders of segmentation-models-pytorch are left out where it is not installed.

Run: python benchmarks/decoders.py [--size atto] [--patch-size 8] [--image-size 120] [--batch-size 4] [--rounds 5]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from geopretext.errors import MissingLibraryError
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.decoders import make_segmenter
from geopretext.nn.settings import SEGMENTERS, SIZES, EncoderSettings
from measuring import Timing, machine, table, take_turns

ENCODER = "encoder alone"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    size: str = "atto"
    patch_size: int = 8
    image_size: int = 120
    batch_size: int = 4
    classes: int = 10
    rounds: int = 5


def networks(options: Options) -> dict[str, nn.Module]:
    """The encoder alone, and with each decoder that can be had."""
    settings = EncoderSettings(
        size=options.size, patch_size=options.patch_size, image_size=options.image_size, stem="mmearth"
    )
    found: dict[str, nn.Module] = {ENCODER: ConvNeXtV2(settings)}
    for kind in SEGMENTERS:
        try:
            found[kind] = make_segmenter(kind, ConvNeXtV2(settings), options.classes)
        except MissingLibraryError as error:
            print(f"without {kind}: {error.what}")
    return found


def measure(options: Options, *, training: bool) -> dict[str, Timing]:
    """Seconds of a batch, of each network."""
    bands = len(EncoderSettings().bands)
    images = torch.randn(options.batch_size, bands, options.image_size, options.image_size)

    def turn(network: nn.Module) -> Callable[[], None]:
        def run() -> None:
            with torch.set_grad_enabled(training):
                scores = network(images)
            if training:
                network.zero_grad()
                scores.square().mean().backward()

        return run

    variants = {name: turn(network.train(training)) for name, network in networks(options).items()}
    return take_turns(variants, rounds=options.rounds)


def report(options: Options) -> str:
    """The table."""
    predicting, training = measure(options, training=False), measure(options, training=True)
    parameters = {name: sum(p.numel() for p in network.parameters()) for name, network in networks(options).items()}
    rows = [
        [
            name,
            f"{(parameters[name] - (parameters[ENCODER] if name != ENCODER else 0)) / 1e6:.2f} M",
            *(
                text
                for timing in (predicting, training)
                for text in (
                    f"{1e3 * timing[name].median / options.batch_size:.0f} ms",
                    f"{timing[ENCODER].times_faster_than(timing[name]):.1f}",
                )
            ),
        ]
        for name in predicting
    ]
    header = ("decoder", "parameters", "prediction", "x encoder", "training", "x encoder")
    return table(header, rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default=Options.size)
    parser.add_argument("--patch-size", type=int, default=Options.patch_size)
    parser.add_argument("--image-size", type=int, default=Options.image_size)
    parser.add_argument("--batch-size", type=int, default=Options.batch_size)
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    args = parser.parse_args()
    options = Options(args.size, args.patch_size, args.image_size, args.batch_size, rounds=args.rounds)
    print(machine())
    print(f"{options}, {torch.get_num_threads()} threads; time of one tile, and as a multiple of the encoder's\n")
    print(report(options))


if __name__ == "__main__":
    main()

"""What pretrained networks believe of a tile of which they see the patches that someone chose."""

import hashlib
from asyncio import Semaphore
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from geopretext.apps.viewer.describe import check_tile, describe_modality, describe_tile, level_name
from geopretext.apps.viewer.handlers import ViewerHandler
from geopretext.apps.viewer.opened import BundleEntry, Opened
from geopretext.apps.viewer.packet import CONTENT_TYPE, pack, with_gaps
from geopretext.apps.viewer.queries import share, shortened, whole_number
from geopretext.data.tiles import TileReader
from geopretext.errors import BundleError, GridError, InputError
from geopretext.modality import Kind, Observed

if TYPE_CHECKING:  # these need torch, which takes seconds to load: only once somebody asks for a reconstruction
    from geopretext.predict.reconstruct import Pretrained, Reconstruction, Target
    from geopretext.pretext.settings import MPMAESettings

Array = npt.NDArray[Any]
Result = TypeVar("Result")

_KEPT_BUNDLES = 4
_AT_A_TIME = 2
"""of the pool's threads that networks may hold; the others answer what is quick"""
_LOSSES = {
    Kind.CONTINUOUS_MAP: "squared error, standardised",
    Kind.CONTINUOUS_VECTOR: "squared error, standardised",
    Kind.CATEGORICAL_MAP: "cross-entropy",
    Kind.CATEGORICAL_VECTOR: "cross-entropy",
    Kind.MULTILABEL_VECTOR: "binary cross-entropy",
}


def routes(opened: Opened) -> list[Any]:
    """What this area answers."""
    given = {"opened": opened, "networks": Networks()}
    return [
        (r"/api/bundles/([a-z0-9-]+)/pretext", _Pretext, given),
        (r"/api/bundles/([a-z0-9-]+)/reconstruct/([a-z0-9-]+)/([0-9]{1,12})", _Reconstruct, given),
    ]


@dataclass(frozen=True)
class Loaded:
    """A bundle in memory."""

    pretrained: "Pretrained"
    settings: "MPMAESettings | None"
    """how it was pretrained; None if it does not say"""


class Networks:
    """Bundles that were asked for lately, at most four, loaded once. Safe to call from any thread."""

    def __init__(self) -> None:
        self.turn = Semaphore(_AT_A_TIME)
        """held by whoever loads or asks a network; for the event loop only"""
        self._kept: OrderedDict[tuple[str, int], Loaded] = OrderedDict()
        self._lock = Lock()

    def load(self, bundle: BundleEntry) -> Loaded:
        """The network of a bundle; read anew if its weights were written since.

        Raises:
            BundleError: it cannot be read, or holds an encoder only.
        """
        from geopretext.evaluate.reconstruction_losses import pretext_settings
        from geopretext.nn.bundle_files import WEIGHTS, read_config
        from geopretext.predict.reconstruct import Pretrained

        try:
            key = (bundle.id, (bundle.folder / WEIGHTS).stat().st_mtime_ns)
        except OSError as error:
            raise BundleError(f"has no weights any more: {error.strerror}", where=str(bundle.folder)) from error
        with self._lock:
            if key not in self._kept:
                recipe = read_config(bundle.folder).get("recipe", {})
                self._kept[key] = Loaded(Pretrained.load(bundle.folder), pretext_settings(recipe))
                while len(self._kept) > _KEPT_BUNDLES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


def describe_pretext(loaded: Loaded) -> dict[str, Any]:
    """What a network sees and predicts."""
    network = loaded.pretrained.network
    return {
        "input": network.inputs[0].name,
        "inputs": [modality.name for modality in network.inputs],
        "any_input": network.encoder.any_input and len(network.inputs) > 1,
        "bands": list(network.inputs[0].band_names),
        "patch": network.encoder.settings.patch_size,
        "mask_ratio": network.settings.mask_ratio,
        "targets": list(network.targets),
        "known_loss": loaded.settings is not None,
    }


def parse_visible(text: str) -> npt.NDArray[np.bool_] | None:
    """Which patches are shown, row by row: ``1`` shown, ``0`` hidden; None for an empty text.

    Raises:
        InputError: there is anything else in it, or its length is no square.
    """
    if not text:
        return None
    side = round(len(text) ** 0.5)
    if set(text) - {"0", "1"} or side * side != len(text) or len(text) > 64 * 64:
        raise InputError(f"'visible' is {shortened(text)}", hint="a 0 or 1 for each patch of a square, row by row")
    return np.array([letter == "1" for letter in text]).reshape(side, side)


def on_grid(visible: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """The same area, (k, k), as patches of a grid (side, side) whose cells divide those of the first one.

    Raises:
        GridError: they do not.
    """
    times, rest = divmod(side, len(visible))
    if rest:
        raise GridError(
            f"{len(visible)} x {len(visible)} patches were chosen, but this network has {side} x {side} in a tile",
            hint="compare networks whose patches divide each other",
        )
    return visible.repeat(times, 0).repeat(times, 1)


def reconstruct_packet(
    loaded: Loaded,
    reader: TileReader,
    tile: int,
    *,
    visible: str = "",
    ratio: float | None = None,
    seed: int = 0,
    inputs: Sequence[str] | None = None,
) -> bytes:
    """A tile, what was shown of it and what was predicted, as ``packet.pack`` lays it out.

    Arrays: ``input`` (bands, y, x), and for each target that is a map ``NAME/truth`` and ``NAME/prediction``; NaN where
    nothing was observed, and where a prediction says nothing of the unit (see ``without_guesses``).

    Args:
        loaded: the network.
        reader: of the tiles.
        tile: its number.
        visible: which patches are shown, see ``parse_visible``; empty: by chance.
        ratio: share of the patches that chance hides; None: as in pretraining.
        seed: of chance.
        inputs: of a network of several, names of those that it is given; None: all that the tiles have.

    Raises:
        InputError: there is no such tile, or no patch is shown; and as ``predict.reconstruct.reconstruct``.
    """
    from geopretext.evaluate.reconstruction_losses import reconstruction_losses
    from geopretext.nn.autoencoder import MaskedAutoencoder
    from geopretext.predict.reconstruct import reconstruct

    number = check_tile(reader, tile)
    network = loaded.pretrained.network
    side = reader.tile_size // network.encoder.settings.patch_size
    given = parse_visible(visible)
    shown = _sampled(loaded, side, number, ratio, seed) if given is None else on_grid(given, side)
    result = reconstruct(loaded.pretrained, reader, [number], visible=shown.reshape(1, -1), inputs=inputs)
    losses = {}
    if loaded.settings is not None and isinstance(network, MaskedAutoencoder):
        losses = reconstruction_losses(network, loaded.settings, result)
    level = level_name(reader, result.input.name, number) if result.input.name in reader.modalities else None
    statistics = loaded.pretrained.statistics
    arrays: dict[str, Array] = {"input": with_gaps(Observed(*result.shown))[0]}
    for target in result.targets:
        if target.modality.kind.is_map:
            arrays[f"{target.modality.name}/truth"] = _bands_first(with_gaps(target.truth)[0])
            arrays[f"{target.modality.name}/prediction"] = without_guesses(target, side)
    header = {
        "tile": describe_tile(reader, number),
        "visible": "".join("1" if patch else "0" for patch in shown.ravel()),
        "side": side,
        "patch": network.encoder.settings.patch_size,
        "input": describe_modality(result.input, statistics, level),
        "inputs": {"used": list(result.used), "absent": list(result.absent)},
        "targets": [
            describe_modality(target.modality, statistics, level if target.modality.levels else None)
            | _scores(target, result, losses.get(target.modality.name))
            | {"compared": comparison(loaded, target, result) if loaded.settings else None}
            for target in result.targets
        ],
    }
    return pack(header, arrays)


def without_guesses(target: "Target", side: int) -> Array:
    """What is predicted of the first tile as a map (bands, y, x), NaN where it is known only up to its brightness.

    A network that predicts patches without their mean and contrast is given those of the truth; where no pixel of a
    patch was observed there are none, and what stands there is no prediction.

    Args:
        target: a map.
        side: patches along a side of the tile.
    """
    prediction = _bands_first(target.prediction[0])
    if not target.restored:
        return prediction
    seen = _bands_first(target.truth.valid[0]).any(axis=0)
    patch = prediction.shape[-1] // side
    known = seen.reshape(side, patch, side, patch).any(axis=(1, 3))
    return np.where(known.repeat(patch, 0).repeat(patch, 1), prediction, np.float32(np.nan))


def comparison(loaded: Loaded, target: "Target", result: "Reconstruction") -> str:
    """A text that is equal for two networks if their losses on a tile compare the same numbers in the same way.

    That is: the same bands, standardised alike, over the same pixels. Which patches are hidden is not in it.
    """
    assert loaded.settings is not None
    assert result.compared is not None
    field = result.compared.fields[target.modality.name]
    by_patch = target.restored or loaded.settings.denominator == "nonzero"
    way = (
        target.modality.band_names,
        target.everywhere,
        target.restored,
        loaded.pretrained.network.encoder.settings.patch_size if by_patch else None,
        loaded.settings.missing_targets,
        loaded.settings.denominator,
        tuple(field.values.shape),
    )
    digest = hashlib.blake2b(repr(way).encode(), digest_size=12)
    for part in field:
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _sampled(loaded: Loaded, side: int, tile: int, ratio: float | None, seed: int) -> npt.NDArray[np.bool_]:
    """Patches shown by chance, as pretraining chooses them; at least one."""
    import torch

    from geopretext.data.sampling import hash_seeds
    from geopretext.nn.masking import sample_visible, visible_count

    patches = side * side
    if not patches:
        raise GridError("tiles are smaller than a patch of this network", hint="choose another bundle")
    share = loaded.pretrained.network.settings.mask_ratio if ratio is None else ratio
    if not 0 <= share <= 1:
        raise InputError(f"'ratio' is {share}", hint="0 to 1")
    if visible_count(patches, share) < 1:
        share = 1 - 1 / patches
    seeds = torch.from_numpy(hash_seeds(seed, np.array([tile])))
    return sample_visible(seeds, patches, share)[0].numpy().reshape(side, side)


def _scores(target: "Target", result: "Reconstruction", loss: float | None) -> dict[str, Any]:
    """Loss of pretraining, and errors in the units of the modality."""
    from geopretext.predict.quantities import vector_rows

    kind = target.modality.kind
    scores: dict[str, Any] = {
        "loss": loss,
        "loss_is": _LOSSES[kind],
        "restored": target.restored,
        "everywhere": target.everywhere,
        "rows": [],
        "errors": [],
    }
    if not kind.is_map:
        truth = Observed(target.truth.values[0], target.truth.valid[0])
        scores["rows"] = [vars(row) for row in vector_rows(target.modality, truth, target.prediction[0])]
        return scores
    error, valid = target.error()
    counted = valid[0] if target.everywhere else valid[0] & ~result.visible[0]
    by_band = zip(_bands_first(error[0]), _bands_first(counted), target.modality.bands, strict=True)
    scores["errors"] = [
        {"band": band.name, "unit": "" if band.unit == "1" else band.unit, "error": _mean(one[known])}
        for one, known, band in by_band
    ]
    return scores


def _mean(numbers: Array) -> float | None:
    return float(numbers.mean()) if numbers.size else None


def _bands_first(array: Array) -> Array:
    """(H, W) or (C, H, W) -> (C, H, W)."""
    return array if array.ndim == 3 else array[None]


class _NetworkHandler(ViewerHandler):
    networks: Networks

    def initialize(self, opened: Opened, networks: Networks | None = None) -> None:
        super().initialize(opened)
        self.networks = networks or Networks()
        self.gone = False

    def on_connection_close(self) -> None:
        """The page has moved on: what has not begun need not be computed."""
        self.gone = True

    async def ask(self, work: Callable[[], Result]) -> Result | None:
        """Run what needs a network in a thread; None if the page has moved on before its turn came.

        Networks take seconds to load: they never hold all threads, so that other answers come meanwhile.
        """
        async with self.networks.turn:
            return None if self.gone else await self.compute(work)


class _Pretext(_NetworkHandler):
    async def get(self, bundle: str) -> None:
        entry = self.entry(self.opened.bundles, bundle, "bundle")
        told = await self.ask(lambda: describe_pretext(self.networks.load(entry)))
        if told is not None:
            self.send_json(told)


class _Reconstruct(_NetworkHandler):
    async def get(self, bundle: str, store: str, tile: str) -> None:
        entry = self.entry(self.opened.bundles, bundle, "bundle")
        tiles = self.entry(self.opened.stores, store, "store")
        visible = self.get_query_argument("visible", "")
        ratio = share("ratio", self.get_query_argument("ratio", ""))
        seed = whole_number("seed", self.get_query_argument("seed", ""))
        named = self.get_query_argument("inputs", "")
        inputs = tuple(named.split(",")) if named else None

        def work() -> bytes:
            loaded = self.networks.load(entry)
            # Opening a store reads files, some of them far away: not on the event loop.
            return reconstruct_packet(
                loaded, tiles.reader, int(tile), visible=visible, ratio=ratio, seed=seed, inputs=inputs
            )

        content = await self.ask(work)
        if content is not None:
            self.send_bytes(content, CONTENT_TYPE)

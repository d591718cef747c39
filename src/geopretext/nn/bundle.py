"""A trained encoder on disk that describes itself.

A bundle is a folder::

    config.json          architecture, input bands with units, statistics of the input by level, recipe, metrics
    model.safetensors    weights of the encoder
    README.md            a model card
    pretext.safetensors  weights of the decoder and heads   } only in what pretraining wrote, see ``bundle_pretext``:
    statistics.json      statistics of every modality       } no user of the encoder needs them
    head.safetensors     weights of a classifier or decoder   only in what fine-tuning wrote, see ``bundle_heads``

``config.json`` holds the statistics of the input only, ``statistics.json`` a copy of the store's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelHubMixin
from torch import Tensor, nn

from geopretext.errors import BundleError, InputError
from geopretext.modality import POOLED, Modality, join_modalities
from geopretext.nn.bundle_files import (
    CARD,
    CONFIG,
    FORMAT,
    FORMAT_VERSION,
    WEIGHTS,
    find_bundle,
    json_to_bytes,
    load_weights,
    read_config,
    tensors_to_bytes,
    unreadable,
    write_bundle,
)
from geopretext.nn.bundle_series import (
    check_series,
    series_bands,
    series_of_bundle,
    series_to_plain,
)
from geopretext.nn.bundle_statistics import (
    Input,
    Relations,
    Scales,
    scales_from_plain,
    scales_to_plain,
)
from geopretext.nn.families import make_encoder, settings_from_plain, settings_to_plain
from geopretext.nn.initialisation import weights_follow
from geopretext.nn.model_card import model_card
from geopretext.nn.network import EncoderNetwork, NetworkSettings
from geopretext.nn.pooling import pool_mean, pool_stages
from geopretext.nn.settings import POOLINGS

if TYPE_CHECKING:
    from geopretext.nn.temporal_attention import Series


class Encoder(nn.Module, ModelHubMixin):
    """A pretrained encoder, and all that one must know to use it.

    ``save_pretrained(folder)`` and ``push_to_hub(repo_id)`` come from huggingface_hub's mixin.

    Args:
        network: the encoder itself.
        inputs: what it sees, one modality or several: their bands in order, with units.
        statistics: mean and standard deviation of each band by level, in the bands' units; NaN if never observed.
        recipe: what it was trained with, plain data.
        metrics: what it scored, plain data.
        targets: names of what it was trained to predict.
        licence: of the weights, as the Hugging Face hub spells it (``cc-by-4.0``).
        relations: how the bands of the training data vary together, by level (of several inputs, by their names, and
            then by level); empty if that is not known.
        ground_sampling_distance: of the training data, metres a pixel; None if that is not known.
        series: time series that it sees besides, each with its statistics and relations.

    Raises:
        BundleError: the bands of ``inputs``, of ``statistics`` or of ``series`` are not those of ``network``.
    """

    def __init__(
        self,
        network: EncoderNetwork,
        inputs: Modality | Sequence[Modality],
        *,
        statistics: Scales | None = None,
        recipe: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        targets: Iterable[str] = (),
        licence: str = "unknown",
        relations: Relations | None = None,
        ground_sampling_distance: float | None = None,
        series: Sequence[Input] = (),
    ) -> None:
        super().__init__()
        inputs = (inputs,) if isinstance(inputs, Modality) else tuple(inputs)
        check_series(series, network.settings)
        modality = join_modalities(inputs or [one.modality.image for one in series])
        if inputs and modality.band_names != network.settings.bands:
            raise BundleError(
                f"the network has the bands {', '.join(network.settings.bands)}, "
                f"its input {', '.join(modality.band_names)}"
            )
        for level, (mean, std) in (statistics or {}).items():
            if not len(mean) == len(std) == len(modality.bands):
                raise BundleError(
                    f"statistics of level {level!r} have {len(mean)} means and {len(std)} standard deviations "
                    f"for {len(modality.bands)} bands"
                )
        self.network = network
        self.inputs = inputs
        """maps that it sees, one image together"""
        self.series = tuple(series)
        """time series that it sees besides; each may be lacking"""
        self.modality = modality
        """all maps as one; of an encoder that sees series only, their images"""
        self.statistics: Scales = dict(statistics or {})
        self.recipe = dict(recipe or {})
        self.metrics = dict(metrics or {})
        self.targets = tuple(targets)
        self.licence = licence
        self.relations: Relations = dict(relations or {})
        described = [one.modality.name for one in self.series]
        self.absent: tuple[str, ...] = tuple(n for n in series_bands(network.settings) if n not in described)
        """inputs that it was trained with and is not given, see ``given``; series that nothing is known of, too"""
        self.ground_sampling_distance = ground_sampling_distance

    @property
    def settings(self) -> NetworkSettings:
        """Architecture."""
        return self.network.settings

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands of the maps, in order."""
        return self.settings.bands

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of all inputs: maps, then series."""
        return (*(m.name for m in self.inputs), *(one.modality.name for one in self.series))

    def given(self, names: Collection[str]) -> "Encoder":
        """An encoder of its own, with the same weights, that sees some of the inputs only.

        Args:
            names: of inputs, maps and time series, in any order; all of them give this encoder itself.

        Raises:
            InputError: one is no input, there is none, or the architecture wants all of its inputs.
        """
        known = self.input_names
        for name in names:
            if name not in known:
                raise InputError(f"the encoder has no input {name!r}", hint=f"its inputs are {', '.join(known)}")
        if not names:
            raise InputError("an encoder is given no input", hint=f"name some of {', '.join(known)}")
        if len(set(names)) == len(known):
            return self
        inputs = tuple(modality for modality in self.inputs if modality.name in names)
        relations = {modality.name: self._relations_of(modality.name) for modality in inputs}
        encoder = Encoder(
            self.network.given(names),
            inputs,
            statistics=self._scales_of(inputs) if inputs else None,
            recipe=self.recipe,
            metrics=self.metrics,
            targets=self.targets,
            licence=self.licence,
            relations=relations if len(inputs) != 1 else next(iter(relations.values())),
            ground_sampling_distance=self.ground_sampling_distance,
            series=[one for one in self.series if one.modality.name in names],
        )
        encoder.absent = (*self.absent, *(name for name in known if name not in names))
        return encoder.train(self.training)

    def alone(self, name: str) -> "Input":
        """What is known of one input, a map or a series."""
        for one in self.series:
            if one.modality.name == name:
                return one
        (modality,) = [modality for modality in self.inputs if modality.name == name]
        return Input(modality, self._scales_of([modality]), self._relations_of(name))

    def _scales_of(self, inputs: Sequence[Modality]) -> Scales:
        """Of ``statistics``, the bands of some inputs, at their levels and over all of them."""
        wanted = {band for modality in inputs for band in modality.band_names}
        levels = {level for modality in inputs for level in modality.levels}
        rows = [row for row, band in enumerate(self.bands) if band in wanted]
        return {
            level: (tuple(mean[row] for row in rows), tuple(std[row] for row in rows))
            for level, (mean, std) in self.statistics.items()
            if level == POOLED or level in levels or len(inputs) == len(self.inputs)
        }

    def _relations_of(self, name: str) -> Relations:
        relations: Relations = self.relations if len(self.inputs) == 1 else self.relations.get(name, {})
        return relations

    @property
    def unit(self) -> str:
        """The unit of the input before it is normalised (several, with commas, if bands differ)."""
        each = (self.modality, *(one.modality for one in self.series))
        return ", ".join(dict.fromkeys(band.unit for modality in each for band in modality.bands))

    @property
    def width(self) -> int:
        """Number of features, D."""
        return self.settings.widths[-1]

    def forward(self, x: Tensor, series: "Mapping[str, Series] | None" = None) -> Tensor:
        """Encode images, and time series of the same ground.

        Args:
            x: (B, C, H, W) with ``bands`` in order, normalised with ``statistics``, 0 where nothing was observed.
            series: of those in ``self.series``, by name, normalised likewise; any number of them.

        Returns:
            (B, D, H / patch_size, W / patch_size).

        Raises:
            BandError: the number of bands differs.
            GridError: the size is not a multiple of the patch size.
            InputError: a series is not one of the encoder's.
        """
        features: Tensor = self.network.forward_series(x, series)[-1] if series else self.network(x)
        return features

    def features(self, x: Tensor, pooling: str = "stages", *, series: "Mapping[str, Series] | None" = None) -> Tensor:
        """One vector an image.

        Args:
            x: (B, C, H, W), as ``forward`` wants it.
            pooling: one of ``geopretext.nn.settings.POOLINGS``.
            series: as ``forward`` takes them.

        Returns:
            (B, D) float32.

        Raises:
            InputError: there is no such pooling.
        """
        if pooling not in POOLINGS:
            raise InputError(f"pooling is {pooling!r}", hint=f"one of {', '.join(POOLINGS)}")
        maps = self.network.forward_series(x, series) if series else self.network.forward_stages(x)
        stages = [stage.float() for stage in maps]
        return pool_mean(stages) if pooling == "mean" else pool_stages(stages)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # takes no arguments for __init__: a bundle is complete
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> "Encoder":
        """Load a bundle from a folder or from the Hugging Face hub, on the CPU and in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or the name of a repository (``owner/name``).
            force_download: fetch again what is in the cache; this and the following are for the hub only.
            token: of the hub; True takes the stored one.
            cache_dir: where fetched files are kept.
            local_files_only: use the cache only.
            revision: branch, tag or commit of the repository.

        Raises:
            BundleError: there is no bundle, a file is missing or damaged, or the weights do not fit the architecture.
        """
        folder = find_bundle(
            pretrained_model_name_or_path,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
        )
        config = read_config(folder)
        settings, inputs = read_architecture(folder, config)
        try:
            scales = scales_from_plain(config.get("statistics", {}))
            series = series_of_bundle(folder, config, settings)
        except (AttributeError, InputError, KeyError, TypeError) as error:
            raise unreadable(folder, "statistics", error) from error
        with weights_follow():
            network = make_encoder(settings)
        encoder = cls(
            network,
            inputs,
            statistics=scales,
            recipe=config.get("recipe", {}),
            metrics=config.get("metrics", {}),
            targets=(config.get("pretext") or {}).get("targets", {}),
            licence=config.get("licence", "unknown"),
            relations=config.get("relations"),
            ground_sampling_distance=config.get("ground_sampling_distance"),
            series=series,
        )
        load_weights(encoder.network, folder / WEIGHTS, f"a {settings.title} of {len(settings.bands)} bands")
        return encoder.eval()

    def card(self, *, library: str = "geopretext", example: str = "") -> str:
        """The text of a model card.

        Args:
            library: what loads the weights.
            example: how, as Markdown; empty for how geopretext does.
        """
        return model_card(
            self.settings,
            self.modality,
            statistics=self.statistics,
            targets=self.targets,
            recipe=self.recipe,
            metrics=self.metrics,
            licence=self.licence,
            library=library,
            example=example,
            any_input=self.network.any_input,
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        """What the mixin's ``save_pretrained`` calls."""
        write_bundle(save_directory, self.files())

    def _inputs_to_plain(self) -> dict[str, Any]:
        """As ``config.json`` has them: "input", or "inputs" if there are several."""
        if len(self.inputs) == 1:
            return {"input": self.modality.to_dict()}
        return {"inputs": [modality.to_dict() for modality in self.inputs]}

    def files(
        self, pretext: Mapping[str, Any] | None = None, head: Mapping[str, Any] | None = None
    ) -> dict[str, bytes]:
        """The content of a bundle's files by name; ``pretext`` and ``head`` describe weights that the caller adds."""
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "geopretext_version": version("geopretext"),
            "encoder": settings_to_plain(self.settings),
            **self._inputs_to_plain(),
            **({"series": series_to_plain(self.series)} if series_bands(self.settings) else {}),
            "statistics": scales_to_plain(self.statistics),
            "relations": self.relations,
            "ground_sampling_distance": self.ground_sampling_distance,
            "pretext": pretext,
            "head": head,
            "recipe": self.recipe,
            "metrics": self.metrics,
            "licence": self.licence,
        }
        return {
            WEIGHTS: tensors_to_bytes(self.network.state_dict()),
            CARD: self.card().encode(),
            CONFIG: json_to_bytes(config),
        }


def load_settings(folder: str | Path) -> NetworkSettings:
    """The architecture of a bundle's encoder, without its weights.

    Raises:
        BundleError: there is no bundle, or its description is damaged.
    """
    folder = find_bundle(folder)
    return read_architecture(folder, read_config(folder))[0]


def read_architecture(folder: Path, config: Mapping[str, Any]) -> tuple[NetworkSettings, tuple[Modality, ...]]:
    """The encoder's settings and its inputs, of what ``config.json`` in a folder says.

    Raises:
        BundleError: the description is damaged.
    """
    try:
        plain = config["inputs"] if "inputs" in config else [config["input"]]
        return settings_from_plain(config["encoder"]), tuple(map(Modality.from_dict, plain))
    except (InputError, KeyError, TypeError) as error:
        raise unreadable(folder, "encoder or input", error) from error

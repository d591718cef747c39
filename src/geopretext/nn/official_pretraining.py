"""The whole network of a published pretraining checkpoint: encoder, shared decoder, and a head for each modality.

The published classes build one decoder and register it once for each modality, so that a file holds it as many times;
``layer_norm_tmp`` is one norm of all vectors. Predictions are laid out as ours: row, column, then channel.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from geopretext.errors import BundleError
from geopretext.modality import PRETEXT, Modality
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.official_file import OfficialFile
from geopretext.nn.official_input import Told, agree
from geopretext.nn.official_layout import Layout, Source, dense_source, encoder_source, refuse_unknown, shape_of, take
from geopretext.nn.official_names import PublishedName
from geopretext.nn.settings import AutoencoderSettings, EncoderSettings

_LOG_VARIANCES = "loss_fn.log_vars"
_BY_OFFICIAL_NAME = {modality.official_name or modality.name: modality for modality in PRETEXT}
_MAPS = frozenset(modality.name for modality in PRETEXT if modality.kind.is_map)
_VECTORS = frozenset(modality.name for modality in PRETEXT if not modality.kind.is_map)
_TARGETS = {
    "all_mod": (_MAPS | _VECTORS, _MAPS | _VECTORS),
    "rgb": (_MAPS | _VECTORS, _MAPS | _VECTORS),
    "S2": (frozenset({"sentinel2"}), frozenset({"sentinel2"})),
    "img_mod": (_VECTORS, _VECTORS | {"sentinel2"}),
    "pix_mod": (_MAPS, _MAPS),
}
"""What a model of that name predicts at least, and at most."""


def read_autoencoder(
    file: OfficialFile,
    layout: Layout,
    encoder: EncoderSettings,
    modality: Modality,
    name: PublishedName | None,
    told: Told,
) -> tuple[MaskedAutoencoder, dict[str, Any]]:
    """The network, and what the file says about its training.

    Args:
        file: a pretraining checkpoint.
        layout: of it.
        encoder: what was found out about its encoder.
        modality: what that sees.
        name: of the file or its folder, if it is a published one.
        told: what the caller says.

    Raises:
        BundleError: a weight is missing, unknown or of another shape, copies of the decoder differ, or something
            contradicts the name, the file's own options or ``told``.
    """
    heads = _find_heads(file, layout, modality)
    absent = [target for target in told.targets or {} if target not in {head.name for head in heads.values()}]
    if absent:
        raise BundleError(
            f"--targets names {absent[0]!r}, which the file does not predict",
            where=str(file.path),
            hint=f"it predicts {', '.join(head.name for head in heads.values())}",
        )
    targets = {head.name: _select_bands(file, key, head, encoder, told) for key, head in heads.items()}
    described = f"the {layout} of size {encoder.size} with patches of {encoder.patch_size} px"
    with torch.device("meta"):
        settings = _decoder_settings(file, layout, modality, targets)
        network = MaskedAutoencoder(encoder, settings, inputs=(modality,), targets=targets)
    sources = _sources(network, layout, tuple(heads))
    weights, unused = take(sources, file, described)
    refuse_unknown(tuple(key for key in unused if key != _LOG_VARIANCES), described, file)
    network.load_state_dict(weights, assign=True)
    if not layout.is_mmearth:
        return network, {"method": "fcmae"}
    _check_targets(file, frozenset(targets), name)
    return network, {"method": "mp_mae", "grn_scope": "batch", **_weighting(file, tuple(targets), name)}


def _find_heads(file: OfficialFile, layout: Layout, modality: Modality) -> dict[str, Modality]:
    """What is predicted, by the name that its head has in the file, in the order of training."""
    if not layout.is_mmearth:
        return {"pred": modality}
    names = [match[1] for key in file.weights if (match := re.fullmatch(r"pred_dict\.([^.]+)\.weight", key))]
    strange = [name for name in names if name not in _BY_OFFICIAL_NAME]
    if strange or not names:
        what = f"pred_dict.{strange[0]}.weight predicts no modality of MMEarth" if strange else "it has no pred_dict"
        raise BundleError(what, where=str(file.path), hint=f"known are {', '.join(_BY_OFFICIAL_NAME)}")
    if not file.ordered:
        names.sort(key=list(_BY_OFFICIAL_NAME).index)
    return {f"pred_dict.{name}": _BY_OFFICIAL_NAME[name] for name in names}


def _select_bands(file: OfficialFile, key: str, target: Modality, encoder: EncoderSettings, told: Told) -> Modality:
    """What a head predicts, with just its bands."""
    rows = shape_of(file, f"{key}.weight")[0]
    pixels = encoder.patch_size**2 if target.kind.is_map else 1
    channels, rest = divmod(rows, pixels)
    if target.kind.is_categorical or rest:
        return target  # a wrong number of rows is found when the weights are taken
    listed = file.options.get("out_modalities")
    published = listed.get(target.official_name or target.name) if isinstance(listed, Mapping) else None
    bands = agree(
        f"the order of the bands of {target.name}",
        {
            "--targets": (told.targets or {}).get(target.name),
            "the options in the file": tuple(published) if isinstance(published, list | tuple) else None,
        },
        file,
    )
    if bands is None and target.name == encoder.modality and channels == len(encoder.bands):
        bands = encoder.bands
    bands = bands or target.band_names
    if len(bands) != channels:
        raise BundleError(
            f"{key}.weight predicts {channels} bands of {target.name}, not the {len(bands)} bands {', '.join(bands)}",
            where=str(file.path),
            hint=f"name them in the order of training: --targets '{{{target.name}: [{target.band_names[0]}, ...]}}'",
        )
    return target.select(bands)


def _decoder_settings(
    file: OfficialFile, layout: Layout, modality: Modality, targets: Mapping[str, Modality]
) -> AutoencoderSettings:
    options = file.options
    blocks = {match[1] for key in file.weights if (match := re.match(r"decoder(?:_dict\.[^.]+)?\.(\d+)\.", key))}
    ratio = options.get("mask_ratio")
    standardised = "sentinel2" if layout.is_mmearth else modality.name
    return AutoencoderSettings(
        decoder_dim=shape_of(file, "proj.weight")[0],
        decoder_depth=max(len(blocks), 1),
        mask_ratio=ratio if isinstance(ratio, float) and 0 < ratio < 1 else 0.6,
        standardise_patches=(standardised,)
        if standardised in targets and options.get("norm_pix_loss") is not False
        else (),
        decoder_grn_epsilon=1e-4 if layout.is_mmearth else 1e-6,
    )


def _sources(network: MaskedAutoencoder, layout: Layout, heads: tuple[str, ...]) -> dict[str, Source]:
    """Where each weight of the network is."""
    decoders = ("decoder",) if heads == ("pred",) else tuple(key.replace("pred_dict", "decoder_dict") for key in heads)
    keys = dict(zip(network.targets, heads, strict=True))
    sources = {}
    for name, value in network.state_dict().items():
        part, _, rest = name.partition(".")
        shape = tuple(value.shape)
        if part == "encoder":
            source = encoder_source(rest, value.shape, layout)
        elif part == "mask_token":
            source = _flat(name, value.shape, (1, *shape, 1, 1))
        elif part == "projection":
            source = _flat(f"proj.{rest}", value.shape, (*shape, 1, 1) if rest == "weight" else shape)
        elif part == "vector_norm":
            source = dense_source(f"layer_norm_tmp.{rest}", value.shape)
        elif part == "decoders":
            block = rest.partition(".")[2]
            first = dense_source(f"{decoders[0]}.{block}", value.shape)
            source = Source(first.key, first.shapes, first.convert, tuple(f"{d}.{block}" for d in decoders[1:]))
        else:
            target, _, kind = rest.partition(".")
            is_kernel = kind == "weight" and network.targets[target].kind.is_map
            source = _flat(f"{keys[target]}.{kind}", value.shape, (*shape, 1, 1) if is_kernel else shape)
        sources[name] = source
    return sources


def _flat(key: str, shape: torch.Size, there: tuple[int, ...]) -> Source:
    """A weight with axes of length 1 that ours has not."""
    return Source(key, (there,), lambda x: x.reshape(shape))


def _weighting(file: OfficialFile, targets: tuple[str, ...], name: PublishedName | None) -> dict[str, Any]:
    """How tasks were weighed, and the learned log variances."""
    log_variances = file.weights.get(_LOG_VARIANCES)
    stated = file.options.get("loss_aggr")
    agree(
        "the weighting of tasks",
        {
            "the weights": "unweighted" if log_variances is None else "uncertainty",
            name.source if name else "": name.weighting if name else None,
            "the options in the file": stated if isinstance(stated, str) else None,
        },
        file,
    )
    if log_variances is None:
        return {"weighting": "equal"}
    if tuple(log_variances.shape) != (len(targets),):
        raise BundleError(
            f"{_LOG_VARIANCES} is {tuple(log_variances.shape)}, wanted {(len(targets),)}: one for each modality",
            where=str(file.path),
            hint="the file lacks heads, or was put together from several; download it again",
        )
    return {"weighting": "uncertainty", "log_variances": dict(zip(targets, log_variances.tolist(), strict=True))}


def _check_targets(file: OfficialFile, targets: frozenset[str], name: PublishedName | None) -> None:
    """Hold what is predicted against the name."""
    if name is None or name.targets is None:
        return
    least, most = _TARGETS[name.targets]
    wrong = sorted((least - targets) | (targets - most))
    if wrong:
        verb = "lacks" if wrong[0] in least else "has"
        raise BundleError(
            f"the name {name.text} stands for {name.targets}, but the file {verb} a head for {wrong[0]}",
            where=str(file.path),
            hint="give the folder its published name, or take the other file",
        )

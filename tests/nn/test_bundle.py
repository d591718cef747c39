import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from geopretext.errors import BundleError, InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import load_reconstructor, load_statistics, save_bundle
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.masking import sample_visible
from geopretext.nn.settings import AutoencoderSettings, EncoderSettings

BANDS = ("B2", "B8A", "B11")
SETTINGS = EncoderSettings(size="micro", bands=BANDS, image_size=16, drop_path=0.5)
MODALITY = PUBLISHED["sentinel2"].select(BANDS)
RECIPE = {"name": "tiny-trial", "batch_size": 8, "encoder": {"size": "micro"}}


def statistics(bands=BANDS):
    levels = {
        level: {band: {"mean": 100.0 * i + shift, "std": 10.0 + i, "count": 5} for i, band in enumerate(bands)}
        for level, shift in (("L1C", 1.0), ("L2A", 0.5), ("all", 0.75))
    }
    return {"modalities": {"sentinel2": {"bands": levels}}, "tiles": 5, "split": "train"}


def make_network(seed=0, **settings) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    encoder = EncoderSettings(**{**vars(SETTINGS), **settings})
    targets = {"sentinel2": PUBLISHED["sentinel2"], "era5": PUBLISHED["era5"], "biome": PUBLISHED["biome"]}
    decoder = AutoencoderSettings(decoder_dim=16, mask_ratio=0.5, standardise_patches=("sentinel2",))
    return MaskedAutoencoder(encoder, decoder, inputs=[PUBLISHED["sentinel2"].select(encoder.bands)], targets=targets)


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "runs" / "bundle"
    save_bundle(folder, make_network(), statistics=statistics(), recipe=RECIPE, metrics={"loss": 0.25})
    return folder


def test_an_encoder_comes_back_whole(bundle):
    encoder = Encoder.from_pretrained(bundle)
    assert encoder.settings == SETTINGS
    assert encoder.modality == MODALITY
    assert encoder.bands == BANDS
    assert encoder.unit == "reflectance x 10000"
    assert encoder.width == 256
    assert encoder.statistics["L2A"] == ((0.5, 100.5, 200.5), (10.0, 11.0, 12.0))
    assert set(encoder.statistics) == {"L1C", "L2A", "all"}
    assert encoder.recipe == RECIPE
    assert encoder.metrics == {"loss": 0.25}
    assert encoder.targets == ("sentinel2", "era5", "biome")
    assert not encoder.training
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        expected = make_network().encoder.eval()(images)
        assert torch.equal(encoder(images), expected)
        torch.testing.assert_close(encoder.features(images, "mean"), expected.mean((2, 3)))


def test_features_of_all_stages_are_their_means_and_deviations(bundle):
    encoder = Encoder.from_pretrained(bundle)
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        stages = encoder.network.forward_stages(images)
        features = encoder.features(images)
    expected = [f(s.flatten(2)) for s in stages for f in (lambda x: x.mean(2), lambda x: x.std(2, correction=0))]
    torch.testing.assert_close(features, torch.cat(expected, 1))
    assert features.shape[1] == encoder.settings.pooled_width("stages") == 960
    with pytest.raises(InputError, match="pooling is 'max'"):
        encoder.features(images, "max")


def test_the_network_comes_back_whole(bundle):
    network = load_reconstructor(bundle)
    original = make_network().eval()
    assert network.settings == original.settings
    assert network.targets == original.targets
    assert network.bands == original.bands
    images, visible = torch.randn(2, 3, 16, 16), sample_visible(torch.arange(2), 4, 0.5)
    with torch.no_grad():
        for name, expected in original(images, visible).items():
            assert torch.equal(network(images, visible)[name], expected)
    assert load_statistics(bundle) == statistics()


def test_weights_are_named_as_the_published_dense_encoder(bundle):
    weights = safetensors.torch.load_file(bundle / "model.safetensors")
    assert set(weights) == set(ConvNeXtV2(SETTINGS).state_dict())
    assert set(safetensors.torch.load_file(bundle / "pretext.safetensors")) >= {"mask_token", "projection.weight"}


def test_the_config_describes_everything_in_plain_json(bundle):
    config = json.loads((bundle / "config.json").read_text())
    assert config["format"] == "geopretext bundle"
    assert config["format_version"] == 1
    assert config["encoder"]["patch_size"] == 8
    assert [band["name"] for band in config["input"]["bands"]] == list(BANDS)
    assert config["input"]["bands"][0]["unit"] == "reflectance x 10000"
    assert config["statistics"]["L1C"]["mean"] == [1.0, 101.0, 201.0]
    assert config["pretext"]["network"]["mask_ratio"] == 0.5
    assert config["geopretext_version"]


def test_the_card_tells_a_stranger_what_it_is(bundle):
    card = (bundle / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: geopretext\n")
    for text in (
        "# tiny-trial",
        "| 1 | B8A | reflectance x 10000 |",
        "from_pretrained",
        "sentinel2, era5, biome",
        "| batch_size | 8 |",
        "| loss | 0.25 |",
        "256 numbers",
        "multiples of 8",
    ):
        assert text in card


def test_save_pretrained_writes_the_encoder_alone(bundle, tmp_path):
    encoder = Encoder.from_pretrained(bundle)
    encoder.save_pretrained(tmp_path / "encoder")
    assert {path.name for path in (tmp_path / "encoder").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    again = Encoder.from_pretrained(str(tmp_path / "encoder"))
    assert (again.settings, again.modality, again.statistics) == (
        encoder.settings,
        encoder.modality,
        encoder.statistics,
    )
    for key, value in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    with pytest.raises(BundleError, match=r"(?s)holds an encoder only.*hint: .*geopretext pretrain"):
        load_reconstructor(tmp_path / "encoder")
    with pytest.raises(BundleError, match=r"(?s)encoder: has no statistics.json"):
        load_statistics(tmp_path / "encoder")


def test_an_encoder_over_a_bundle_leaves_no_weights_of_the_old_one(bundle):
    Encoder(ConvNeXtV2(SETTINGS), MODALITY).save_pretrained(bundle)
    assert {path.name for path in bundle.iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_a_band_that_was_never_observed_has_no_number(tmp_path):
    scales = {"all": ((1.0, math.nan, 3.0), (1.0, math.nan, 1.0))}
    Encoder(ConvNeXtV2(SETTINGS), MODALITY, statistics=scales).save_pretrained(tmp_path)
    assert "NaN" not in (tmp_path / "config.json").read_text()
    mean, _ = Encoder.from_pretrained(tmp_path).statistics["all"]
    assert mean[0] == 1.0
    assert math.isnan(mean[1])


def test_a_write_that_fails_leaves_the_old_bundle(bundle, monkeypatch):
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}

    def disk_is_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        save_bundle(bundle, make_network(1), statistics=statistics(), recipe={}, metrics={})
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_weights_of_another_architecture_are_named(bundle, tmp_path):
    other = tmp_path / "other"
    save_bundle(other, make_network(patch_size=16, size="atto"), statistics=statistics(), recipe={}, metrics={})
    (other / "model.safetensors").replace(bundle / "model.safetensors")
    with pytest.raises(BundleError) as error:
        Encoder.from_pretrained(bundle)
    message = str(error.value)
    assert message.startswith(f"{bundle / 'model.safetensors'}: ")
    assert "a ConvNeXt V2 micro of 3 bands" in message
    assert "downsample_layers.0.0.bias is (40,), wanted (32,)" in message
    assert "more" in message
    assert "hint: config.json and the weights come from different runs" in message


def test_decoder_weights_of_another_architecture_are_named(bundle):
    weights = safetensors.torch.load_file(bundle / "pretext.safetensors")
    weights["mask_tokens"] = weights.pop("mask_token")
    safetensors.torch.save_file(weights, bundle / "pretext.safetensors")
    with pytest.raises(BundleError, match=r"mask_token is missing; mask_tokens is unknown"):
        load_reconstructor(bundle)


def edit(bundle, change):
    config = json.loads((bundle / "config.json").read_text())
    change(config)
    (bundle / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="timm"), "'format' is 'timm', not 'geopretext bundle'.*hint: .*imported"),
        (
            lambda c: c.update(format_version=99),
            "format version 99; .* up to 1.*hint: pip install --upgrade geopretext",
        ),
        (lambda c: c["encoder"].update(size="giant"), "encoder or input: encoder.size is 'giant'"),
        (lambda c: c["encoder"].update(colour="red"), "encoder or input: .*colour"),
        (lambda c: c.pop("encoder"), "lacks 'encoder'"),
        (lambda c: c["input"].pop("bands"), "lacks bands"),
        (lambda c: c["statistics"]["L2A"].pop("std"), "section statistics: lacks 'std'"),
        (lambda c: c["input"]["bands"].pop(), "the network has the bands B2, B8A, B11, its input B2, B8A"),
        (lambda c: c["statistics"]["L1C"]["mean"].pop(), "level 'L1C' have 2 means and 3 standard deviations for 3"),
    ],
)
def test_configs_that_cannot_be_read_are_named(bundle, change, message):
    edit(bundle, change)
    with pytest.raises(BundleError, match=f"(?s){message}"):
        Encoder.from_pretrained(bundle)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "bundle: is not a bundle: it has no config.json.*hint: `geopretext pretrain`"),
        ("config.json", b"{", "config.json: is not JSON.*hint: the file is damaged"),
        ("config.json", b"[]", "config.json: holds no mapping"),
        ("model.safetensors", None, "bundle: has no model.safetensors.*hint: copy the whole folder"),
        ("model.safetensors", b"12345678{", "model.safetensors: is damaged.*hint: copy the folder again"),
    ],
)
def test_missing_and_damaged_files_are_named(bundle, file, content, message):
    if content is None:
        (bundle / file).unlink()
    else:
        (bundle / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"(?s){message}"):
        Encoder.from_pretrained(bundle)


def test_places_that_are_no_bundle_are_named(tmp_path):
    with pytest.raises(BundleError, match=r"(?s)nowhere: no such folder.*hint: `geopretext pretrain` writes one"):
        Encoder.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="file: is a file; a bundle is a folder"):
        Encoder.from_pretrained(tmp_path / "file")
    with pytest.raises(BundleError, match=r"(?s)nobody/nothing: is neither a folder here nor a bundle.*hint: check"):
        Encoder.from_pretrained("nobody/nothing", local_files_only=True, cache_dir=tmp_path)


def test_statistics_without_an_input_band_are_refused(tmp_path):
    with pytest.raises(
        BundleError, match=r"(?s)statistics lack 'B11' of the input modality 'sentinel2'.*hint: compute"
    ):
        save_bundle(tmp_path / "b", make_network(), statistics=statistics(BANDS[:2]), recipe={}, metrics={})


def test_weights_that_are_read_are_not_drawn_before(bundle, monkeypatch):
    written = make_network().state_dict()

    def draw(tensor, **kwargs):
        assert tensor.ndim == 1, "drawn"

    monkeypatch.setattr(torch.nn.init, "trunc_normal_", draw)
    encoder, network = Encoder.from_pretrained(bundle), load_reconstructor(bundle)
    for name, weights in network.state_dict().items():
        assert torch.equal(weights, written[name])
    for name, weights in encoder.network.state_dict().items():
        assert torch.equal(weights, written[f"encoder.{name}"])
    with pytest.raises(AssertionError, match="drawn"):
        make_network()


def test_a_replacement_that_is_cut_short_leaves_no_mixture(bundle, monkeypatch):
    replace, done = Path.replace, []

    def cut_short(self, target):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut_short)
    with pytest.raises(KeyboardInterrupt):
        save_bundle(bundle, make_network(1), statistics=statistics(), recipe={}, metrics={})
    monkeypatch.undo()
    assert "config.json" not in done
    with pytest.raises(BundleError, match=r"is not a bundle: it has no config\.json"):
        Encoder.from_pretrained(bundle)
    save_bundle(bundle, make_network(1), statistics=statistics(), recipe={}, metrics={})
    assert Encoder.from_pretrained(bundle).recipe == {}

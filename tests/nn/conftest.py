"""An encoder whose every weight counts, and libraries that may be absent."""

import importlib
import sys
import warnings
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from geopretext.errors import MissingLibraryError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings


@pytest.fixture(scope="session")
def make_encoder() -> Callable[..., Encoder]:
    """Encoders of three bands, or others, with weights such that no term hides behind a zero."""

    def make(*, levels: tuple[str, ...] = ("L1C", "L2A", "all"), **settings) -> Encoder:
        architecture = EncoderSettings(**{"size": "micro", "bands": ("B2", "B8A", "B11"), "image_size": 64, **settings})
        torch.manual_seed(0)
        network = ConvNeXtV2(architecture)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=0.2)
        count = len(architecture.bands)
        statistics = {
            level: (
                tuple(1000.0 + 100 * number + 10 * i for i in range(count)),
                tuple(300.0 + 20 * number + i for i in range(count)),
            )
            for number, level in enumerate(levels)
        }
        modality = PUBLISHED[architecture.modality].select(architecture.bands)
        recipe = {"name": "trial"}
        return Encoder(network, modality, statistics=statistics, recipe=recipe, licence="cc-by-4.0").eval()

    return make


@pytest.fixture(scope="session")
def load_optional() -> Callable[[str], ModuleType]:
    """Import a module that needs an optional library, or skip the test with the reason."""

    def load(name: str) -> ModuleType:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what those libraries warn about is theirs
            try:
                return importlib.import_module(name)
            except MissingLibraryError as error:
                pytest.skip(error.what)

    return load


@pytest.fixture(scope="session")
def need_decoder(load_optional: Callable[[str], ModuleType]) -> Callable[[str], None]:
    """Skip the test of a decoder whose library cannot be imported."""

    def need(kind: str) -> None:
        if kind.startswith("smp-"):
            load_optional("geopretext.nn.smp_decoders")

    return need


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a library look as if it were not installed, and our modules on it as if they had not been imported."""

    def forget(library: str) -> None:
        of_timm = ("timm_models", "timm_body", "timm_encoder", "timm_resnet", "timm_swin", "timm_vit")
        ours = (*of_timm, "terratorch_backbone", "torchgeo_weights", "smp_decoders")
        for name in list(sys.modules):
            if name.partition(".")[0] == library or name in [f"geopretext.nn.{module}" for module in ours]:
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, library, None)

    return forget

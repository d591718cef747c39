import torch
from torch import nn

from geopretext.modality import PUBLISHED
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings
from geopretext.train.module import split_parameters


def test_weight_decay_is_for_weights_of_convolutions_and_linear_layers_only() -> None:
    network = MPMAE(EncoderSettings(size="micro"), MPMAESettings(decoder_dim=16), PUBLISHED)
    decayed, others = split_parameters(network)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert {id(parameter) for parameter in (*decayed, *others)} == set(names)
    assert len(decayed) + len(others) == len(names)
    spared = {names[id(parameter)] for parameter in others}
    assert all(names[id(p)].endswith(".weight") and p.ndim >= 2 for p in decayed)
    assert {"network.mask_token", "weighting.log_variances", "network.vector_norm.weight"} <= spared
    assert any("grn" in name for name in spared)
    assert not any(name.endswith(("dwconv.weight", "pwconv1.weight")) for name in spared)


def test_decay_of_matrices_is_the_rule_of_axes_on_the_published_shapes() -> None:
    network = MPMAE(EncoderSettings(size="micro"), MPMAESettings(decoder_dim=16), PUBLISHED)
    decayed, others = split_parameters(network, "matrices")
    found = {id(parameter) for parameter in decayed}
    assert len(found) == len(decayed)
    assert not found & {id(parameter) for parameter in others}
    for name, parameter in network.named_parameters():
        axes = parameter.ndim
        if name == "network.mask_token":
            axes = 4  # (1, 512, 1, 1)
        elif name.endswith(".bias") and ".stages." in name:
            axes = 2  # (1, C), but named bias
        assert (id(parameter) in found) == (axes > 1 and not name.endswith(".bias")), name


def test_a_layer_is_decayed_once_though_it_is_shared() -> None:
    shared = nn.Linear(2, 2)
    decayed, others = split_parameters(nn.ModuleList([shared, nn.Sequential(shared, nn.LayerNorm(2))]))
    assert [id(parameter) for parameter in decayed] == [id(shared.weight)]
    assert len(others) == 3
    assert isinstance(decayed[0], torch.Tensor)

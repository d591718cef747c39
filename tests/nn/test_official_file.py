"""Files are read and never run; whatever is no file of weights is named."""

import contextlib
import os
import pickle
import random
import shutil
import warnings
from argparse import Namespace
from pathlib import Path, PurePosixPath

import pytest
import torch

from geopretext.errors import BundleError
from geopretext.nn.official_file import read_official_file
from geopretext.nn.official_names import published_name


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def refused(path: Path, message: str) -> None:
    with pytest.raises(BundleError, match=f"(?s){message}") as raised:
        read_official_file(path)
    assert raised.value.where == str(path)
    assert raised.value.hint


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["args", "model", "weight"])
def test_a_hostile_file_is_refused_and_not_run(tmp_path, place, zipped):
    mark, evil = tmp_path / "owned", Hostile(tmp_path / "owned")
    content = {"model": {"a": torch.ones(2)}, "args": Namespace()}
    content |= {"model": {"a": evil}} if place == "weight" else {place: evil}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "x.pth", r"holds (posix|nt)\.system, .*refused, and nothing of it was run.*hint: do not open it")
    assert not mark.exists()
    torch.load(tmp_path / "x.pth", weights_only=False)
    assert mark.exists()  # so that the test would see it


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    for protocol in (0, 2, 4):
        (tmp_path / "x.pth").write_bytes(pickle.dumps(Hostile(tmp_path / "owned"), protocol))
        refused(tmp_path / "x.pth", "refused|is no file of weights")
    assert not (tmp_path / "owned").exists()


def test_whole_modules_are_refused(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", r"holds torch.nn.modules.linear.Linear, .*refused.*hint: .*state_dict")


def test_options_of_the_training_script_are_plain_values(tmp_path):
    options = Namespace(patch_size=8, data_dir=Path("/data"), modalities={"sentinel2": ["B2"]})
    torch.save({"model": {"a": torch.ones(2)}, "args": options, "epoch": 199}, tmp_path / "x.pth")
    file = read_official_file(tmp_path / "x.pth")
    assert file.options == {
        "patch_size": 8,
        "data_dir": PurePosixPath("/data"),
        "modalities": {"sentinel2": ["B2"]},
    }
    assert file.epoch == 199
    torch.save({"model": {"a": torch.ones(2)}, "epoch": "best"}, tmp_path / "x.pth")
    assert read_official_file(tmp_path / "x.pth").epoch is None
    torch.save({"a": torch.ones(2, dtype=torch.float16)}, tmp_path / "x.pth")
    assert read_official_file(tmp_path / "x.pth").weights["a"].dtype == torch.float32


def test_truncated_files_are_named(tmp_path):
    for zipped in (True, False):
        torch.save({"a": torch.ones(5000)}, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
        content = (tmp_path / "whole.pth").read_bytes()
        for length in (1, 100, len(content) // 2, len(content) - 30):
            (tmp_path / "x.pth").write_bytes(content[:length])
            refused(
                tmp_path / "x.pth", "is no file of weights that torch can read.*hint: it is truncated or of another"
            )
    (tmp_path / "x.safetensors").write_bytes(b"12345678{")
    refused(tmp_path / "x.safetensors", "is damaged.*hint: download it again")


@pytest.mark.parametrize("zipped", [True, False])
def test_bytes_at_random_are_named(tmp_path, zipped):
    torch.save({"a": torch.ones(50)}, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
    content, dice = (tmp_path / "whole.pth").read_bytes(), random.Random(0)
    for number in range(200):
        changed = bytearray(content)
        for _ in range(dice.randint(1, 5)):
            place = dice.randrange(300)
            changed[-place if number % 2 else place] = dice.randrange(256)
        (tmp_path / "x.pth").write_bytes(changed)
        with contextlib.suppress(BundleError):  # some changes hit the numbers only
            read_official_file(tmp_path / "x.pth")


def test_things_that_are_no_weights_are_named(tmp_path):
    refused(tmp_path / "nowhere.pth", "no such file")
    (tmp_path / "empty.pth").touch()
    refused(tmp_path / "empty.pth", "is empty.*hint: download it again")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    refused(tmp_path / "text.pth", "is no file of weights")
    for content, message in (
        ([1, 2], "holds a list, not weights by name"),
        (torch.ones(2), "holds a Tensor, not weights by name"),
        ({"epoch": 3}, "holds no weights by name: its entries are epoch.*hint: wanted: a state_dict"),
        ({"model": {}}, "holds no weights by name: its entries are model"),
        ({"model": {"a": 3}}, "holds no weights by name: its entries are a"),
        ({"a": torch.ones(2, dtype=torch.int8)}, "a is torch.int8.*hint: quantised"),
        ({"a": torch.tensor([1.0, float("nan")])}, "a holds numbers that are not finite.*hint: training had diverged"),
    ):
        torch.save(content, tmp_path / "x.pth")
        refused(tmp_path / "x.pth", message)


def test_a_program_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.pt"))
    refused(tmp_path / "x.pt", "is a TorchScript archive: a program.*hint: save the state_dict")


def test_a_folder_names_its_last_checkpoint(tmp_path):
    refused(tmp_path, "is a folder.*hint: name a .pth")
    torch.save({"a": torch.ones(2)}, tmp_path / "checkpoint-99.pth")
    shutil.copy(tmp_path / "checkpoint-99.pth", tmp_path / "checkpoint-199.pth")
    refused(tmp_path, "is a folder.*hint: .*checkpoint-199.pth")


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x.pth"))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(PermissionError):
        read_official_file(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (
            "pt-all_mod_atto_1M_64_uncertainty_56-8/checkpoint-199.pth",
            ("atto", 56, 8, "all_mod", "uncertainty", "1M_64"),
        ),
        ("pt-S2_tiny_1M_128_unweighted_112-16/checkpoint-199.pth", ("tiny", 112, 16, "S2", "unweighted", "1M_128")),
        ("pt-img_mod_atto_100k_128_uncertainty_112-16/c.pth", ("atto", 112, 16, "img_mod", "uncertainty", "100k_128")),
        ("pt-pix_mod_atto_1M_64_uncertainty_56-8.pth", ("atto", 56, 8, "pix_mod", "uncertainty", "1M_64")),
        ("convnextv2_huge_22k_512_ema.pt", ("huge", 512, None, None, None, "22k")),
        ("convnextv2_atto_1k_224_fcmae.pt", ("atto", 224, None, None, None, "1k")),
    ],
)
def test_published_names_are_read(path, parts):
    name = published_name(Path(path))
    assert (name.size, name.image_size, name.patch_size, name.targets, name.weighting, name.data) == parts


@pytest.mark.parametrize("path", ["runs/checkpoint-199.pth", "pt-all_mod_atto/c.pth", "convnextv2_atto.pt"])
def test_other_names_say_nothing(path):
    assert published_name(Path(path)) is None

import pytest

from geopretext.nn.optional import missing


@pytest.mark.parametrize(
    ("error", "what", "hint"),
    [
        (
            ModuleNotFoundError("No module named 'timm.layers'", name="timm.layers"),
            "timm is not installed; it is needed to fly",
            'pip install "geopretext[wings]"',
        ),
        (
            ModuleNotFoundError("No module named 'einops'", name="einops"),
            "einops is not installed; it is needed to fly",
            'pip install "geopretext[wings]"',
        ),
        (
            ImportError("cannot import name 'grn' from 'timm'", name="timm"),
            "a timm that fits is not installed; it is needed to fly (cannot import name 'grn' from 'timm')",
            'pip install --upgrade "geopretext[wings]"',
        ),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            (
                "a torchvision of the same build as torch is not installed; it is needed to import timm "
                "(operator torchvision::nms does not exist)"
            ),
            "install torch and torchvision in one command, from one index",
        ),
    ],
)
def test_the_reason_is_told_apart(error, what, hint):
    told = missing(error, "timm", extra="wings", purpose="fly")
    assert (told.what, told.hint) == (what, hint)

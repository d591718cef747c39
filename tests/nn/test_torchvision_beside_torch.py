"""torchvision beside a torch of another build: the installed one, and imitations in a process of their own."""

import subprocess
import sys
from importlib.util import find_spec
from textwrap import dedent

import pytest
import torch

from geopretext.nn.torchvision_beside_torch import SCHEMAS, is_incomplete, prepare

SHAPES = "torch.library.register_fake('torchvision::{}')(lambda dets, scores, iou_threshold: scores)\n"
EXTENSION = f"""
    import torch
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms{SCHEMAS["nms"]}")
    library.define("qnms{SCHEMAS["qnms"]}")
    library.impl("nms", lambda dets, scores, iou_threshold: scores, "CPU")
"""


def outcome(folder, extension: str, operators: str) -> list[str]:
    """What a process prints that imports an imitation of torchvision, which describes the shapes of operators."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("import torch\nfrom . import extension\nfrom torchvision import shapes\n")
    (package / "extension.py").write_text(dedent(extension) + "\nprint('extension')\n")
    (package / "shapes.py").write_text("import torch\n" + "".join(SHAPES.format(name) for name in operators.split()))
    code = """
        import sys
        import geopretext.nn
        from geopretext.nn.torchvision_beside_torch import is_incomplete
        assert "torch" not in sys.modules
        try:
            import torchvision
            from torchvision import extension, shapes
            import torch
            assert torchvision.__loader__.get_source("torchvision").startswith("import torch")
            print(torch.ops.torchvision.nms(torch.zeros(1, 4), torch.ones(1), 0.5).tolist())
        except (NotImplementedError, RuntimeError) as error:
            print(type(error).__name__, str(error).splitlines()[0])
        print("torchvision" in sys.modules, is_incomplete())
    """
    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{dedent(code)}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_operators_without_code_are_declared(tmp_path):
    extension, said, state = outcome(tmp_path, "", "nms qnms")
    assert extension == "extension"  # once
    assert said.startswith("NotImplementedError Could not run 'torchvision::nms'")
    assert state == "True True"


def test_nothing_is_declared_where_the_import_works(tmp_path):
    assert outcome(tmp_path, EXTENSION, "nms qnms") == ["extension", "[1.0]", "True False"]


def test_an_operator_that_nobody_knows_is_an_error_as_before(tmp_path):
    said = "RuntimeError operator torchvision::fly does not exist"
    assert outcome(tmp_path, "", "fly nms") == ["extension", said, "False False"]


def test_it_is_prepared_once():
    before = list(sys.meta_path)
    prepare()
    assert sys.meta_path == before


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_installed_torchvision_works():
    import torchvision
    from torchvision.transforms import v2

    assert is_incomplete() != torchvision.extension._has_ops()
    assert v2.Resize(4)(torch.ones(1, 8, 8)).shape == (1, 4, 4)
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [4, 4, 5, 5]])
    assert torchvision.ops.box_iou(boxes, boxes)[0].tolist() == [1, 1, 0]
    if is_incomplete():
        with pytest.raises(RuntimeError, match=r"Couldn't load custom C\+\+ ops"):
            torchvision.ops.nms(boxes, torch.rand(3), 0.5)
    else:
        assert torchvision.ops.nms(boxes, torch.tensor([0.5, 0.6, 0.7]), 0.5).tolist() == [2, 1]

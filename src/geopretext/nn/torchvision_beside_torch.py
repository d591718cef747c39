"""torchvision beside a torch of another build: its parts in Python can be imported, its compiled operators are absent.

A torchvision wheel carries compiled operators for one build of torch. Beside another, say a CUDA build of torchvision
beside a CPU build of torch, they are not loaded, which torchvision is ready for: all that needs them raises an error of
its own when it is called. But two lines of its ``_meta_registrations.py`` (0.28) describe the shapes of
``torchvision::nms`` and ``torchvision::qnms`` whether these exist or not, and there the import fails with ``operator
torchvision::nms does not exist``. With it fail timm and all that is built on it, and torchmetrics and Lightning, which
import torchvision where it is installed. None of them needs the two operators to encode, to train or to score.

``prepare`` puts a finder before Python's own that knows one name, ``torchvision``. If the import of it fails for an
operator of ``SCHEMAS``, the operators are declared, without anything that computes them, and the import is tried once
more. Where the import succeeds, which is so wherever the builds match, nothing is declared.
"""

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""By name, as torchvision 0.28 declares them beside its own torch: ``torch.ops.torchvision.nms.default._schema``."""

_ABSENT = re.compile(r"operator torchvision::(\w+) does not exist")
_declared: list[str] = []  # names of operators


def prepare() -> None:
    """From now on torchvision can be imported beside a torch of another build; costs nothing until it is imported."""
    if not any(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchvisionFinder())


def is_incomplete() -> bool:
    """Whether torchvision was imported without its compiled operators, which were then only declared."""
    return bool(_declared)


class _TorchvisionFinder(MetaPathFinder):
    """Finds torchvision where Python does, and has it loaded by ``_TorchvisionLoader``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None, which leaves it to others, of everything but torchvision in files."""
        if fullname != "torchvision":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None
        spec.loader = _TorchvisionLoader(spec.loader.name, spec.loader.path)
        return spec


class _TorchvisionLoader(SourceFileLoader):
    """Python's own loader, with a second try."""

    def exec_module(self, module: ModuleType) -> None:
        """Run torchvision's ``__init__``; what it had imported when it failed is not run again."""
        try:
            super().exec_module(module)
        except RuntimeError as error:
            absent = _ABSENT.search(str(error))
            if absent is None or absent[1] not in SCHEMAS:
                raise
            _declare()
            super().exec_module(module)


def _declare() -> None:
    import torch  # here, so that preparing does not take torch's seconds; torchvision has imported it

    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)
            _declared.append(name)

"""Compiles the C files of this folder on first use, and calls what is in them.

The compiled file is kept in the user's cache folder (``XDG_CACHE_HOME`` or ``~/.cache``), under a name that follows
from the sources, the compiler and the processor.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

log = logging.getLogger(__name__)

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
_COMPILERS = ("cc", "gcc", "clang")
_SLOWER = "training on this CPU takes two to three times as long"


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where they cannot be had."""
    folder = files("geopretext.nn.kernels")
    sources = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith((".c", ".h"))}
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), *_COMPILERS))), None)
    if compiler is None:
        log.warning("no C compiler here (%s): %s", ", ".join(_COMPILERS), _SLOWER)
        return None
    try:
        return ctypes.CDLL(str(_compiled(sources, compiler)))
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else error
        log.warning("%s cannot compile kernels (%s): %s", compiler, detail, _SLOWER)
        return None


def _compiled(sources: dict[str, bytes], compiler: str) -> Path:
    """The compiled file, made if it is not there yet for these sources, compiler and processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout  # noqa: S603
    content = [part for name in sorted(sources) for part in (name.encode(), sources[name])]
    processor = processor_says("flags", "Features") or platform.processor()  # others have other instructions
    identity = b"\0".join((*content, version, " ".join(_FLAGS).encode(), processor.encode()))
    name = f"kernels-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    folder = _writable(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geopretext")
    target = folder / name
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for file, content_of_file in sources.items():
                Path(scratch, file).write_bytes(content_of_file)
            units = [file for file in sorted(sources) if file.endswith(".c")]
            command = [compiler, *_FLAGS, *units, "-o", name, "-lm"]
            subprocess.run(command, cwd=scratch, capture_output=True, check=True)  # noqa: S603
            Path(scratch, name).replace(target)  # at once: several processes may be compiling
    return target


def processor_says(*names: str) -> str:
    """What the system says of the first processor under one of these names (Linux); "" where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")


def _writable(folder: Path) -> Path:
    """The folder, or a private one that lasts as long as the machine keeps temporary files."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="geopretext-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="geopretext-"))


def call(name: str, *arguments: Any) -> int:
    """Call a kernel: tensors by address, whole numbers as int64, truths as int; gives what the kernel returns.

    Raises:
        MemoryError: there was none for its work space.
    """
    loaded = library()
    assert loaded is not None
    code: int = getattr(loaded, f"geopretext_{name}")(*[_plain(argument) for argument in arguments])
    if code & 1:
        raise MemoryError(f"no memory for {name}")
    return code


def has_mlp(width: int) -> bool:
    """Whether the kernel of two-layer networks is there and fast for so many features."""
    return bool(call("mlp_fits", width))


# See ``nn.kernels._compiled``.
has_mlp._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _plain(argument: Any) -> Any:
    if argument is None or isinstance(argument, Tensor):
        return ctypes.c_void_p(None if argument is None else argument.data_ptr())
    if isinstance(argument, bool):
        return ctypes.c_int(argument)
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_float(argument)

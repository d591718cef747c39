"""Tasks of one's own, without touching this package: a function in a file, a YAML file, or an installed plug-in.

* ``FILE.py:FUNCTION``: the function takes nothing and returns a ``Task``. The file is run, as any script.
* ``FILE.yaml``: ``task:`` names a task as ``--task`` does; further fields are those of ``tasks.TaskOptions``.
  Paths are relative to the file.
* a name that an installed package registers under the entry points ``geopretext.tasks``, as such a function.
"""

import importlib.util
import re
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

from geopretext.errors import InputError
from geopretext.evaluate.task import Task

ENTRY_POINTS = "geopretext.tasks"

_PATHS = ("split_file", "data", "root")


def is_own(name: str) -> bool:
    """True if it reads ``FILE.py:FUNCTION``."""
    return re.fullmatch(r".+\.py:\w+", name) is not None


def own_task(name: str) -> Task:
    """The task that a function in a file makes.

    Args:
        name: ``FILE.py:FUNCTION``.

    Raises:
        InputError: there is no such file or function, or it returns something else.
    """
    file, _, function = name.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise InputError("no such file", where=file, hint="--task FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(f"geopretext_task_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    made = vars(module).get(function)
    if not callable(made):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(f"has no function {function!r}", where=file, hint=f"it has {', '.join(functions) or 'none'}")
    return _made(made, name)


def find_entry(name: str) -> Task | None:
    """The task that an installed package registers under a name; None if there is none.

    Raises:
        InputError: what it registers makes no task.
    """
    found = [entry for entry in entry_points(group=ENTRY_POINTS) if entry.name == name]
    return _made(found[0].load(), name) if found else None


def read_task_file(path: Path) -> tuple[str, dict[str, Any]]:
    """The name of the task and its options.

    Raises:
        InputError: it is no YAML, or names no task.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is no YAML: {error}", where=str(path)) from error
    if not isinstance(plain, dict) or not isinstance(plain.get("task"), str):
        raise InputError("names no task", where=str(path), hint="task: FOLDER, and options as bands: [B2, B3, B4]")
    options = {str(key): value for key, value in plain.items() if key != "task"}
    for key in _PATHS:
        if isinstance(options.get(key), str):
            options[key] = path.parent / options[key]
    return _relative(plain["task"], path.parent), options


def _relative(name: str, folder: Path) -> str:
    """A task's name with its path from ``folder`` on, if such a file is there."""
    prefix = next((prefix for prefix in ("geobench:",) if name.startswith(prefix)), "")
    rest = name.removeprefix(prefix)
    path, colon, label = rest.rpartition(":") if ":" in rest else (rest, "", "")
    if (folder / path).exists():
        return f"{prefix}{folder / path}{colon}{label}"
    return name


def _made(function: Callable[[], Any], name: str) -> Task:
    task = function()
    if not isinstance(task, Task):
        raise InputError(
            f"returns a {type(task).__name__}, not a task", where=name, hint="geopretext.evaluate.task.Task"
        )
    return task

"""Where networks can run."""

import torch

from geopretext.errors import InputError


def check_device(name: str) -> None:
    """Refuse a device that is not there, before anything is done.

    Args:
        name: as PyTorch calls it: ``cpu``, ``cuda:0``, ``mps``.

    Raises:
        InputError: there is none of that name.
    """
    there = _devices()
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        device = None
    plain = None if device is None else str(device if device.index or device.type == "cpu" else f"{device.type}:0")
    if plain not in there and plain not in {each.removesuffix(":0") + ":0" for each in there}:
        raise InputError(f"there is no device {name!r}", hint=f"PyTorch has here: {', '.join(there)}")


def _devices() -> tuple[str, ...]:
    """The CPU, and each accelerator that PyTorch was built for and finds."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ("cpu",)
    return ("cpu", *(f"{accelerator.type}:{number}" for number in range(torch.accelerator.device_count())))

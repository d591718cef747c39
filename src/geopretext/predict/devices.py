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
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    count = 0 if accelerator is None else torch.accelerator.device_count()
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        device = None
    if device is not None:
        if device.type == "cpu":
            return
        if accelerator is not None and device.type == accelerator.type and (device.index or 0) < count:
            return
    there = ["cpu", *(f"{accelerator.type}:{number}" for number in range(count) if accelerator is not None)]
    raise InputError(f"there is no device {name!r}", hint=f"PyTorch has here: {', '.join(there)}")

"""The device of an encoder, in a module of its own: that of encoders imports more."""

from __future__ import annotations

import torch

from ..errors import UserError, nearest


def pick_device(name: str) -> torch.device:
    """The device for a name: "auto" -> cuda, else mps, else cpu; otherwise the named device.

    UserError if this machine does not have the device.
    """
    # kind -> number of devices, in the order of preference for "auto"
    counts = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        return torch.device(next(kind for kind, n in counts.items() if n))
    kind, colon, index = name.partition(":")
    if kind not in counts or (colon and not index.isdecimal()):
        raise UserError(f"unknown device '{name}'{nearest(kind, ('auto', *counts))}")
    if int(index or 0) >= counts[kind]:
        present = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
        raise UserError(
            f"device '{name}' is not on this machine (there: {present}); use device: auto or cpu"
        )
    return torch.device(name)

"""A pretended CUDA GPU: the CPU computes, and what would go to the GPU and back is noted.

It replaces functions of PyTorch, so that the code runs as it is, with ``torch.device("cuda", 0)``.
other_device.py finds tensors that stay on the wrong device; this finds slow and wrong ways there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

CUDA = torch.device("cuda", 0)


@dataclass(frozen=True)
class Transfer:
    """A tensor that is copied to the GPU."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    pinned: bool
    non_blocking: bool


@dataclass(frozen=True)
class Pass:
    """How the image tower is called."""

    dtype: torch.dtype
    channels_last: bool
    tf32: tuple[bool, bool]  # of matrix products, of convolutions
    deterministic: bool
    autocast: torch.dtype | None
    gradients: bool


@dataclass
class PretendedCuda:
    """What happened. pinning: names of the threads that took pinned memory. waits: number of passes
    before each copy from the GPU and each index that is copied to it, for which the host waits.
    """

    transfers: list[Transfer] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    pinning: list[str] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)
    _pinned: dict[int, Tensor] = field(default_factory=dict)

    def forget(self) -> None:
        """Begin again, for example when the weights are loaded."""
        for notes in (self.transfers, self.passes, self.pinning, self.waits):
            notes.clear()

    def pin(self, tensor: Tensor) -> Tensor:
        """Note that a tensor is in pinned memory."""
        self.pinning.append(threading.current_thread().name)
        # it is kept, so that no other tensor gets its address
        self._pinned[tensor.data_ptr()] = tensor
        return tensor

    def copy(self, tensor: Tensor, non_blocking: bool) -> None:
        """Note a copy to the GPU."""
        pinned = tensor.data_ptr() in self._pinned
        transfer = Transfer(tensor.dtype, tuple(tensor.shape), pinned, non_blocking)
        self.transfers.append(transfer)

    def watch(self, towers: Any) -> None:
        """Note how the image tower is called."""
        real = towers.image_features

        def watched(pixels: Tensor) -> Tensor:
            cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
            autocast = torch.is_autocast_enabled("cpu")
            self.passes.append(
                Pass(
                    pixels.dtype,
                    pixels.is_contiguous(memory_format=torch.channels_last),
                    (matmul.allow_tf32, cudnn.allow_tf32),
                    cudnn.deterministic and not cudnn.benchmark,
                    torch.get_autocast_dtype("cpu") if autocast else None,
                    torch.is_grad_enabled(),
                )
            )
            made: Tensor = real(pixels)
            return made

        towers.image_features = watched


def pretend(monkeypatch: pytest.MonkeyPatch) -> PretendedCuda:
    """Put the pretended GPU in place of PyTorch's."""
    gpu = PretendedCuda()
    to, cpu, getitem = Tensor.to, Tensor.cpu, Tensor.__getitem__
    empty, autocast = torch.empty, torch.autocast

    def moved(tensor: Tensor, *args: Any, non_blocking: bool = False, **kwargs: Any) -> Tensor:
        """Tensor.to, with the CPU in the place of the GPU."""
        named = [*args, *kwargs.values()]
        if any(_is_cuda(value) for value in named):
            # nn.Module.to passes (device, dtype, non_blocking)
            gpu.copy(tensor, non_blocking or any(value is True for value in named))
        args = tuple("cpu" if _is_cuda(value) else value for value in args)
        kwargs = {key: "cpu" if _is_cuda(value) else value for key, value in kwargs.items()}
        return to(tensor, *args, **kwargs)

    def back(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        gpu.waits.append(len(gpu.passes))
        return cpu(tensor, *args, **kwargs)

    def indexed(tensor: Tensor, index: Any) -> Any:
        if isinstance(index, list):
            gpu.waits.append(len(gpu.passes))
        return getitem(tensor, index)

    def allocated(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        tensor = empty(*args, **kwargs)
        return gpu.pin(tensor) if pin_memory else tensor

    def cast(device: str, dtype: torch.dtype) -> Any:
        assert device in ("cuda", "cpu")
        return autocast("cpu", dtype=dtype)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(Tensor, "to", moved)
    monkeypatch.setattr(Tensor, "cpu", back)
    monkeypatch.setattr(Tensor, "__getitem__", indexed)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: gpu.pin(tensor.clone()))
    monkeypatch.setattr(torch, "empty", allocated)
    monkeypatch.setattr(torch, "autocast", cast)
    return gpu


def _is_cuda(value: Any) -> bool:
    return isinstance(value, torch.device) and value.type == "cuda"

"""The command line on a pretended GPU, where there is none.

    python tests/pretended.py run --modality clips
    PRETENDED=8.0 python tests/pretended.py run --modality clips

The processor does all the work, but a tensor that was moved to "cuda" says that it is there, mixes
with tensors of the processor no more than a GPU's would, and becomes no array before it is moved
back. What only a GPU has (its kernels, recordings, speed) is not pretended. The second line's GPU
is of a later kind, which multiplies bfloat16.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
BRIDGES = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
"""A GPU's tensor may be indexed by one of the processor, though not the other way round."""


class Mixed(RuntimeError):
    """An operation on tensors of both devices."""


class Far(Tensor):
    """A tensor on the pretended GPU, around one of the processor."""

    held: Tensor
    device: Any = property(lambda self: GPU)
    is_cuda: Any = property(lambda self: True)
    is_meta: Any = property(lambda self: False)
    __torch_function__: Any = torch._C._disabled_torch_function_impl
    __torch_dispatch__: Any = classmethod(
        lambda cls, func, types, args=(), kwargs=None: pretend(func, args, kwargs or {})
    )

    @staticmethod
    def __new__(cls, inner: Tensor) -> Far:
        """To PyTorch's own code it is on "meta", the one device that needs no drivers."""
        far: Far = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device("meta"),
        )
        far.held = inner
        return far


class Pretending(TorchDispatchMode):
    """Makes new tensors on the pretended GPU too, which have no tensor to come from."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(isinstance(leaf, Far) for leaf in tree_leaves((args, kwargs))) or _is_far(kwargs):
            return pretend(func, args, kwargs)
        return func(*args, **kwargs)


def _is_far(kwargs: dict[str, Any]) -> bool:
    return torch.device(kwargs.get("device") or "cpu").type in ("cuda", "meta")


def pretend(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation on what is inside, and say that the result is where it would be."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = [tensor for tensor in tensors if isinstance(tensor, Far)]
    near = [tensor for tensor in tensors if not isinstance(tensor, Far) and tensor.dim() > 0]
    indexed = func in INDEXED and isinstance(args[0], Far)
    if far and near and func not in BRIDGES and not indexed:
        raise Mixed(f"{func}: {[tuple(t.shape) for t in far]} are on the GPU, {near} are not")
    ends_far = _is_far(kwargs) if kwargs.get("device") is not None else bool(far)
    if func is aten.copy_.default:
        ends_far = isinstance(args[0], Far)
    inside = {**kwargs, **({"device": "cpu"} if kwargs.get("device") is not None else {})}
    plain, named = tree_map_only(Far, lambda tensor: tensor.held, (args, inside))
    out = func(*plain, **named)
    if func is aten._to_copy.default and out is plain[0]:
        out = out.clone()
    if not ends_far:
        return out
    wrapped = tree_map_only(Tensor, Far, out)
    same_side = bool(far) and func is not aten._to_copy.default
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if same_side else wrapped


def _generator(device: Any = "cpu") -> torch.Generator:
    return torch.Generator()


def install() -> None:
    """Let PyTorch say that there is one GPU, without kernels of our own."""
    import functa_core.latents.training
    import functa_core.modality
    import functa_core.networks.fastest
    from functa_core.meta.recording import Recording

    cuda: Any = torch.cuda
    cuda._lazy_init = lambda: None
    cuda.is_available = lambda: True
    cuda.device_count = lambda: 1
    cuda.set_device = lambda device: None
    kind = tuple(int(part) for part in os.environ.get("PRETENDED", "7.0").split("."))
    cuda.get_device_capability = lambda device=None: kind
    cuda.get_device_name = lambda device=None: "pretended"
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    layers: Any = functa_core.networks.fastest
    layers.usable = lambda device: False
    changed: Any = Recording
    changed.do = lambda self, work, given, what, learner: work(given)
    for module in (functa_core.modality, functa_core.latents.training):
        own: Any = module
        own.Generator = _generator


if __name__ == "__main__":
    from functa_core.cli.main import main

    install()
    with Pretending():
        main(sys.argv[1:])

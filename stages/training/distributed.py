"""Ranks that are processes: :class:`stages.training.ranks.Ranks` on torch.distributed, gloo on CPUs and NCCL on GPUs.

Sums are exchanged once an update, over all gradients laid end to end: every rank gets the same bits, and two runs
of one world size get the same bits too (a ring adds up in a fixed order). Another world size rounds differently.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipelines.stage import Context, PeerLost
from stages.training.ranks import SOLO, Ranks

P = ParamSpec("P")
T = TypeVar("T")

BUCKET_BYTES: Final = 64 << 20
"""Gradients travel in pieces of about this size: few messages, and no second copy of all of them at once."""

PATIENCE: Final = timedelta(minutes=30)
"""How long a rank waits for the others before it gives them up: longer than a checkpoint or sample pictures take."""


@contextmanager
def ranks_of(ctx: Context) -> Iterator[Ranks]:
    """The ranks of the running stage. One rank is :data:`SOLO`: nothing is started and nothing exchanged.

    Raises :class:`pipelines.stage.PeerLost` when the others do not come.
    """
    if ctx.world_size == 1:
        yield SOLO
        return
    device = torch.device(ctx.devices[0])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    _meet(ctx, "nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessRanks(ctx.rank, ctx.world_size, device)
    finally:
        dist.destroy_process_group()


def _meet(ctx: Context, backend: str) -> None:
    if ctx.rendezvous.startswith("file:"):  # all on this machine, whose host name need not lead anywhere
        loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
        if loopback is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)
    try:
        dist.init_process_group(
            backend, init_method=ctx.rendezvous, rank=ctx.rank, world_size=ctx.world_size, timeout=PATIENCE
        )
    except RuntimeError as error:
        raise PeerLost(f"rank {ctx.rank} of {ctx.world_size} did not meet the others: {error}") from error


def _needs_peers(method: Callable[P, T]) -> Callable[P, T]:
    """A broken connection is no bug of the stage: the gang starts again."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except RuntimeError as error:  # gloo raises it as it is, NCCL a subclass
            raise PeerLost(f"{method.__name__}: the other ranks do not answer: {error}") from error

    return guarded


class ProcessRanks:
    """This process as `rank` of `size` in the default process group."""

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device

    def no_sync(self) -> AbstractContextManager[None]:
        """Backwards exchange nothing by themselves: `sum_gradients` does, once."""
        return nullcontext()

    @_needs_peers
    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = torch.cat([grad.reshape(-1) for grad in bucket])
            dist.all_reduce(flat)
            _spread(flat, bucket)

    @_needs_peers
    def sum_values(self, values: Mapping[str, float]) -> dict[str, float]:
        sums = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return dict(zip(values, sums.tolist(), strict=True))

    @_needs_peers
    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        for bucket in _buckets([tensor.detach() for tensor in tensors]):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket]).to(self.device)
            dist.broadcast(flat, 0)
            _spread(flat, bucket)

    @_needs_peers
    def gather_text(self, text: str) -> list[str]:
        texts: list[str] = [""] * self.size
        dist.all_gather_object(texts, text)
        return texts

    def barrier(self) -> None:
        self.sum_values({"here": 1.0})


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, those of one type and device together up to BUCKET_BYTES."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for kind in kinds.values():
        bucket: list[Tensor] = []
        size = 0
        for tensor in kind:
            if bucket and size + tensor.nbytes > BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
            bucket.append(tensor)
            size += tensor.nbytes
        yield bucket


def _spread(flat: Tensor, bucket: Sequence[Tensor]) -> None:
    """Put the values of `flat` back into the tensors that it was made of."""
    start = 0
    for tensor in bucket:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()

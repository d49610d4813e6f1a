"""Several processes that train or run one model, started by torchrun: each is a rank, from 0. Alone, everything here does nothing.

torchrun --nproc-per-node 2 -m minimistral train recipe.toml
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Result = TypeVar("Result")


def n_ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if n_ranks() > 1 else 0


@contextmanager
def joined(patience: timedelta | None = None) -> Iterator[None]:
    """Under torchrun: be one of its processes until the block ends, each with a GPU of its own where there are GPUs.

    The block ends when all have come to its end, so that what the first wrote in it is there for everyone. patience: how
    long a process waits for the others (None: torch's minutes, which end a training run that hangs).
    """
    if not dist.is_available() or not dist.is_torchelastic_launched() or dist.is_initialized():
        yield
        return
    if int(os.environ["LOCAL_RANK"]) < torch.cuda.device_count():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" now means this one
    # Named, since torch by itself takes the one for the machine's accelerator, and then cannot send what lies on the CPU.
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=patience)
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


def shared(model: nn.Module) -> nn.Module:
    """The model to call in training: after backward, every rank has the mean gradient over all ranks.

    DistributedDataParallel, which also copies the first rank's weights to all. It has to look for unused weights, for an
    expert may get no token on one rank and some on another; and then it keeps its buckets, so that sums over three ranks
    or more round the same after a resume.
    """
    return DistributedDataParallel(model, find_unused_parameters=True) if n_ranks() > 1 else model


def mean(values: Tensor) -> Tensor:
    """The mean of `values` over all ranks, without a gradient."""
    if n_ranks() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)  # gloo can only sum
    return total / n_ranks()


def from_first(make: Callable[[], Result]) -> Result:
    """What `make()` returns on the first rank, given to every rank; a ValueError there is raised on every rank."""
    if n_ranks() == 1:
        return make()
    made = [None, None]
    if rank() == 0:
        try:
            made[0] = make()
        except ValueError as error:
            made[1] = error
    dist.broadcast_object_list(made)
    if made[1] is not None:
        raise made[1]
    return made[0]

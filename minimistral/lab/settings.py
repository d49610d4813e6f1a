"""Settings of the whole process that a learner's function may change in passing, put back afterwards."""

import contextlib
import random
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def settings_restored() -> Iterator[None]:
    """Torch's default dtype and device, gradients, threads and determinism, all seeds, and the recursion limit, as before."""
    seeds = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - what a learner may seed
    dtype, grad, threads = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    exact = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    limit, filters = sys.getrecursionlimit(), warnings.filters[:]
    try:
        yield
    finally:
        random.setstate(seeds[0])
        np.random.set_state(seeds[1])  # noqa: NPY002
        torch.set_rng_state(seeds[2])
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if exact != (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ):
            torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])
        sys.setrecursionlimit(limit)
        warnings.filters[:] = filters

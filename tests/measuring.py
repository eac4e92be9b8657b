"""What a piece of work took, counted: neither depends on how busy the machine is."""

from collections.abc import Callable
from typing import TypeVar

from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

Found = TypeVar("Found")


def operations_of(work: Callable[[], Found]) -> tuple[Found, int]:
    """Floating-point operations of its products, a product and a sum counted as two."""
    with FlopCounterMode(display=False) as counted:
        found = work()
    return found, counted.get_total_flops()


def peak_of(work: Callable[[], Found]) -> tuple[Found, int]:
    """The most bytes of tensors that it held at once, beyond those that were there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        found = work()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return found, most

"""Peak memory of a call on a processor, as PyTorch's allocator sees it."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_memory(run: Callable[[], object]) -> int:
    """Bytes that PyTorch had allocated at the peak of a call, beyond what it had before.

    What other libraries allocate for themselves, oneDNN's scratch memory for one, is not seen.

    Example:
        >>> import torch
        >>> peak_memory(lambda: torch.ones(1000).add(1).sum()) >= 8000
        True
    """
    run()  # what is allocated once and stays is not the call's
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        peak = max(peak, allocated)
    return peak

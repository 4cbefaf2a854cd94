"""How much memory the process that runs models may have."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def limit_memory(limit: int | None) -> None:
    """Let this process have so many bytes more; None: three quarters of what is free."""
    # Elsewhere the system does not hold a limit on address space (macOS), or has none
    # (Windows); the parent refuses an explicit limit there.
    if not sys.platform.startswith("linux"):
        return
    import resource

    # If memory runs out all the same, the kernel shall end this process, not its parent.
    # Some containers refuse this: then the limit below is what there is.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    page = os.sysconf("SC_PAGE_SIZE")
    # The interpreter and the libraries are mapped already; the limit is for the models.
    base = int(Path("/proc/self/statm").read_text().split()[0]) * page
    wanted = base + (limit if limit is not None else _free() * 3 // 4)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _free() -> int:
    """Bytes of memory that are to be had, of the machine and of the container."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable")))
    with contextlib.suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found)

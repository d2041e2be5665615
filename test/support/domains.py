"""ROS domains of a test run: one for the processes that it starts, one for each file that makes nodes of its own."""

import itertools
import os

# Up to 101 ports stay clear of Linux's ephemeral ones. Of several workers (pytest-xdist) each has a share; other runs begin elsewhere.
HIGHEST = 101
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_numbers = itertools.count((os.getppid() if _workers > 1 else os.getpid()) * 13)


def _next() -> int:
    return 1 + _worker + _workers * (next(_numbers) % (HIGHEST // _workers))


PROCESSES = _next()


def of_a_file() -> int:
    """One that no other file of this run uses, nor any process that it starts."""
    return next(domain for domain in iter(_next, None) if domain != PROCESSES)

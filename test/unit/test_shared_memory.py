"""What killed processes left in shared memory is removed, what is in use is not."""

import fcntl
import os
import time

import pytest

from rl_token_ros.system import shared_memory

OLD = time.time() - 2 * shared_memory.ABANDONED_SECONDS


def segment(folder, name: str, modified: float = OLD):
    """A segment and its lock, as Fast DDS makes them."""
    path, lock = folder / name, folder / f"{name}_el"
    path.write_bytes(b"x" * 100)
    lock.touch()
    os.utime(lock, (modified, modified))
    return path, lock


@pytest.mark.parametrize("name", ["fastdds_0123456789abcdef", "fastrtps_0123456789abcdef"])
def test_a_segment_whose_process_is_gone_is_removed(tmp_path, name):
    path, lock = segment(tmp_path, name)
    assert shared_memory.remove_abandoned(tmp_path) == 1
    assert not path.exists() and not lock.exists()


def test_a_segment_in_use_stays(tmp_path):
    path, lock = segment(tmp_path, "fastdds_0123456789abcdef")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert shared_memory.remove_abandoned(tmp_path) == 0 and path.exists()
    assert shared_memory.remove_abandoned(tmp_path) == 1


def test_a_segment_that_is_just_being_made_stays(tmp_path):
    path, _ = segment(tmp_path, "fastdds_0123456789abcdef", time.time())
    assert shared_memory.remove_abandoned(tmp_path) == 0 and path.exists()


@pytest.mark.parametrize("name", ["fastdds_port7412", "somebody_else", "psm_0123456789abcdef"])
def test_what_is_no_segment_of_fast_dds_stays(tmp_path, name):
    path, lock = segment(tmp_path, name)
    assert shared_memory.remove_abandoned(tmp_path) == 0 and path.exists() and lock.exists()


def test_nothing_is_free_where_there_is_no_shared_memory(tmp_path):
    assert shared_memory.free_bytes(tmp_path) > 0 == shared_memory.free_bytes(tmp_path / "missing")

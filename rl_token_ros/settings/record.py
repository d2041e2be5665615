"""Parameters of `record`."""

from __future__ import annotations

from dataclasses import dataclass

from rl_token_ros.settings.parameters import parameter


@dataclass(frozen=True)
class Record:
    """Parameters of `record`."""

    bag: str = parameter("", "Folder of the bag; created, or continued with a new file. Empty: runs/bags/<date and time>.")
    topics: list[str] = parameter(
        [], "Topics to record; * stands for any characters, as in camera/*. Empty: all topics of this package (docs/topics.md) but the cameras and "
        "the devices of a human's hand.",
    )  # fmt: skip
    cameras: list[str] = parameter([], "Names of the cameras, as for vla_node: the bag says which topics are theirs, under any name.")
    split_size: int = parameter(1 << 30, "Size at which a new file begins.", unit="bytes", low=1 << 16, high=1 << 50)
    size_limit: int = parameter(0, "Size of the bag beyond which its oldest files are deleted; 0: none.", unit="bytes", low=0, high=1 << 50)
    free_space: int = parameter(
        1 << 30, "Free space on the disk below which recording pauses: the robot's other programs need it.", unit="bytes", low=0, high=1 << 50
    )
    compression: str = parameter("none", "Of the files' chunks; lz4 and zstd cost CPU.", choices=("none", "lz4", "zstd"))
    sync_seconds: float = parameter(1.0, "Time after which what was received is on the disk, whatever happens.", unit="s", low=0.1, high=3600.0)
    queue_size: int = parameter(
        256 << 20,
        "Memory for messages that the disk has not taken yet; what does not fit is lost and counted.",
        unit="bytes",
        low=1 << 20,
        high=1 << 40,
    )

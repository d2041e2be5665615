"""Who is on `command`, and on the topics of measurements: what the core asks of the graph around it, live or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class CommandSide(Protocol):
    """The graph around control_node. What is asked of it costs time: only what is needed is asked."""

    live: bool  # False: commands arrive in any case, and whoever calls says when the arm is enabled

    @property
    def taken(self) -> bool:
        """Whether anyone listens."""

    @property
    def settled(self) -> bool:
        """Whether another publisher that was there before would be known by now."""

    @property
    def acknowledged(self) -> bool:
        """Whether everyone who acknowledges at all has received everything."""

    @property
    def silent(self) -> bool:
        """Whether someone listens who does not acknowledge."""

    def others(self) -> Sequence[str]:
        """Full names of other nodes that publish `command`."""

    def doubled(self) -> Sequence[str]:
        """Sentences about measurements that two publishers bring."""


class Assured:
    """A simulation in the same process, or a bag: what is sent arrives, and nobody else sends."""

    live = False
    taken = settled = acknowledged = True
    silent = False

    def others(self) -> Sequence[str]:
        return ()

    def doubled(self) -> Sequence[str]:
        return ()


ASSURED = Assured()
UNNAMED = "_NODE_NAME_UNKNOWN_"  # rcl's, until discovery brings the name of the node to which a publisher belongs

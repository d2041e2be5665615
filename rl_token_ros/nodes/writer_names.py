"""Names of the nodes behind publishers, for the sentence about what two of them bring."""

from __future__ import annotations

from rclpy.node import Node

from rl_token_ros.interfaces.measurements import GID_BYTES
from rl_token_ros.nodes.ros_topics import full_name


def told(node: Node, topic: str, resolved: str, doubled: dict[str, tuple[bytes, ...]]) -> str:
    """The sentence.

    Args:
        node: looks at the graph.
        topic: our name.
        resolved: its name there.
        doubled: what is brought twice, by whom, as :meth:`Writers.doubled`.
    """
    infos = node.get_publishers_info_by_topic(resolved)
    names = {bytes(info.endpoint_gid[:GID_BYTES]): full_name(info) for info in infos}
    known = [names[writer] for writers in doubled.values() for writer in writers if writer in names]
    who = " and ".join(dict.fromkeys(known)) if len(set(known)) > 1 or not infos else ", ".join(names.values())
    joints = [one for one in doubled if one != topic]
    more = f" and {len(joints) - 1} more" if len(joints) > 1 else ""
    return f"two publishers bring {joints[0] + more + ' on ' if joints else ''}'{topic}', {who}: which is true is not known; stop one of them"

"""What to install where a package of Python cannot be imported."""

from __future__ import annotations

# Packages that pip installs only with an extra of this package, by what is imported.
EXTRAS = {"torch": "learner", "mujoco": "sim", "onnx": "train", "matplotlib": "demo", "websockets": "vla", "msgpack": "vla", "PIL": "vla", "mcap": "bags", "rosbags": "bags", "zstandard": "bags"}


def missing(module: str | None) -> str:
    """What to do about a module that cannot be imported."""
    root = (module or "").partition(".")[0]
    if root == "rclpy" or root.endswith("_msgs"):
        return (
            f"no ROS 2 here ('{root}' is not installed). Source a ROS installation, or install its wheels with "
            "pip install 'rl_token_ros[ros]' (Linux on x86-64, Python 3.10 to 3.13)"
        )
    if root in EXTRAS:
        return f"'{root}' is not installed; pip install 'rl_token_ros[{EXTRAS[root]}]'"
    return f"module '{module}' is not installed"

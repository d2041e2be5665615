"""What to install where a module is missing: the extras of this package, by the modules that they bring."""

from __future__ import annotations

BAGS = ("mcap", "rosbags", "zstandard")

# Extra -> modules, as setup.py lists their packages; the first that has a module is named.
EXTRAS = {
    "bags": BAGS,
    "learner": (*BAGS, "torch"),
    "sim": ("mujoco",),
    "vla": ("websockets", "msgpack", "PIL"),
    "report": (*BAGS, "matplotlib"),
    "token": (*BAGS, "torch", "onnx"),
    "demo": (*BAGS, "torch", "mujoco", "matplotlib"),
    "train": (*BAGS, "torch", "mujoco", "onnx"),
}
# Verbs that need several of these modules -> the extra with all of them, so that nobody installs one after the other.
OF_VERB = {"demo": "demo", "learner_node": "learner", "practise": "learner", "report": "report", "train_token": "token", "clone": "token"}


def missing(module: str | None, verb: str = "") -> str:
    """What to do about a module that cannot be imported, a sentence; ``verb`` of the command `rl_token` is what wanted it."""
    root = _root(module)
    if _is_ros(root):
        return (
            f"no ROS 2 here ('{root}' is not installed). Source a ROS installation, or install its wheels with "
            "pip install 'rl_token_ros[ros]' (Linux on x86-64, Python 3.10 to 3.13)"
        )
    candidates = [OF_VERB[verb], *EXTRAS] if verb in OF_VERB else EXTRAS
    for extra in candidates:
        if root in EXTRAS[extra]:
            return f"'{root}' is not installed; pip install 'rl_token_ros[{extra}]'"
    return f"module '{module}' is not installed"


def _root(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_ros(root: str) -> bool:
    return root in ("rclpy", "std_srvs") or root.endswith(("_msgs", "_interfaces"))

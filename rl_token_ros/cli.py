"""The command `rl_token`: every node and tool of the package as a verb. Adding one is a line in VERBS.

`scripts/` holds a link of the verb's name for what `ros2 run` and launch files shall start, too.
"""

from __future__ import annotations

import difflib
import importlib
import os
import select
import signal
import sys
from typing import TextIO

from rl_token_ros import __version__
from rl_token_ros.system import extras

# verb -> (module with a `main()`, a line of help). Modules are imported when asked for: nodes need ROS, some tools torch.
VERBS = {
    "demo": ("rl_token_ros.commands.demo", "practise on the simulated robot and compare with the base policy"),
    "up": ("rl_token_ros.commands.up", "run all nodes of a simulation, a robot or a learner in the foreground, without ros2 launch"),
    "control_node": ("rl_token_ros.nodes.control_node", "encoder, residual actor and safety filter; alone commands the arm"),
    "vla_node": ("rl_token_ros.nodes.vla_node", "queries the VLA and publishes its action chunks and embeddings"),
    "learner_node": ("rl_token_ros.nodes.learner_node", "replay, off-policy updates and new weights for the actor"),
    "check": ("rl_token_ros.commands.check", "says what a robot's parameter file finds on the live graph, before anything moves"),
    "vla_server": ("rl_token_ros.commands.vla_server", "serves an ONNX or Python VLA to vla_node over openpi's protocol, for a GPU machine"),
    "sim_node": ("rl_token_ros.nodes.sim_node", "the simulated arm and task on the topics of a real one"),
    "gym_node": ("rl_token_ros.nodes.gym_node", "an environment of yours, one Python class, on the topics of a real robot"),
    "practise": ("rl_token_ros.commands.practise", "practises in one process, in our simulation or an environment of yours; base against practised"),
    "operator": ("rl_token_ros.nodes.operator_node", "keyboard, joystick, leader arm or SpaceMouse, and a screen of the robot's state"),
    "train_phase": ("rl_token_ros.commands.train_phase", "learns from the operator's switches in bags when the critical phase begins"),
    "record": ("rl_token_ros.nodes.record_node", "writes a run's topics into a bag (MCAP), whole also after a crash"),
    "replay_bag": ("rl_token_ros.commands.replay_bag", "runs a bag through the pipeline: the same commands? what would other weights have done?"),
    "export": ("rl_token_ros.commands.export", "makes a LeRobot data set of recorded runs, with LeRobot itself"),
    "import": ("rl_token_ros.commands.import_demonstrations", "makes a seed of the replay of a LeRobot data set: demonstrations, lived again"),
    "report": ("rl_token_ros.commands.report", "one HTML page of a run: is practice working?"),
    "clone": ("rl_token_ros.commands.clone", "makes a small VLA of demonstrations, for who has none: .npz files, bags, LeRobot data sets"),
    "train_token": ("rl_token_ros.commands.train_token", "trains the token's encoder from bags and LeRobot data sets"),
}


def usage() -> str:
    """The text of `rl_token --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {about}" for verb, (_, about) in VERBS.items()]
    return "\n".join(
        ["usage: rl_token VERB [arguments]", "       rl_token --version", "", *lines, "", "`rl_token VERB --help` for a tool; nodes take --ros-args."]
    )


def main() -> int:
    """Run the verb named first on the command line; returns the exit status, 2 for a verb or package that is not there.

    Where nobody reads the output any more, as behind `| head`, it ends without a word, with the status of a program that SIGPIPE ended.
    """
    try:
        try:
            return _run(sys.argv[1:])
        finally:
            sys.stdout.flush()  # here, for at the interpreter's end a closed pipe could not be answered any more
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _reader_is_gone(stream)]
        if not closed:
            raise  # a socket, say
        for stream in closed:  # what is still in their buffers goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 128 + signal.SIGPIPE


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    verb = arguments[0]
    if verb == "--version":
        print(f"rl_token {__version__}")
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`rl_token --help` lists the verbs"
        print(f"rl_token: there is no verb '{verb}'; {hint}", file=sys.stderr)
        return 2
    try:
        module = importlib.import_module(VERBS[verb][0])
        sys.argv = [f"rl_token {verb}", *arguments[1:]]
        return module.main()
    except ModuleNotFoundError as error:  # also later than at the start: some are imported only where they are needed
        if error.name is not None and error.name.partition(".")[0] == __package__:
            raise  # a fault of this package
        print(f"rl_token {verb}: {extras.missing(error.name, verb)}", file=sys.stderr)
        return 2


def _reader_is_gone(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # errors and hang-ups are told without being asked for
    return bool(poll.poll(0))


if __name__ == "__main__":
    sys.exit(main())

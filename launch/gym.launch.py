"""Everything, simulated, in an environment of yours: the class that `env` of gym_node names, the VLA, the controller and the learner."""

from rl_token_ros.launching.ros_launch import describe


def generate_launch_description():
    return describe("gym", "params_file", "Parameter file of the simulated robot, with gym_node's `env`: a path.")

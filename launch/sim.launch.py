"""Everything, simulated: the arm and its task, the VLA, the controller and the learner."""

from rl_token_ros.launching.ros_launch import describe


def generate_launch_description():
    return describe(
        "sim",
        "params_file",
        "Parameter file of the simulated robot: a path, or the name of a file in this package's config folder.",
        default_file="sim",
    )

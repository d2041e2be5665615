"""The learner alone, for a machine other than the robot's, in the same ROS domain."""

from rl_token_ros.launching.ros_launch import describe


def generate_launch_description():
    return describe(
        "learner",
        "robot",
        "The parameter file that the robot itself runs with: a path, or the name of a file in this package's config folder.",
    )

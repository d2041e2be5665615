"""What runs on the robot: the VLA and the controller. Start learner.launch.py beside it or on another machine."""

from rl_token_ros.launching.ros_launch import describe


def generate_launch_description():
    return describe("robot", "robot", "The robot's parameter file: a path, or the name of a file in this package's config folder.")

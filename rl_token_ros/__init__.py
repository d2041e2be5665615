"""Physical Intelligence's RL token as a ROS 2 package: a frozen VLA, one token, a residual that practises on the robot."""

__version__ = "0.1.0"

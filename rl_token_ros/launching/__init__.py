"""Which processes make up a robot, and how they are started and ended, with ROS's launch or without."""

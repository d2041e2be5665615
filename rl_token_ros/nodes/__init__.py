"""The ROS nodes: parameters, topics, timers, and calls into the logic beside this folder. Nothing here decides anything."""

"""Everything that decides what the arm does, from messages to one safe command a tick. No ROS, no torch."""

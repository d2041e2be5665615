"""The human's side: what keys and buttons ask for, what a hand's device says as an intervention, and what the screen shows. No ROS."""

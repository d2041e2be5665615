"""A recorded run through the pipeline again, control step by control step. No ROS."""

"""What is measured of the robot, by name and with stamps."""

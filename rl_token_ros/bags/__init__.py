"""rosbag2 bags without ROS: written as MCAP, read from MCAP and sqlite3, as streams. Needs the extra `bags` (mcap, rosbags)."""

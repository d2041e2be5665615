"""The simulated robot and task: MuJoCo, cameras, demonstrations, and the scripts that make the shipped models. No rclpy."""

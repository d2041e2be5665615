"""Learning from `replay`: step store and windows, residual TD3, the learner and the process that runs it. No rclpy here."""

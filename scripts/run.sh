#!/bin/sh
# What `ros2 run` and launch files start: runs the node or tool this file is named after. One link to it per name.
# The Python is the one of the environment this was installed into; in a colcon workspace, which has none, the one on PATH.
python="$(dirname "$0")/../../bin/python3"
[ -x "$python" ] || python=python3
exec "$python" -m rl_token_ros.cli "$(basename "$0")" "$@"

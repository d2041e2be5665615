"""Whether a VLA's chunk reaches as far as actor and critic look: horizon, chunk length, rates and latency held against each other, in seconds.

A control step can be learned from while the newest chunk covers chunk_length control steps from then on. Between two answers the chunk's observation
grows older, from the latency of the query to that and the time between two queries. Hence, with H steps in a chunk,

    H * chunk_dt  >=  (chunk_length - 1) / control_rate  +  latency  +  1 / query_rate
"""

from __future__ import annotations

import math

from rl_token_ros.settings.robot import Robot
from rl_token_ros.settings.vla import Vla


def most_age(settings: Robot, steps: int) -> float:
    """Age in s of an observation up to which its chunk of H ``steps`` covers a window; not above zero: never."""
    return steps * settings.chunk_dt - (settings.chunk_length - 1) / settings.control_rate


def refusal(settings: Robot, steps: int) -> str:
    """Why chunks of H ``steps`` can never be learned from, or nothing."""
    if most_age(settings, steps) > 1e-9:  # sums of floats
        return ""
    reach, window = steps * settings.chunk_dt, settings.chunk_length / settings.control_rate
    longest = max(math.ceil(reach * settings.control_rate), 1)
    return (
        f"the VLA gives {steps} steps of chunk_dt {settings.chunk_dt:g} s, {reach:.2f} s in all, and chunk_length {settings.chunk_length} at "
        f"control_rate {settings.control_rate:g} Hz is {window:.2f} s; write chunk_length {longest} or less"
    )


def shortfall(settings: Vla, steps: int, age: float) -> str:
    """What is short while answers come when their observation is ``age`` s old, with the figures; nothing if every step can be recorded."""
    most, oldest = most_age(settings, steps), age + 1.0 / settings.query_rate
    if most >= oldest:
        return ""
    lost = 1.0 - min(max(most - age, 0.0) * settings.query_rate, 1.0)
    longest = math.floor((steps * settings.chunk_dt - oldest) * settings.control_rate) + 1
    remedy = f"write chunk_length {longest} or less" if longest >= 1 else "query faster"
    return (
        f"about {100 * lost:.0f} % of control steps cannot be learned from: {steps} steps cover chunk_length {settings.chunk_length} until the "
        f"observation is {1e3 * most:.0f} ms old, and it is {1e3 * age:.0f} to {1e3 * oldest:.0f} ms old; {remedy}, or let the VLA give more steps"
    )

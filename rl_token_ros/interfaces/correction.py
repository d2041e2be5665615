"""How an `intervention` says that it corrects the VLA rather than taking over: `frame_id` is ``residual``.

Its positions are then what is added to the VLA's action, in units of the action and at most `residual_scale`: what the actor could have done
in the human's place, so that all of it can be learned. A bag keeps it with the message.
"""

from __future__ import annotations

FRAME = "residual"


def corrects(frame_id: str) -> bool:
    """Whether an `intervention` is added to the VLA's action."""
    return frame_id == FRAME

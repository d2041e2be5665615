"""Which of the robot's cameras is which picture of a policy, and the table that says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rl_token_ros.settings.parameters import ParameterError

NOBODY = "none"  # stands for a camera that the robot does not have


def assign(defaults: dict[str, str], overrides: Iterable[str], optional: Collection[str], kind: str) -> dict[str, str]:
    """The robot's camera for each of the policy's pictures; those for which it has none are left out.

    Args:
        defaults: camera by the policy's name of the picture.
        overrides: ``CAMERA=PICTURE``, as in base=observation.images.top; none=PICTURE for a camera that the robot does not have.
        optional: pictures that the policy can do without.
        kind: what the policy is, for a message.

    Raises:
        ParameterError: an override that cannot be read, of an unknown picture, or two cameras for one.
    """
    given: dict[str, str] = {}
    for text in overrides:
        camera, equals, picture = text.partition("=")
        if not (camera and equals and picture):
            raise ParameterError(f"--camera '{text}': write CAMERA=FEATURE, as in base={next(iter(defaults), 'observation.images.top')}")
        if picture not in defaults:
            raise ParameterError(f"--camera '{text}': the checkpoint takes {', '.join(defaults) or 'no pictures'}")
        if picture in given:
            raise ParameterError(f"--camera names {picture} twice; write one camera for it")
        if camera == NOBODY and picture not in optional:
            raise ParameterError(f"--camera '{text}': a policy of type {kind} needs every picture that it learned with")
        given[picture] = camera
    cameras = {picture: camera for picture, camera in (defaults | given).items() if camera != NOBODY}
    twice = [camera for camera in cameras.values() if list(cameras.values()).count(camera) > 1]
    if twice:
        raise ParameterError(f"camera '{twice[0]}' would be {' and '.join(p for p, c in cameras.items() if c == twice[0])}; see --camera")
    if defaults and not cameras:
        raise ParameterError("--camera leaves the policy without any picture")
    return cameras


def table(rows: list[tuple[str, str, str]]) -> str:
    """A line for each row, in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(f"{part:{width}}" for part, width in zip(row, widths)).rstrip() for row in rows)

"""Which of the robot's cameras is which picture of a policy, and the table that says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rl_token_ros.settings.parameters import ParameterError

NOBODY = "none"  # stands for a camera that the robot does not have


def names(defaults: dict[str, str], overrides: Iterable[str], owner: str) -> dict[str, str]:
    """The robot's name of the camera behind each picture, NOBODY where there is none.

    Args:
        defaults: camera by the picture's name, as the policy or the data set calls it.
        overrides: ``CAMERA=PICTURE``, as in base=observation.images.top; none=PICTURE for a camera that the robot does not have.
        owner: whose pictures they are, for errors: "the checkpoint takes".

    Raises:
        ParameterError: an override that cannot be read, of an unknown picture, or two cameras for one, or one for two.
    """
    given: dict[str, str] = {}
    for text in overrides:
        camera, equals, picture = text.partition("=")
        if not (camera and equals and picture):
            raise ParameterError(f"--camera '{text}': write CAMERA=FEATURE, as in base={next(iter(defaults), 'observation.images.top')}")
        if picture not in defaults:
            raise ParameterError(f"--camera '{text}': {owner} {', '.join(defaults) or 'no pictures'}")
        if picture in given:
            raise ParameterError(f"--camera names {picture} twice; write one camera for it")
        given[picture] = camera
    cameras = defaults | given
    for camera in cameras.values():
        same = [picture for picture, other in cameras.items() if other == camera]
        if camera != NOBODY and len(same) > 1:
            raise ParameterError(f"camera '{camera}' would be {' and '.join(same)}; see --camera")
    return cameras


def assign(defaults: dict[str, str], overrides: Iterable[str], optional: Collection[str], kind: str) -> dict[str, str]:
    """The cameras of a policy, as :func:`names`; pictures for which the robot has none are left out.

    Args:
        defaults, overrides: as there.
        optional: pictures that the policy can do without.
        kind: what the policy is, for a message.

    Raises:
        ParameterError: as there, or the policy cannot do without.
    """
    cameras = names(defaults, overrides, "the checkpoint takes")
    for picture, camera in cameras.items():
        if camera == NOBODY and picture not in optional:
            raise ParameterError(f"--camera '{NOBODY}={picture}': a policy of type {kind} needs every picture that it learned with")
    cameras = {picture: camera for picture, camera in cameras.items() if camera != NOBODY}
    if defaults and not cameras:
        raise ParameterError("--camera leaves the policy without any picture")
    return cameras


def table(rows: list[tuple[str, str, str]]) -> str:
    """A line for each row, in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(f"{part:{width}}" for part, width in zip(row, widths)).rstrip() for row in rows)

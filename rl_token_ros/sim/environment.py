"""What practice needs of a simulation: the protocol of an environment, how one is found by name, and what is refused of it.

The loop in one process and the nodes (`sim_node`, `gym_node`) drive every environment by this alone, our own :class:`Simulation` among them.
docs/your_simulation.md says how to write one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import known, size, source, vocabulary
from rl_token_ros.settings.robot import Robot
from rl_token_ros.system.imported import imported

METHODS, ATTRIBUTES = ("reset", "step", "measured", "images", "close"), ("action_names", "critical", "outcome")  # the latter once it was reset
# Groups that come in one message: who measures one of them measures the other. Of joint_states velocity and effort may be left out.
FELLOWS = (("ee_position", "ee_orientation"), ("wrench_force", "wrench_torque"))


class Environment(Protocol):
    """A robot and its task. One thread calls it; lengths are in m, angles in rad, forces in N, times in s, poses in `base_frame`."""

    @property
    def action_names(self) -> Sequence[str]:
        """What the numbers of a command are, in order: `action_names` of the parameter file, then its `gripper_names`."""

    @property
    def critical(self) -> bool:
        """Whether the critical phase of this episode has begun, the last millimetres: from then on, until the next reset, True.

        In it the residual acts and data are kept; before it the base acts alone.
        """

    @property
    def outcome(self) -> bool | None:
        """None until the episode is decided, then True (done) or False (failed) until the next reset. A time limit is no failure: the robot's own,
        `episode_time_limit`, ends an episode that takes too long."""

    def reset(self, seed: int | None = None) -> None:
        """Begin a new episode. A seed, given before the first, is what all that is random is drawn from.

        Without a seed, `reset_time` of robot time passes afterwards, in which :meth:`step` is called with None and pictures and measurements are
        taken as always: an environment that moves its robot back may take that time, another is at its new start at once and stays there.
        """

    def step(self, command: np.ndarray | None, dt: float) -> None:
        """Advance.

        Args:
            command: float64 [A + G]: the position to be at, of each action (m or rad; also where `action_type` is delta: what comes here is the sum,
                within the limits of the parameter file) and then of each gripper. None: nobody commands; stay, or go back to a start.
            dt: s, one control period in practice, and whatever a node's timer says on topics. What is no whole step of the simulator waits for
                the next call.
        """

    def measured(self) -> Mapping[str, np.ndarray]:
        """float64, by group of `proprioception`, of this moment: at least what the parameter file asks for.

        joint_position, joint_velocity, joint_effort [J] in order of `joint_names` (rad, rad/s, N m); ee_position [3] (m) with ee_orientation [4]
        (quaternion x, y, z, w) of the tool in `base_frame`; wrench_force [3] (N) with wrench_torque [3] (N m), of the surroundings on the tool;
        extra/NAME [1], in any unit, what none of these is.
        """

    def images(self) -> Mapping[str, np.ndarray]:
        """uint8 [h, w, 3] rgb, of this moment, of each of `cameras` by name, in the size that the VLA takes."""

    def close(self) -> None:
        """Free what it holds. It is not used afterwards."""


def load(name: str) -> Environment:
    """The environment that the class, or function, ``module:name`` makes without arguments.

    Raises:
        ParameterError: there is none, or what it makes lacks something of the protocol.
    """
    made: Any = imported(name, "MODULE:CLASS of your environment, as docs/your_simulation.md says")()
    if lacks := [method for method in METHODS if not callable(getattr(made, method, None))]:
        raise ParameterError(
            f"'{name}' has no {', '.join(f'{method}()' for method in lacks)}; write them, as rl_token_ros.sim.environment.Environment says"
        )
    return made


def refuse_misfit(environment: Environment, robot: Robot, groups: Iterable[str]) -> None:
    """Refuse an environment, after its first reset, that is not that of the parameter file.

    Args:
        groups: of proprioception, what is needed.

    Raises:
        ParameterError: commands, measurements or pictures differ; the message says what to write where.
    """
    if lacks := [name for name in ATTRIBUTES if not hasattr(environment, name)]:
        raise ParameterError(
            f"the environment has no {', '.join(lacks)} after reset(seed); give it, as rl_token_ros.sim.environment.Environment says"
        )
    if environment.outcome is not None:
        raise ParameterError(f"the environment's outcome is {environment.outcome} after reset(seed); let it be None until the episode is decided")
    names = list(environment.action_names)
    if names != robot.chunk_names:
        raise ParameterError(
            f"the environment's action_names are {names}, but 'action_names' and then 'gripper_names' of the parameter file {robot.chunk_names}; "
            "write the same names in the same order"
        )
    measured = environment.measured()
    if unknown := [group for group in measured if not known(group) or not source(group)]:
        raise ParameterError(f"measured() has '{unknown[0]}'; write groups of proprioception: {vocabulary(measured=True)}")
    for one, other in FELLOWS:
        if (one in measured) != (other in measured):
            raise ParameterError(f"measured() has {one if one in measured else other} alone; one message says {one} and {other}: give both")
    if missing := [group for group in groups if source(group) and group not in measured]:
        raise ParameterError(
            f"measured() has no {', '.join(missing)}, which the parameter file asks for; give it, or leave it out of 'proprioception' and "
            "'vla_proprioception'"
        )
    for group, values in measured.items():
        wanted = size([group], len(robot.joint_names), robot.action_size)
        if np.shape(values) != (wanted,):
            told = f", one for each of joint_names {robot.joint_names}" if source(group) == "joint_states" else ""
            raise ParameterError(f"measured() gives {group} of shape {np.shape(values)}; give {wanted} numbers{told}")
        if not np.isfinite(values).all():
            raise ParameterError(f"measured() gives a {group} that is not finite after reset(seed): {np.asarray(values).tolist()}")
    images = environment.images()
    if missing := [camera for camera in robot.cameras if camera not in images]:
        raise ParameterError(
            f"images() has no {', '.join(missing)}; it has {', '.join(images) or 'none'}: write these in 'cameras', or give pictures of those names"
        )
    for camera in robot.cameras:
        picture = images[camera]
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            found = f"{picture.dtype} {list(picture.shape)}" if isinstance(picture, np.ndarray) else repr(picture)
            raise ParameterError(f"images() gives {found} for '{camera}'; give uint8 [h, w, 3], rgb")

"""The episodes of a LeRobot data set in a robot's names and units: which feature is which camera, measurement and action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_token_ros.adapters import lerobot_columns as columns
from rl_token_ros.adapters.lerobot_checkpoint import ACTION, STATE
from rl_token_ros.adapters.lerobot_dataset import Dataset
from rl_token_ros.adapters.lerobot_inputs import camera_names
from rl_token_ros.interfaces.codes import Ended
from rl_token_ros.interfaces.demonstration import Demonstration
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.proprioception_groups import GROUPS, places, size
from rl_token_ros.settings.robot import Robot
from rl_token_ros.vla.keys import parse_columns


@dataclass(frozen=True)
class Mapping:
    """What the command line says of a data set.

    Attributes:
        state: groups that observation.state holds, in order; empty: by the names of its values, else those of `vla_proprioception`.
        cameras: ``CAMERA=FEATURE``.
        action_columns: of the action, as in 0:6,13; empty: by name, else all.
        scale: the data set's units of one of the robot's, for each action or for all.
        ended: code of :class:`Ended` of episodes of which the data set does not say how they ended.
    """

    state: Sequence[str] = ()
    cameras: Sequence[str] = ()
    action_columns: str = ""
    scale: Sequence[float] = (1.0,)
    ended: int = int(Ended.SUCCESS)


class Unusable(ValueError):
    """An episode of which no demonstration can be made; the message says why."""


class Demonstrations:
    """A data set, read for a robot.

    Args:
        dataset: the data set.
        robot: names of the robot.
        needed: groups of measurements without which nothing can be made of it.
        state: groups of the VLA's state.
        cameras: names of the robot's cameras.
        mapping: what is not to be guessed.

    Attributes:
        cameras: the robot's name of the camera by feature, of those that the robot has.
        groups: float64 [N, n] of each group that is known.
        action: float64 [N, A].
        command: float64 [N, A] where the data set says what was commanded just before, as those of `rl_token export` do; else None.
        critical: bool [N].
        notes: sentences on what was taken for what.

    Raises:
        ParameterError: cameras, measurements or actions that the robot needs are missing, and what to write.
    """

    def __init__(self, dataset: Dataset, robot: Robot, needed: Sequence[str], state: Sequence[str], cameras: Sequence[str], mapping: Mapping) -> None:
        self._dataset, self._robot, self._mapping = dataset, robot, mapping
        self.notes: list[str] = []
        self.cameras = self._cameras(cameras)
        self.action = self._actions()
        scale = np.asarray(mapping.scale, np.float64)
        if len(scale) not in (1, robot.action_size):
            raise ParameterError(
                f"--scale has {len(scale)} numbers; write one, or {robot.action_size}, one for each of {', '.join(robot.action_names)}"
            )
        self.action /= scale
        self.groups = self._groups(list(dict.fromkeys([*state, *needed])), list(state))
        if not robot.cartesian:
            joints = np.ones(len(robot.joint_names))
            for name, factor in zip(robot.action_names, np.broadcast_to(scale, robot.action_size)):
                joints[robot.joint_names.index(name)] = factor
            for group in ("joint_position", "joint_velocity"):
                if group in self.groups:
                    self.groups[group] = self.groups[group] / joints
        command, critical = dataset.column(columns.COMMAND), dataset.column(columns.CRITICAL)
        known = command is not None and command.shape[1] == robot.action_size and robot.action_type == "delta"
        self.command = np.asarray(command, np.float64) if known else None
        self.critical = np.ones(len(dataset), bool) if critical is None else critical[:, 0].astype(bool)
        self._ended = dataset.column(columns.ENDED)

    def episodes(self) -> list[np.ndarray]:
        """The frames (indices) of each."""
        numbers = self._dataset.episode
        return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]

    def demonstration(self, frames: np.ndarray, task: str = "") -> Demonstration:
        """One episode.

        Args:
            frames: of :meth:`episodes`.
            task: in place of the data set's.

        Raises:
            Unusable: its timestamps do not rise, or it holds numbers that are not finite.
        """
        dataset = self._dataset
        seconds = dataset.seconds[frames] - dataset.seconds[frames[0]]
        if (np.diff(seconds) <= 0.0).any():
            raise Unusable("its timestamps do not rise")
        action, groups = self.action[frames], {group: values[frames] for group, values in self.groups.items()}
        command = None if self.command is None else self.command[frames]
        if not all(np.isfinite(values).all() for values in (action, *groups.values(), action if command is None else command)):
            raise Unusable("its numbers are not all finite")

        def look(frame: int) -> dict[str, np.ndarray]:
            pictures, _ = dataset.look(int(frames[frame]), self.cameras)
            return {camera: pictures[feature] for feature, camera in self.cameras.items()}

        told = task or dataset.look(int(frames[0]), [])[1]
        return Demonstration(seconds, 1.0 / dataset.rate, groups, action, command, self.critical[frames], self._ending(frames), look, told)

    @property
    def says_ending(self) -> bool:
        """Whether the data set says how its episodes ended."""
        return self._ended is not None or self._dataset.success is not None

    def _ending(self, frames: np.ndarray) -> int:
        if self._ended is not None:
            return int(self._ended[frames[-1], 0]) or self._mapping.ended
        if self._dataset.success is not None:
            return int(Ended.SUCCESS if self._dataset.success[frames].any() else Ended.FAILURE)
        return self._mapping.ended

    def _cameras(self, wanted: Sequence[str]) -> dict[str, str]:
        named = camera_names(self._dataset.cameras, self._mapping.cameras, f"the data set '{self._dataset.name}' has")
        found = {feature: camera for feature, camera in named.items() if camera in wanted}
        if missing := [camera for camera in wanted if camera not in found.values()]:
            free = [feature for feature in named if feature not in found]
            hint = f"write --camera {missing[0]}={free[0]}, or the like" if free else "its VLA cannot be asked about this data set"
            raise ParameterError(
                f"the data set '{self._dataset.name}' has no pictures of camera {', '.join(missing)}; it has {', '.join(named)}: {hint}"
            )
        return found

    def _actions(self) -> np.ndarray:
        action, names, robot = self._dataset.action.astype(np.float64), self._dataset.action_names, self._robot
        if not names:
            raise ParameterError(f"the data set '{self._dataset.name}' has no '{ACTION}'; a demonstration is what somebody did")
        bare = [name.removesuffix(".pos") for name in names]
        if self._mapping.action_columns:
            taken = parse_columns(self._mapping.action_columns, len(names), "--action-columns", "an action")
        elif set(robot.action_names) <= set(bare):
            taken = np.array([bare.index(name) for name in robot.action_names])
        elif len(names) in (robot.action_size, len(robot.chunk_names)):
            taken = np.arange(robot.action_size)
            self.notes.append(f"actions are taken in their order: {', '.join(f'{names[i]} as {name}' for i, name in enumerate(robot.action_names))}")
        else:
            taken = np.zeros(0, int)
        if len(taken) != robot.action_size:
            raise ParameterError(
                f"an action of the data set '{self._dataset.name}' has {len(taken) or len(names)} values ({', '.join(names)}), this robot's "
                f"{robot.action_size} ({', '.join(robot.action_names)}); say which with --action-columns, as in 0:{robot.action_size}"
            )
        return action[:, taken]

    def _groups(self, wanted: list[str], state: list[str]) -> dict[str, np.ndarray]:
        """Measurements: each a feature of its own, or a part of observation.state, by its names, or as ``--state-groups`` says."""
        dataset, joints = self._dataset, self._robot.joint_names
        names = list(dataset.state_names)
        given = list(self._mapping.state)
        if given and (expected := size(given, len(joints), 0)) != len(names):
            raise ParameterError(f"--state-groups {' '.join(given)} are {expected} values, observation.state of '{dataset.name}' has {len(names)}")
        by_name = {group: wants for group in GROUPS if GROUPS[group] and (wants := columns.group_names(group, joints)) and set(wants) <= set(names)}
        guessed = state if not given and not set(by_name) & set(state) and size(state, len(joints), 0) == len(names) else []
        if guessed:
            self.notes.append(f"observation.state ({', '.join(names)}) is taken for {', '.join(state)}, the vla_proprioception of the robot's file")
        where = places(given or guessed, len(joints))
        found: dict[str, np.ndarray] = {}
        for group in wanted:
            own = dataset.column(columns.measured_column(group))
            if group in where:
                found[group] = dataset.state[:, where[group]]
            elif own is not None and own.shape[1] == size([group], len(joints), 0):
                found[group] = own
            elif not given and group in by_name:
                found[group] = dataset.state[:, [names.index(name) for name in by_name[group]]]
        if missing := [group for group in wanted if group not in found]:
            raise ParameterError(
                f"the data set '{dataset.name}' has no {', '.join(missing)}, needed for 'vla_proprioception', 'proprioception' or the actions; "
                f"{STATE} holds {', '.join(names) or 'nothing'}: say what that is with --state-groups, or leave the group out of the robot's file"
            )
        return {group: np.asarray(values, np.float64) for group, values in found.items()}

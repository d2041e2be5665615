"""The simulated robot and its task: put a peg, or a keyed plug that must be turned, into a hole that is somewhere else each time.

The arm is held at a Cartesian target by an impedance controller, as a torque-controlled robot does: a spring and a damper between tool
and target, so that contact forces follow from the distance between them. The socket is fragile: above `force_limit` the episode
fails. The peg has slipped sideways in the gripper by a millimetre or two, which the arm's own pose does not show and the cameras do; the
plug has also turned there.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from rl_token_ros.settings.sim_task import SimParameters
from rl_token_ros.sim import camera
from rl_token_ros.sim.peg import PEG
from rl_token_ros.sim.plug import PLUG
from rl_token_ros.sim.scene import CENTRE, SURFACE

CAMERAS = ("base", "wrist")
SCENES = {"peg": PEG, "plug": PLUG}
TIMESTEP = 0.002
# Where the tool may be, in metres from the middle of the socket's surface; outside it the episode fails.
WANDER = 0.07
CEILING = 0.13
FARTHEST_TARGET, FARTHEST_TURN = 0.05, 0.5  # m and rad, from the tool, along each axis
AT_HOLE = 0.005  # m: beside the hole's middle; further off it is not yet the last millimetres
MISSED_DEPTH = 0.004  # a peg this far below the surface, but not in the hole, fell beside the socket
LIFT_SHARE = 0.4  # of the reset time: straight up; the rest: to the new start
DOWN = np.array([0.0, 1.0, 0.0, 0.0])  # w, x, y, z: the tool's z axis points down
POSTURE_STIFFNESS, POSTURE_DAMPING = 5.0, 1.0  # N m/rad, N m s/rad: of an arm with a joint to spare, towards its home


class Simulation:
    """The arm, the socket and an episode, an :class:`Environment`. Lengths in m, forces in N, times in s, all in `base_link`; one thread only.

    Same parameters and same calls give the same numbers.

    Attributes:
        scene: arm and task, those of the parameter `task`.
        action_names: of a command's numbers: x, y, z of the TCP in m and, where the scene turns, its yaw in rad from pointing down.
        critical: whether the peg has come to the hole in this episode.
        outcome: True: it is in; False: it cannot go in any more, for its ``failure``, which is force, missed or wandered; None: neither.
    """

    def __init__(self, parameters: SimParameters | None = None) -> None:
        """Raises: camera.RenderError when `render_backend` does not work on this machine (found at the first image)."""
        self.parameters = p = parameters or SimParameters()
        self.scene = SCENES[p.task]
        self.joint_names, self.action_names = self.scene.joints, self.scene.actions
        self._model = mujoco.MjModel.from_xml_string(self.scene.mjcf(p.clearance, p.friction, p.image_size))
        self._data = mujoco.MjData(self._model)
        self._tcp = self._model.site("tcp").id
        self._sensor = self._model.site("sensor").id
        self._part, self._socket = self._model.body(self.scene.part).id, self._model.body("socket").id
        self._cameras = {name: self._model.camera(name).id for name in CAMERAS}
        self._camera_home = {name: self._model.cam_pos[i].copy() for name, i in self._cameras.items()}
        self._camera_quat = {name: self._model.cam_quat[i].copy() for name, i in self._cameras.items()}
        self._renderer: camera.GlRenderer | camera.RaycastRenderer | None = None
        # The sensor carries everything from `tool` on.
        tool = self._model.body("tool").id
        self._carried = float(self._model.body_subtreemass[tool]) * -self._model.opt.gravity[2]
        # Views and work space, made once: a step costs 40 us, most of it Python.
        self._tip, self._tip_frame = self._data.site_xpos[self._tcp], self._data.site_xmat[self._tcp]
        self._sensor_frame = self._data.site_xmat[self._sensor].reshape(3, 3)
        self._sensed = self._data.sensordata.reshape(2, 3)
        self._jacobian = np.zeros((6, self._model.nv))
        self._home = np.array(self.scene.home)
        self._slack = np.zeros(self._model.nv)  # joint motion that leaves the tool where it is, of an arm with a joint to spare
        self._spare = self._model.nv > 6
        self._farthest = np.array([FARTHEST_TARGET] * 3 + [FARTHEST_TURN] * self.scene.turns)
        self._moving, self._turning = self._jacobian[:3], self._jacobian[3:]
        self._error = np.zeros(6)
        self._shift, self._tilt = self._error[:3], self._error[3:]
        self._quat, self._turn = np.zeros(4), np.zeros(3)
        self._smoothing = 1.0 - np.exp(-2.0 * np.pi * p.force_cutoff * TIMESTEP)
        self._random = np.random.default_rng(p.seed)
        self._reset_path: tuple[float, np.ndarray, np.ndarray, np.ndarray] | None = None  # time begun; from, top, new start
        self._owed = 0.0  # s that steps so far were told to advance, and have not yet: less than TIMESTEP
        self.place()
        self._stiffness = np.array([p.stiffness] * 3 + [p.rotation_stiffness] * 3)
        self._damping = 2.0 * np.sqrt(self._stiffness * self._felt_inertia())
        self.reset(p.seed)

    # Episodes -------------------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> None:
        """Begin a new episode: new hole, new slip, new start.

        With a seed at once, and the random numbers begin anew. Without, the arm returns by itself, straight up and then to the new start, which
        takes `reset_time`; commands are ignored until `resetting` is False.
        """
        if seed is not None:
            self._random = np.random.default_rng(seed)
            self._data.time = self._owed = 0.0
            return self.place()
        here = self.tool_pose
        top = here.copy()
        top[2] = max(here[2], SURFACE + self.parameters.start_height)
        self._reset_path = (self._data.time, here, top, self._draw_start())
        self._scene_is_old = True
        self._open_episode()

    def place(self) -> None:
        """Begin a new episode at once, the arm at rest at its new start."""
        start = self._draw_start()
        self._draw_scene()
        self._data.qpos[:] = self._solve_joints(start)
        self._data.qvel[:] = 0.0
        self._data.qacc_warmstart[:] = 0.0
        self._data.qfrc_applied[:] = 0.0
        mujoco.mj_forward(self._model, self._data)
        self._wrench = np.zeros((2, 3))
        self._target = start
        self._reset_path = None
        self._open_episode()

    def _open_episode(self) -> None:
        self.outcome: bool | None = None
        self.critical = False
        self.failure = ""

    def _draw_start(self) -> np.ndarray:
        p, r = self.parameters, self._random
        x, y = r.uniform(-p.start_range, p.start_range, 2)
        start = [CENTRE[0] + x, CENTRE[1] + y, SURFACE + p.start_height + r.uniform(-0.008, 0.008)]
        return np.array([*start, r.uniform(-p.start_turn, p.start_turn)] if self.scene.turns else start)

    def _draw_scene(self) -> None:
        """New hole, new slip, cameras displaced."""
        p, r = self.parameters, self._random
        self._model.body_pos[self._socket, :2] = np.array(CENTRE) + r.uniform(-p.hole_range, p.hole_range, 2)
        length = r.uniform(p.peg_offset_min, p.peg_offset_max) * r.choice([-1.0, 1.0])
        angle = p.peg_offset_direction + p.peg_offset_spread * r.uniform(-1.0, 1.0)
        self._model.body_pos[self._part, :2] = length * np.cos(angle), length * np.sin(angle)
        if self.scene.turns:
            slip = r.uniform(p.peg_turn_min, p.peg_turn_max) * r.choice([-1.0, 1.0])
            for body, turn in ((self._socket, r.uniform(-p.hole_turn, p.hole_turn)), (self._part, slip)):
                self._model.body_quat[body] = np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)
        for name, i in self._cameras.items():
            shift, turn = r.normal(0.0, 1.0, 3), r.normal(0.0, 1.0, 3)
            distance = (self.scene.wrist_camera if name == "wrist" else self.scene.base_camera)["distance"]
            self._model.cam_pos[i] = self._camera_home[name] + p.camera_jitter * shift
            quat = self._camera_quat[name].copy()
            mujoco.mju_quatIntegrate(quat, turn, p.camera_jitter / distance)
            self._model.cam_quat[i] = quat

    # Physics --------------------------------------------------------------------------------------------------------------

    def step(self, command: np.ndarray | None, dt: float) -> None:
        """Advance `dt` seconds with the tool held at `command` [A], or where it is. What of `dt` is no whole timestep waits for the next step."""
        self._target = np.array(self.tool_pose if command is None else command, dtype=float)
        if self._target.shape != self._farthest.shape or not np.isfinite(self._target).all():
            count, yaw = ("four", ", its yaw in rad") if self.scene.turns else ("three", "")
            raise ValueError(f"command is {command!r}; give {count} finite numbers: x, y, z of the tool in metres{yaw}")
        # Saturated as on a real arm; a target a kilometre away would throw the simulation out of its stable range.
        here = self.tool_pose
        self._target = np.clip(self._target, here - self._farthest, here + self._farthest)
        if self._spare:
            self._find_slack()
        self._owed += dt
        timesteps = round(self._owed / TIMESTEP)
        self._owed -= timesteps * TIMESTEP
        for _ in range(timesteps):
            if self._reset_path is not None:
                self._follow_reset(*self._reset_path)
            mujoco.mj_step1(self._model, self._data)
            self._hold()
            mujoco.mj_step2(self._model, self._data)
            self._feel()
        if self._reset_path is None:
            self._judge()

    def _hold(self) -> None:
        """Torques of the impedance controller: J' (K e - D v), plus what gravity and motion need."""
        data = self._data
        mujoco.mj_jacSite(self._model, data, self._moving, self._turning, self._tcp)
        self._measure_error(self._target)
        force = self._stiffness * self._error - self._damping * (self._jacobian @ data.qvel)
        data.qfrc_applied[:] = self._jacobian.T @ force + data.qfrc_bias
        if self._spare:
            posture = POSTURE_STIFFNESS * (self._home - data.qpos) - POSTURE_DAMPING * data.qvel
            data.qfrc_applied += self._slack * (self._slack @ posture)

    def _find_slack(self) -> None:
        """The unit vector of joint velocities at which the tool rests."""
        mujoco.mj_jacSite(self._model, self._data, self._moving, self._turning, self._tcp)
        self._slack = np.linalg.svd(self._jacobian)[2][-1]

    def _measure_error(self, target: np.ndarray) -> None:
        """Into `_error`: shift (m) and rotation vector (rad), in `base_link`, from the tool to `target`, pointing down."""
        np.subtract(target[:3], self._tip, out=self._shift)
        mujoco.mju_mat2Quat(self._quat, self._tip_frame)
        wanted = DOWN
        if self.scene.turns:
            wanted = np.array([0.0, math.cos(target[3] / 2.0), math.sin(target[3] / 2.0), 0.0])
        mujoco.mju_subQuat(self._turn, wanted, self._quat)
        mujoco.mju_rotVecQuat(self._tilt, self._turn, self._quat)

    def _felt_inertia(self) -> np.ndarray:
        """Mass (3) and moment of inertia (3) that the tool feels along each axis at the start."""
        mujoco.mj_jacSite(self._model, self._data, self._moving, self._turning, self._tcp)
        inertia = np.zeros((self._model.nv, self._model.nv))
        mujoco.mj_fullM(self._model, inertia, self._data.qM)
        return np.diag(np.linalg.inv(self._jacobian @ np.linalg.solve(inertia, self._jacobian.T)))

    def _solve_joints(self, target: np.ndarray) -> np.ndarray:
        """Joint angles that put the tool at `target`, pointing down (Gauss-Newton from one pose, so always the same branch)."""
        data = self._data
        data.qpos[:] = self._home
        for _ in range(20):
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_comPos(self._model, data)
            self._measure_error(target)
            if np.abs(self._error).max() < 1e-9:
                break
            mujoco.mj_jacSite(self._model, data, self._moving, self._turning, self._tcp)
            j = self._jacobian
            data.qpos += j.T @ np.linalg.solve(j @ j.T, self._error) if self._spare else np.linalg.solve(j, self._error)
        return data.qpos.copy()

    def _feel(self) -> None:
        """Low-passed force and torque that the surroundings exert on the tool, weight removed."""
        # Force and torque in the sensor's frame, as rows; the sensor gives what the tool exerts on the arm.
        raw = self._sensed @ self._sensor_frame.T
        raw[0, 2] -= self._carried
        self._wrench -= self._smoothing * (raw + self._wrench)
        x, y, z = self._wrench[0].tolist()
        if self.outcome is None and self._reset_path is None and x * x + y * y + z * z > self.parameters.force_limit**2:
            self.outcome, self.failure = False, "force"

    def _judge(self) -> None:
        """Critical phase and outcome, from the true state of the scene."""
        tip = self.peg_position - self.hole_position
        side = max(abs(tip[0]), abs(tip[1]))
        if tip[2] < self.parameters.critical_height and side < AT_HOLE:
            self.critical = True
        if self.outcome is not None:
            return
        if tip[2] < -self.parameters.success_depth and side < 0.003:
            self.outcome = True
        elif tip[2] < -MISSED_DEPTH and side > 0.003:
            self.outcome, self.failure = False, "missed"
        elif np.abs(self.ee_position[:2] - CENTRE).max() > WANDER or self.ee_position[2] > SURFACE + CEILING:
            self.outcome, self.failure = False, "wandered"

    def _follow_reset(self, begun: float, here: np.ndarray, top: np.ndarray, start: np.ndarray) -> None:
        share = (self._data.time - begun) / self.parameters.reset_time
        if share >= LIFT_SHARE and self._scene_is_old:
            self._draw_scene()
            self._scene_is_old = False
        if share >= 1.0:
            self._reset_path = None
            self._target = start
        elif share < LIFT_SHARE:
            self._target = here + _smooth(share / LIFT_SHARE) * (top - here)
        else:
            self._target = top + _smooth((share - LIFT_SHARE) / (1.0 - LIFT_SHARE)) * (start - top)

    # What is measured -----------------------------------------------------------------------------------------------------

    @property
    def resetting(self) -> bool:
        """Whether the arm is on its way to a new start and ignores targets."""
        return self._reset_path is not None

    def measured(self) -> dict[str, np.ndarray]:
        """By group, as :class:`Environment` has it: all there is to measure of an arm."""
        wrench = self.wrench
        return {
            "joint_position": self._data.qpos.copy(),
            "joint_velocity": self._data.qvel.copy(),
            "joint_effort": self._data.qfrc_applied.copy(),
            "ee_position": self.ee_position,
            "ee_orientation": self.ee_orientation,
            "wrench_force": wrench[:3],
            "wrench_torque": wrench[3:],
        }

    @property
    def ee_position(self) -> np.ndarray:
        """[3] m: the tool centre point, where the peg's tip would be had it not slipped."""
        return self._tip.copy()

    @property
    def tool_pose(self) -> np.ndarray:
        """[A] where the tool is in the dimensions of the action: x, y, z (m) and, where the scene turns, yaw (rad) from pointing down."""
        return np.append(self._tip, math.atan2(self._tip_frame[3], self._tip_frame[0])) if self.scene.turns else self._tip.copy()

    @property
    def ee_orientation(self) -> np.ndarray:
        """[4] quaternion x, y, z, w of the tool; its z axis points out of the tool."""
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, self._tip_frame)
        return quat[[1, 2, 3, 0]]

    @property
    def wrench(self) -> np.ndarray:
        """[6] N and N m: force and torque of the surroundings on the tool at the wrist sensor, low-passed, weight removed."""
        return self._wrench.ravel().copy()

    def images(self) -> dict[str, np.ndarray]:
        """uint8 [image_size, image_size, 3] rgb of each camera. Call it from one thread always."""
        renderer = self._renderer
        if renderer is None:
            self.render_backend = camera.choose(self.parameters.render_backend)
            self._renderer = renderer = camera.make_renderer(self.render_backend, self._model, self.parameters.image_size)
        # Positions as of now: mj_step leaves those of the step's beginning.
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        return {name: renderer.render(self._data, name) for name in CAMERAS}

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # The truth, for the demonstrator and for probes -----------------------------------------------------------------------

    @property
    def peg_position(self) -> np.ndarray:
        """[3] m: middle of the lower face of peg or plug."""
        return self._data.xpos[self._part].copy()

    @property
    def hole_position(self) -> np.ndarray:
        """[3] m: middle of the hole at the socket's surface."""
        return self._data.xpos[self._socket].copy()

    @property
    def lateral_offset(self) -> np.ndarray:
        """[2] m: x, y of the peg minus those of the hole. No policy may see it."""
        return (self.peg_position - self.hole_position)[:2]

    @property
    def offset(self) -> np.ndarray:
        """[2] m, or [3] where the scene turns: the lateral offset, and how far the plug is turned from the hole, rad."""
        if not self.scene.turns:
            return self.lateral_offset
        part, socket = (self._data.xmat[body] for body in (self._part, self._socket))
        turn = math.atan2(part[3], part[0]) - math.atan2(socket[3], socket[0])
        return np.append(self.lateral_offset, math.remainder(turn, 2.0 * math.pi))


def _smooth(share: float) -> float:
    """Minimum-jerk progress from 0 to 1."""
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)

"""Forward kinematics from a robot description: against MuJoCo's of the same robot, and what cannot be followed is named."""

from __future__ import annotations

import numpy as np
import pytest

from rl_token_ros.robot.kinematics import Chain, DescriptionError

INERTIAL = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'


def link(name: str) -> str:
    return f'<link name="{name}">{INERTIAL}</link>'


def joint(name: str, parent: str, child: str, kind: str = "revolute", *, xyz="0 0 0.1", rpy="0 0 0", axis="0 0 1", more: str = "") -> str:
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/><origin xyz="{xyz}" rpy="{rpy}"/>'
        f'<axis xyz="{axis}"/><limit lower="-9" upper="9" effort="9" velocity="9"/>{more}</joint>'
    )


def robot(*elements: str) -> str:
    # MuJoCo melts fixed links away unless told otherwise; the element is for it alone, and other readers pass over it.
    return f'<robot name="r"><mujoco><compiler fusestatic="false"/></mujoco>{"".join(elements)}</robot>'


def arm(random: np.random.Generator, joints: int) -> tuple[str, list[str]]:
    """A tree at random, and its frames: each hangs on any before it, by a joint of any kind with any origin and axis."""
    frames, elements = ["base"], [link("base")]
    for i in range(joints):
        kind = str(random.choice(["revolute", "continuous", "prismatic", "fixed"]))
        xyz, rpy, axis = (" ".join(map(str, values)) for values in (random.normal(size=3), random.uniform(-4, 4, 3), random.normal(size=3)))
        elements += [link(f"l{i}"), joint(f"j{i}", str(random.choice(frames)), f"l{i}", kind, xyz=xyz, rpy=rpy, axis=axis)]
        frames.append(f"l{i}")
    return robot(*elements), frames


def by_mujoco(description: str, positions: dict[str, float], base: str, tip: str) -> np.ndarray:
    """4 x 4 transform of the tip in the base."""
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(description)
    data = mujoco.MjData(model)
    for name, position in positions.items():
        data.joint(name).qpos[0] = position
    mujoco.mj_kinematics(model, data)
    frames = []
    for frame in (base, tip):
        made = np.eye(4)
        if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, frame) >= 0:  # the root is the world
            made[:3, :3], made[:3, 3] = data.body(frame).xmat.reshape(3, 3), data.body(frame).xpos
        frames.append(made)
    return np.linalg.inv(frames[0]) @ frames[1]


def matrix(position, orientation) -> np.ndarray:
    x, y, z, w = orientation
    made = np.eye(4)
    made[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    made[:3, 3] = position
    return made


def test_any_frame_seen_from_any_other_is_where_mujoco_says(random):
    compared = 0
    for _ in range(40):
        description, frames = arm(random, 9)
        base, tip = (str(frame) for frame in random.choice(frames, 2, replace=False))
        try:
            chain = Chain(description, base, tip)
        except DescriptionError as error:
            assert "no joint moves" in str(error)
            continue
        positions = random.uniform(-3, 3, len(chain.joint_names))
        position, orientation = chain.pose(positions.tolist())
        expected = by_mujoco(description, dict(zip(chain.joint_names, positions)), base, tip)
        np.testing.assert_allclose(matrix(position, orientation), expected, atol=1e-9)
        assert np.linalg.norm(orientation) == pytest.approx(1.0)
        compared += 1
    assert compared > 20


def test_a_finger_that_mimics_another_is_where_that_says():
    """The one that is not measured takes factor and offset of the one that is, over two steps."""
    description = robot(
        *map(link, ("base", "a", "b", "c")),
        joint("j", "base", "a"),
        joint("half", "base", "b", "prismatic", axis="1 0 0", more='<mimic joint="j" multiplier="-0.5" offset="0.02"/>'),
        joint("twice", "b", "c", "prismatic", axis="0 1 0", more='<mimic joint="half" multiplier="2"/>'),
    )
    chain = Chain(description, "base", "c")
    assert chain.joint_names == ["j"]
    position, _ = chain.pose([0.4])
    np.testing.assert_allclose(position, [-0.18, -0.36, 0.2])
    np.testing.assert_allclose(matrix(*chain.pose([0.4])), by_mujoco(description, {"j": 0.4, "half": -0.18, "twice": -0.36}, "base", "c"), atol=1e-12)


GOOD = (*map(link, ("base", "a", "tool")), joint("j", "base", "a"))


@pytest.mark.parametrize(
    "description, says",
    [
        ("", "is no XML"),
        ("<html/>", "is a <html>, no URDF"),
        (robot(*GOOD), "'base' and 'tool' do not hang together"),
        (robot(*GOOD, joint("k", "base", "tool", "fixed")), "no joint moves 'tool' against 'base'"),
        (robot(*GOOD[:1], GOOD[1], GOOD[3]), "has no frame 'tool'; it has base, a"),
        (robot(*GOOD, joint("k", "a", "tool", "floating")), "'k' between 'base' and 'tool' is floating: only fixed, revolute, continuous, prismatic"),
        (robot(*GOOD, joint("k", "a", "tool", "planar")), "joint 'k' between 'base' and 'tool' is planar"),
        (robot(*GOOD, joint("k", "a", "hand")), "joint 'k' of the robot description names the frame 'hand', which is no link of it"),
        (robot(*GOOD, joint("k", "a", "tool"), joint("l", "base", "tool")), "'tool' of the robot description hangs on two joints, 'k' and 'l'"),
        (robot(*GOOD, joint("k", "tool", "base"), joint("l", "a", "tool")), "go round in a circle"),
        (robot(*GOOD, joint("k", "a", "tool", axis="0 0 0")), "joint 'k' of the robot description has an axis without a direction"),
        (robot(*GOOD, joint("k", "a", "tool", xyz="0 ${length} 0")), r"joint 'k' .* has xyz=\"0 \$\{length\} 0\", not 3 number\(s\); it is xacro"),
        (robot(*GOOD, joint("k", "a", "tool", xyz="0 nan 0")), r"joint 'k' .* has xyz=\"0 nan 0\", not 3 number"),
        (robot(*GOOD, joint("k", "a", "tool", more='<mimic joint="x"/>')), "joint 'k' of the robot description mimics 'x', which it does not have"),
        (robot(*GOOD, joint("k", "a", "tool", more='<mimic joint="k"/>')), "joint 'k' of the robot description mimics 'k', itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_named(description, says):
    with pytest.raises(DescriptionError, match=says):
        Chain(description, "base", "tool")


def test_a_joint_beside_the_chain_may_be_of_any_kind():
    """What carries both frames, or hangs elsewhere, is not looked at."""
    description = robot(*map(link, ("world", "base", "tool", "other")), joint("free", "world", "base", "floating"), joint("j", "base", "tool"),
                        joint("odd", "base", "other", "planar"))  # fmt: skip
    assert Chain(description, "base", "tool").joint_names == ["j"]

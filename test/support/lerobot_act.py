"""A small ACT checkpoint with random weights, as LeRobot saves one: of an arm with the joints and the cameras of an SO-101."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = ("front", "wrist")
HEIGHT, WIDTH, HORIZON, RATE = 96, 128, 50, 30
MEAN, DEVIATION = [0.0, -0.4, 0.5, 0.3, 0.0, 0.4], [0.1, 0.05, 0.05, 0.1, 0.2, 0.3]  # rad


def save(folder: Path, *, statistics: bool = True, width: int = 64) -> None:
    """Into ``folder``: the policy, its processors with made-up statistics of a data set, and of that its ``meta/info.json`` in ``data/``."""
    torch.manual_seed(0)
    pictures = {f"observation.images.{camera}": PolicyFeature(FeatureType.VISUAL, (3, HEIGHT, WIDTH)) for camera in CAMERAS}
    joints = (len(JOINTS),)
    config = ACTConfig(
        input_features=pictures | {"observation.state": PolicyFeature(FeatureType.STATE, joints)},
        output_features={"action": PolicyFeature(FeatureType.ACTION, joints)},
        device="cpu", chunk_size=HORIZON, n_action_steps=HORIZON, pretrained_backbone_weights=None, dim_model=width, n_heads=4,
        dim_feedforward=4 * width, n_encoder_layers=2, latent_dim=8, push_to_hub=False,
    )  # fmt: skip
    colours = {"mean": torch.full((3, 1, 1), 0.45), "std": torch.full((3, 1, 1), 0.23)}
    numbers = {"mean": torch.tensor(MEAN), "std": torch.tensor(DEVIATION)}
    known = dict.fromkeys(pictures, colours) | {"observation.state": numbers, "action": numbers}
    ACTPolicy(config).save_pretrained(folder)
    for processor in make_pre_post_processors(config, dataset_stats=known if statistics else None):
        processor.save_pretrained(folder)
    meta = folder / "data" / "meta"
    meta.mkdir(parents=True)
    (meta / "info.json").write_text(json.dumps({"fps": RATE, "features": {"action": {"names": [f"{joint}.pos" for joint in JOINTS]}}}))
    (folder / "train_config.json").write_text(json.dumps({"dataset": {"repo_id": "me/cube", "root": str(folder / "data")}}))


if __name__ == "__main__":
    import sys

    save(Path(sys.argv[1]))

"""Options that name measured groups of proprioception."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rl_token_ros.settings.proprioception_groups import GROUPS


def check(parser: argparse.ArgumentParser, option: str, groups: Sequence[str]) -> None:
    """Refuse a group that does not exist, or that nobody measures."""
    for group in groups:
        if not GROUPS.get(group):
            parser.error(f"{option} {group}: write some of {', '.join(name for name, topic in GROUPS.items() if topic)}")

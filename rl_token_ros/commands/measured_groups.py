"""Options that name measured groups of proprioception."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rl_token_ros.settings.proprioception_groups import known, source, vocabulary


def check(parser: argparse.ArgumentParser, option: str, groups: Sequence[str]) -> None:
    """Refuse a group that does not exist, or that nobody measures."""
    for group in groups:
        if not (known(group) and source(group)):
            parser.error(f"{option} {group}: write some of {vocabulary(measured=True)}")

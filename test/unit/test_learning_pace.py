"""Whether the learner keeps up with practice is measured, and said with what to change."""

from __future__ import annotations

import pytest
from learning_helpers import PROPRIO, SHA, episodes, small_settings

from rl_token_ros.evaluation.findings import findings
from rl_token_ros.evaluation.pace import outrun
from rl_token_ros.evaluation.run_data import Run
from rl_token_ros.learning.learner import Learner

SLOW = {"phase": "training", "updates_per_s_needed": 250.0, "updates_per_busy_s": 50.0, "updates_per_step": 5.0, "updates_forgone": 0}


@pytest.mark.parametrize("robots", [[], ["left", "right"]])
def test_updates_needed_are_rate_times_share_of_critical_phases_times_utd(robots):
    settings = small_settings(robots=robots, updates_per_step=5.0)
    learner = Learner(settings, PROPRIO, **SHA)
    assert learner.stats()["updates_per_s_needed"] == 0.0
    rows = episodes(settings, 10)  # one every ten seconds
    for robot in robots or [""]:
        learner.add(rows, robot)
    seconds = 90.0 + 0.02 * (sum(rows["episode"] == 9) - 1)
    expected = len(robots or [""]) * 5.0 * len(rows) / seconds
    assert learner.stats()["updates_per_s_needed"] == pytest.approx(expected)


def test_practice_that_outruns_the_learner_is_said_with_what_to_change(tmp_path):
    told = outrun(SLOW)
    assert "needs 250 updates a second, 50 are made; write device: cuda, updates_per_step: 1, or a smaller token_size" in told
    assert "700 are forgone for good" in outrun({**SLOW, "updates_forgone": "700"})
    run = Run(tmp_path)
    run.nodes["learner_node"].add(1.0, {name: str(value) for name, value in SLOW.items()})
    assert any(line.startswith("Practice outruns the learner: it needs 250") for line in findings(run))


@pytest.mark.parametrize("other", [{"updates_per_busy_s": 250.0}, {"phase": "warmup"}, {"updates_per_busy_s": 0.0}])
def test_nothing_is_said_of_a_learner_that_keeps_up_or_has_not_begun(other):
    assert outrun({**SLOW, **other}) == "" == outrun({})

"""Normalisation from the files that LeRobot and openpi write."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.vla.normalisation import Statistics

LEROBOT = {
    "observation.state": {"mean": [1.0, 2.0], "std": [2.0, 4.0], "min": [0.0, -2.0], "max": [2.0, 6.0], "count": [100]},
    "action": {"mean": [0.5, 0.0, 9.0], "std": [0.1, 0.2, 9.0], "min": [-1.0, 0.0, 0.0], "max": [1.0, 4.0, 0.0], "count": [100]},
}
OPENPI = {
    "norm_stats": {
        "state": {"mean": [0.0] * 4, "std": [1.0] * 4, "q01": [-1.0, 0.0, 0.0, 0.0], "q99": [1.0, 10.0, 0.0, 0.0]},
        "actions": {"mean": [0.0] * 4, "std": [1.0] * 4, "q01": [0.0] * 4, "q99": [2.0] * 4},
    }
}


def load(tmp_path, document, mode, proprio=2, actions=2) -> Statistics:
    path = tmp_path / "stats.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return Statistics(path, mode, proprio, actions)


def test_lerobot_mean_and_deviation(tmp_path):
    found = load(tmp_path, LEROBOT, "mean_std")
    np.testing.assert_allclose(found.normalise(np.array([3.0, -2.0])), [1.0, -1.0], rtol=1e-5)
    np.testing.assert_allclose(found.restore(np.array([[2.0, -5.0], [0.0, 1.0]])), [[0.7, -1.0], [0.5, 0.2]], rtol=1e-4)  # nothing is clipped


def test_lerobot_smallest_and_largest(tmp_path):
    found = load(tmp_path, LEROBOT, "min_max")
    np.testing.assert_allclose(found.normalise(np.array([0.0, 6.0])), [-1.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(found.restore(np.array([[-1.0, 0.0], [1.0, 1.0]])), [[-1.0, 2.0], [1.0, 4.0]], rtol=1e-4)


def test_openpi_quantiles_padded_to_the_models_width(tmp_path):
    found = load(tmp_path, OPENPI, "quantiles")
    np.testing.assert_allclose(found.normalise(np.array([0.0, 10.0])), [0.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(found.restore(np.array([[-1.0, 2.0]])), [[0.0, 3.0]], atol=1e-5)


def test_a_dimension_that_never_changed_is_finite(tmp_path):
    still = {name: {"mean": [1.0, 1.0], "std": [0.0, 0.0]} for name in ("observation.state", "action")}
    assert np.isfinite(load(tmp_path, still, "mean_std").normalise(np.array([1.0, 1.0]))).all()


@pytest.mark.parametrize(
    "document, mode, says",
    [
        ("{", "mean_std", "is no JSON"),
        ([1], "mean_std", "has no observation.state or state"),
        ({"action": {}}, "mean_std", "has no observation.state or state"),
        (LEROBOT, "quantiles", "'statistics_mode' is quantiles, but .* has only mean, std, min, max, count"),
        ({**LEROBOT, "action": {"mean": [1.0], "std": [1.0]}}, "mean_std", "has 1 values of actions, the robot 2"),
        ({**LEROBOT, "action": {"mean": [1.0, "a"], "std": [1.0, 1.0]}}, "mean_std", "are no numbers"),
        ({**LEROBOT, "action": {"mean": [1.0, 1.0], "std": [1.0, -1.0]}}, "mean_std", "not finite, or their std is too small"),
        ({**LEROBOT, "action": {"mean": [1.0, float("nan")], "std": [1.0, 1.0]}}, "mean_std", "not finite"),
    ],
)
def test_a_file_that_does_not_fit_says_why(tmp_path, document, mode, says):
    with pytest.raises(ParameterError, match=says):
        load(tmp_path, document, mode)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ParameterError, match="cannot be read"):
        Statistics(tmp_path / "none.json", "mean_std", 1, 1)

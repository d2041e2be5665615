"""Names that parameters of the learner had before are refused with the ones that they have now, wherever they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl_token_ros.settings import node_settings
from rl_token_ros.settings.files import config_file
from rl_token_ros.settings.parameters import RENAMED, ParameterError, refuse_unknown

NOW = {
    "residual_knots": "temporal_basis_size",
    "return_share": "monte_carlo_mix",
    "beta_start": "bc_weight_start",
    "beta_end": "bc_weight_end",
    "beta_anneal_seconds": "bc_weight_anneal_seconds",
}


@pytest.mark.parametrize("name", NOW)
def test_a_file_with_an_old_name_is_refused_with_the_new_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(f"/**/learner_node:\n  ros__parameters:\n    {name}: 1\n")
    with pytest.raises(ParameterError, match=rf"robot.yaml: parameter '{name}' is now '{NOW[name]}'$"):
        node_settings.load("learner_node", path)


def test_an_override_with_an_old_name_is_refused_with_the_new_one() -> None:
    with pytest.raises(ParameterError, match="parameter 'beta_end' is now 'bc_weight_end'$"):
        node_settings.load("learner_node", config_file("sim"), beta_end=0.1)


def test_the_renamed_are_unknown_and_lead_to_parameters_that_exist() -> None:
    known = node_settings.known_names()
    assert NOW.items() <= RENAMED.items()
    assert not known & set(RENAMED) and set(RENAMED.values()) <= known
    refuse_unknown(list(RENAMED.values()), known, "here")

"""What a learner's weights are made for: names, units and fingerprints. No torch here."""

from __future__ import annotations

from rl_token_ros.policy.actor_weights import Identity
from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.learner import Learner
from rl_token_ros.settings.parameters import ParameterError


def find_identity(settings: Learner) -> Identity:
    """The identity with fingerprints from the token encoder's file where it is at hand, else from the parameters.

    Raises:
        ParameterError: neither, or they contradict each other.
    """
    if not settings.token_size:
        return Identity.of(settings, "", settings.vla_sha256)
    if settings.encoder_elsewhere:
        return Identity.of(settings, settings.encoder_sha256, settings.vla_sha256)
    path = resolve_path(settings.token_encoder)
    if not settings.token_encoder or not path.is_file():
        raise ParameterError(
            f"parameter 'token_encoder' names '{settings.token_encoder}', which is not on this machine; copy the file here, "
            "or write the sha256sum of encoder and VLA in 'encoder_sha256' and 'vla_sha256'"
        )
    from rl_token_ros.rl_token.encoder import (
        TokenEncoder,  # onnxruntime: a learner that has the fingerprints needs none
    )

    vla_model = resolve_path(settings.vla_model) if settings.vla_model else None
    encoder = TokenEncoder(path, settings.token_size, vla_model if vla_model and vla_model.is_file() else None)
    for name, found in (("encoder_sha256", encoder.sha256), ("vla_sha256", encoder.vla_sha256)):
        given = getattr(settings, name)
        if given and given != found:
            raise ParameterError(
                f"parameter '{name}' is {given[:12]}..., but '{path}' has {found[:12] or 'none'}...; leave '{name}' empty "
                "or name the right token_encoder"
            )
    return Identity.of(settings, encoder.sha256, encoder.vla_sha256)

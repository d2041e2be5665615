"""Actor weights on the wire and on disk: one safetensors blob with metadata that says what they were made for.

No pickle anywhere. A receiver lets weights in only after :func:`decode` (format, shapes, finite) and :func:`refuse_mismatch`
(names, order, fingerprints): a token, VLA, normalisation and actor from different models degrade silently (docs/method.md, pitfall 10).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from rl_token_ros.settings.robot import Robot

FORMAT_VERSION = 2
DIGEST = "sha256"  # of everything else in the blob
MAX_HEADER_BYTES = 1 << 20
MAX_RUN = 64  # letters of a run's name


class WeightsError(ValueError):
    """Weights that are not let in; the message gives the reason."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of the residual actor: an MLP from [token, proprioception, reference window] to a chunk of residuals in [-1, 1]."""

    token: int
    proprio: int
    chunk_length: int
    action: int
    hidden: int
    layers: int

    @property
    def inputs(self) -> int:
        """Width of the concatenated input."""
        return self.token + self.proprio + self.outputs

    @property
    def outputs(self) -> int:
        """C * A: width of the output."""
        return self.chunk_length * self.action

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors, in the order of the graph's inputs.

        ``input_mean`` and ``input_scale`` normalise: (input - mean) * scale. ``w``, ``b``: layer i computes x @ w_i + b_i.
        """
        widths = [self.inputs, *[self.hidden] * self.layers, self.outputs]
        shapes: dict[str, tuple[int, ...]] = {"input_mean": (self.inputs,), "input_scale": (self.inputs,)}
        for i, (rows, columns) in enumerate(itertools.pairwise(widths)):
            shapes[f"w{i}"] = (rows, columns)
            shapes[f"b{i}"] = (columns,)
        return shapes


@dataclass(frozen=True)
class Identity:
    """What weights were trained for; both sides must agree on all of it."""

    action_names: list[str]
    action_type: str
    proprioception: list[str]
    residual_scale: list[float]
    encoder_sha256: str
    vla_sha256: str

    @staticmethod
    def of(robot: Robot, encoder_sha256: str, vla_sha256: str) -> Identity:
        """For a robot's parameters, with the fingerprints of its token encoder and of the VLA that one was made for."""
        return Identity(
            robot.action_names,
            robot.action_type,
            robot.proprioception,
            robot.step_residual_scale,
            encoder_sha256,
            vla_sha256,
        )


@dataclass(frozen=True)
class ActorWeights:
    """One version of the residual actor."""

    version: int
    updates: int
    architecture: Architecture
    identity: Identity
    tensors: dict[str, np.ndarray] = field(repr=False)
    created_ns: int = 0  # system clock at the export, to measure push to use
    run: str = ""  # of the learner, within which versions count up

    @functools.cached_property
    def changes_nothing(self) -> bool:
        """Whether the residual is 0 whatever is seen, as before a learner's first update."""
        last = self.architecture.layers
        return not self.tensors[f"w{last}"].any() and not self.tensors[f"b{last}"].any()


def encode(weights: ActorWeights) -> bytes:
    """One safetensors blob, float32, with metadata."""
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "weights_version": str(weights.version),
        "updates": str(weights.updates),
        "created_ns": str(weights.created_ns),
        "run": weights.run,
        "architecture": json.dumps(asdict(weights.architecture)),
        "identity": json.dumps(asdict(weights.identity)),
    }
    tensors = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in weights.tensors.items()}
    metadata[DIGEST] = _digest(metadata, tensors)
    return safetensors.numpy.save(tensors, metadata)


def decode(blob: bytes) -> ActorWeights:
    """The weights in a blob.

    Raises:
        WeightsError: not safetensors, another format version, metadata missing, tensors of another shape or not finite, or damaged on the way.
    """
    try:
        tensors = safetensors.numpy.load(blob)
        metadata = _metadata(blob)
        if int(metadata["format_version"]) != FORMAT_VERSION:
            raise WeightsError(f"weights have format version {metadata['format_version']}, this node reads {FORMAT_VERSION}")
        architecture = Architecture(**{k: int(v) for k, v in json.loads(metadata["architecture"]).items()})
        identity = Identity(**json.loads(metadata["identity"]))
        version, updates, created_ns = (int(metadata[key]) for key in ("weights_version", "updates", "created_ns"))
    except WeightsError:
        raise
    except KeyError as error:
        raise WeightsError(f"weights have no {error} in their metadata") from None
    except (SafetensorError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WeightsError(f"weights are not readable: {error}") from None
    _refuse_nonsense(version, updates, created_ns, identity)
    smallest = min(size for name, size in asdict(architecture).items() if name != "token")  # there may be no token
    shapes = architecture.shapes() if 0 < architecture.layers <= 8 and smallest > 0 <= architecture.token else {}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise WeightsError("tensors of the weights do not have the names and shapes their metadata says")
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise WeightsError(f"tensor '{name}' of the weights is {tensor.dtype}; expected float32")
        if not np.isfinite(tensor).all():
            raise WeightsError(f"tensor '{name}' of the weights is not finite")
    if (tensors["input_scale"] < 0.0).any():
        raise WeightsError("tensor 'input_scale' of the weights has negative numbers; it divides by standard deviations")
    if metadata.get(DIGEST) != _digest(metadata, tensors):  # last: the reasons above say more
        raise WeightsError(f"weights version {version} are damaged: they are not what their SHA-256 says")
    return ActorWeights(version, updates, architecture, identity, tensors, created_ns, metadata.get("run", "")[:MAX_RUN])


def _digest(metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 of metadata, but for the digest, and tensors, in hex.

    One changed digit in the version or the run would keep the learner's next weights out, as older or as another run's.
    """
    digest = hashlib.sha256(json.dumps({name: value for name, value in metadata.items() if name != DIGEST}, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def _refuse_nonsense(version: int, updates: int, created_ns: int, identity: Identity) -> None:
    """Numbers that `replay` and `/diagnostics` cannot hold, and names that are none."""
    for name, number, low, high in (("version", version, 1, 2**32), ("updates", updates, 0, 2**63), ("created_ns", created_ns, 0, 2**63)):
        if not low <= number < high:
            raise WeightsError(f"weights have a {name} outside {low} to {high - 1}")
    for name in ("action_names", "proprioception", "residual_scale"):
        values = getattr(identity, name)
        fits = _is_number if name == "residual_scale" else lambda value: isinstance(value, str)
        if not isinstance(values, list) or not all(map(fits, values)):
            raise WeightsError(f"weights have a {name} that is no list of {'numbers' if name == 'residual_scale' else 'names'}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e30


def refuse_mismatch(weights: ActorWeights, architecture: Architecture, identity: Identity) -> None:
    """Raise unless the weights were made for this robot, VLA and encoder. The hidden width is the learner's own choice."""
    for name, mine in asdict(identity).items():
        theirs = getattr(weights.identity, name)
        close = name == "residual_scale" and len(theirs) == len(mine)
        if not (all(math.isclose(t, m, rel_tol=1e-6) for t, m in zip(theirs, mine)) if close else theirs == mine):
            raise WeightsError(f"weights were made for {name} {theirs}, this node has {mine}")
    for name in ("token", "proprio", "chunk_length", "action", "layers"):
        theirs, mine = getattr(weights.architecture, name), getattr(architecture, name)
        if theirs != mine:
            raise WeightsError(f"weights were made for {name} = {theirs}, this node has {mine}")


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a model file, in hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _metadata(blob: bytes) -> dict[str, str]:
    """The metadata of a safetensors blob: an 8-byte little-endian length, then a JSON header."""
    (length,) = struct.unpack_from("<Q", blob)
    if length > min(MAX_HEADER_BYTES, len(blob) - 8):
        raise WeightsError(f"weights have a header of {length} bytes")
    return json.loads(blob[8 : 8 + length]).get("__metadata__") or {}

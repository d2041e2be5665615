"""vla_server: serves an ONNX VLA, a Python object, or a checkpoint of LeRobot or openpi over openpi's websocket protocol, embeddings included.

For the machine with the GPU; needs no ROS. `vla_node` with `backend: openpi` is its client, and so is openpi's own.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import ssl
import sys
import threading
from pathlib import Path

from rl_token_ros.settings.files import resolve_path
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.system import memory
from rl_token_ros.vla.server import Encoder, Policy, PolicyServer, load


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="rl_token vla_server", description=__doc__.partition("\n")[0])
    parser.add_argument("policy", nargs="?", help="FILE.onnx, or MODULE:NAME of an object with infer(obs) or of a function that makes one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for every network (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="(8000)")
    parser.add_argument("--api-key-variable", default="RL_TOKEN_API_KEY", help="environment variable with the key clients must send; unset: none")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="PEM files, for wss://")
    parser.add_argument("--token-encoder", metavar="FILE", help="send the RL token that this file of train_token makes, not the embeddings")
    parser.add_argument("--half", action="store_true", help="send embeddings as float16: half the bytes")
    framework = parser.add_argument_group("a checkpoint of another framework, in that framework's own environment")
    framework.add_argument("--lerobot", metavar="PATH_OR_ID", help="serve this checkpoint of LeRobot: act, pi0, pi05 or smolvla")
    framework.add_argument(
        "--openpi",
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="serve this checkpoint of openpi, pi0 or pi05, by its config, or MODULE:NAME of yours",
    )
    framework.add_argument(
        "--camera", action="append", default=[], metavar="CAMERA=FEATURE", help="as base=observation.images.top; none=..: no camera"
    )
    framework.add_argument(
        "--input", action="append", default=[], metavar='"NAME: SOURCE"', help="openpi: what a config of your own takes, as in observation_keys"
    )
    framework.add_argument("--fps", type=float, default=0.0, help="steps of a chunk per second, where the data set is not at hand")
    framework.add_argument("--dataset", type=Path, metavar="FOLDER", help="data set with meta/info.json: fps and the names of actions")
    framework.add_argument(
        "--scale", default="1", metavar="F[,F..]", help="the policy's units per robot's, of state and actions; degrees: 57.29578 (1)"
    )
    framework.add_argument("--device", default="", help="of PyTorch: cpu, cuda, cuda:1, .. (the checkpoint's, or what there is)")
    return parser.parse_args(arguments)


def policy_of(options: argparse.Namespace) -> Policy:
    """What the command line names.

    Raises:
        ParameterError: it names nothing, or two things, or what cannot be served.
    """
    if sum(map(bool, (options.policy, options.lerobot, options.openpi))) != 1:
        raise ParameterError("write either FILE.onnx, or MODULE:NAME, or --lerobot PATH_OR_ID, or --openpi CONFIG CHECKPOINT")
    if options.input and not options.openpi:
        raise ParameterError("--input says what a config of openpi takes; write it with --openpi")
    if options.lerobot:
        from rl_token_ros.adapters import lerobot

        return lerobot.load(options.lerobot, options.camera, options.fps, options.dataset, options.scale, options.device)
    if options.openpi:
        from rl_token_ros.adapters import openpi

        config, checkpoint = options.openpi
        return openpi.load(config, checkpoint, options.camera, options.input, options.fps, options.dataset, options.scale, options.device)
    return load(options.policy)


def token_encoder(path: str) -> Encoder:
    """The encoder in a file, on CUDA where onnxruntime can.

    Raises:
        ParameterError: it cannot be used.
    """
    from rl_token_ros.rl_token.encoder import TokenEncoder  # onnxruntime: a Python object without a token is served without
    from rl_token_ros.system.onnx_session import server_session

    return TokenEncoder(resolve_path(path), make_session=server_session, named_by="--token-encoder")


def run(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; an inference under way is finished, unless the signal comes again."""
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*options.tls)
    encoder = token_encoder(options.token_encoder) if options.token_encoder else None
    policy = PolicyServer(policy_of(options), api_key=os.environ.get(options.api_key_variable, ""), half=options.half, encoder=encoder)
    server = policy.listen(options.host, options.port, tls)
    ended = threading.Event()

    def end(number: int, _: object) -> None:
        ended.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    for name, value in policy.metadata.items():
        print(f"{name}: {value}")
    host, port = server.socket.getsockname()[:2]
    what = options.policy or options.lerobot or " ".join(options.openpi)
    print(f"serving {what} on {'wss' if tls else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    ended.wait()
    server.shutdown()
    serving.join()


def main() -> int:
    """Entry point; returns 2 for bad input."""
    options = parse()
    memory.keep()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)  # its debug log would hold the API key
    try:
        run(options)
    except (ParameterError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

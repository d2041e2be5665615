"""check: looks at the live graph and says, topic by topic, what a robot's parameter file finds there, before anything moves.

It publishes nothing and calls nothing. What it says about a topic is decided in :mod:`rl_token_ros.interfaces.graph_check`.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from rl_token_ros.interfaces.graph_check import FAIL, INFO, OK, WARN, Finding, expectations
from rl_token_ros.launching.compositions import parse_remaps
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.control import Control
from rl_token_ros.settings.files import config_file, resolve_path
from rl_token_ros.settings.parameters import ParameterError
from rl_token_ros.settings.vla import Vla
from rl_token_ros.system.extras import missing


def files(control: Control, vla: Vla) -> list[Finding]:
    """Model files and the policy server."""
    found = []
    if control.token_size:
        path = resolve_path(control.token_encoder)
        try:
            from rl_token_ros.rl_token import encoder

            encoder.load(control)
            where = f"SHA-256 {control.encoder_sha256[:12]}..., its file is not here" if control.encoder_elsewhere else str(path)
            found.append(Finding(OK, "token_encoder", where))
        except ParameterError as error:
            found.append(Finding(FAIL, "token_encoder", str(error)))
    else:
        found.append(Finding(INFO, "token_encoder", "token_size is 0: actor and critic see proprioception and reference alone"))
    if vla.backend == "onnx":
        path = resolve_path(vla.vla_model)
        there = path.is_file()
        found.append(Finding(OK if there else FAIL, "vla_model", str(path) if there else f"'{path}' does not exist"))
    else:
        found.append(health(vla.server))
        if control.token_size and found[-1].level == OK:
            found.append(token(control, vla))
    return found


def token(control: Control, vla: Vla) -> Finding:
    """Who makes the token: the policy server, by what it says of itself, or control_node."""
    from rl_token_ros.policy.actor_weights import fingerprint
    from rl_token_ros.vla.backend import BackendError

    try:
        from rl_token_ros.vla.openpi import connect

        client = connect(vla)
        theirs = str(client.greet().get("encoder_sha256") or "")
        client.close()
    except ModuleNotFoundError as error:
        return Finding(FAIL, "token", missing(error.name))
    except ParameterError as error:
        return Finding(FAIL, "token", str(error))
    except BackendError as error:  # its health is well: it may be busy with a query
        return Finding(WARN, "token", str(error))
    path = resolve_path(control.token_encoder)
    mine = fingerprint(path) if control.token_encoder and path.is_file() else control.encoder_sha256
    return judge_token(theirs, mine, asks=vla.embeddings, elsewhere=control.encoder_elsewhere)


def judge_token(theirs: str, mine: str, asks: str, elsewhere: bool) -> Finding:
    """What is to be said about where the token comes from.

    Args:
        theirs: SHA-256 of the server's token encoder; empty: it has none.
        mine: of the robot's.
        asks: parameter `embeddings` of vla_node.
        elsewhere: the robot has the fingerprints alone.
    """
    if theirs and not asks:
        if theirs != mine:
            return Finding(
                FAIL, "token", f"the server's encoder has SHA-256 {theirs[:12]}..., this robot's {mine[:12] or 'none'}...: one must be replaced"
            )
        return Finding(OK, "token", f"made by the server; its encoder is this robot's, SHA-256 {theirs[:12]}...")
    why = f"'embeddings: {asks}' asks for what it is made of" if theirs else "the server has no --token-encoder, and sends embeddings"
    if elsewhere:
        return Finding(FAIL, "token", f"to be made by control_node, which lacks the encoder's file: {why}")
    return Finding(OK if theirs else INFO, "token", f"made by control_node: {why}")


def health(server: str, timeout: float = 3.0) -> Finding:
    """Whether a policy server answers on /healthz."""
    parts = urlsplit(server)
    url = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}/healthz"
    begun = time.monotonic()
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a robot's own network, as vla_node
        with opener.open(url, timeout=timeout):
            return Finding(OK, "server", f"{server} is there; {1e3 * (time.monotonic() - begun):.0f} ms")
    except urllib.error.HTTPError as error:
        return Finding(WARN, "server", f"{server} answers, but {url} with {error.code}; is it a policy server?")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(FAIL, "server", f"{server} does not answer: {reason}")


def report(findings: list[Finding]) -> str:
    """The findings as lines, and a last one that sums them up."""
    width = max(len(finding.topic) for finding in findings)
    lines = [f"{finding.level:>4}  {finding.topic:{width}}  {finding.text}" for finding in findings]
    failed = sum(finding.level == FAIL for finding in findings)
    warned = sum(finding.level == WARN for finding in findings)
    verdict = f"{failed} must be put right" if failed else "the robot can be started"
    return "\n".join([*lines, "", f"{verdict}{f', {warned} to look at' if warned else ''}"])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, without ROS's own arguments."""
    parser = argparse.ArgumentParser(prog="rl_token check", description=__doc__.partition("\n")[0])
    parser.add_argument("--config", required=True, help="the robot's parameter file: a path, or the name of one in the package's config folder")
    parser.add_argument("--namespace", default="", help="namespace of the robot's nodes")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to listen (3)")
    parser.add_argument("--remap", action="append", default=[], metavar="FROM:=TO", help="as the nodes will be started with; may be repeated")
    return parser.parse_args(arguments)


def load(config: str) -> tuple[Control, Vla, Path]:
    """Both nodes' parameters.

    Raises:
        ParameterError, FileNotFoundError: the file cannot be used.
    """
    path = config_file(config)
    return node_settings.load("control_node", path), node_settings.load("vla_node", path), path


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if the robot can be started, 1 if something must be put right, 2 if the file or the command line is bad."""
    options = parse(arguments)
    try:
        control, vla, path = load(options.config)
        remaps = dict(parse_remaps(options.remap))
    except (ParameterError, FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from rl_token_ros.nodes import camera_transport
    from rl_token_ros.nodes.graph_inspection import look

    camera_transport.use_profile()  # as vla_node hears the cameras
    print(f"{path}: it loads for control_node and vla_node; listening for {options.seconds:g} s", flush=True)
    findings = look(expectations(control, vla), control, vla, options.namespace, remaps, options.seconds)
    findings += files(control, vla)
    print(report(findings))
    return int(any(finding.level == FAIL for finding in findings))


if __name__ == "__main__":
    sys.exit(main())

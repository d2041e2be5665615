"""`rl_token up`: a composition's nodes in the foreground, their output on the terminal, until Ctrl-C or until one of them ends."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

from rl_token_ros.launching.compositions import (
    COMPOSITIONS,
    compose,
    parse_remaps,
    recorded,
)
from rl_token_ros.launching.runner import Runner

PERIOD = 0.1  # s between two looks at the nodes and their logs


class Terminal:
    """Copies what the nodes write to the terminal, line by line, each with the node's name."""

    def __init__(self, logs: dict[str, Path]) -> None:
        self._files = {name: open(path, errors="replace") for name, path in logs.items()}
        self._unfinished = dict.fromkeys(logs, "")

    def update(self) -> None:
        """Print the lines that were completed since the last call."""
        for name, file in self._files.items():
            *lines, self._unfinished[name] = (self._unfinished[name] + file.read()).split("\n")
            for line in lines:
                print(f"[{name}] {line}", flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="rl_token up", description="Run the nodes of a composition until Ctrl-C; without ROS's launch, from the same files."
    )
    parser.add_argument("composition", choices=COMPOSITIONS, help="; ".join(f"{name}: {', '.join(nodes)}" for name, nodes in COMPOSITIONS.items()))
    parser.add_argument("--config", help="parameter file: a path, or a name in the package's config; a simulation's default: sim")
    parser.add_argument("--namespace", default="", help="namespace of all nodes, to tell several robots apart")
    parser.add_argument("--remap", action="append", default=[], metavar="FROM:=TO", help="a topic's name on your robot; may be repeated")
    parser.add_argument("--record", metavar="BAG", help="record the run into this folder, as `record` does")
    parser.add_argument("--use-sim-time", action="store_true", default=None, help="nodes take their time from /clock")
    parser.add_argument("--log-level", default="", help="debug, info, warn, error or fatal")
    parser.add_argument("--log-folder", type=Path, help="where the nodes' output is kept (runs/up/<date and time>)")
    options = parser.parse_args(arguments)
    if options.config is None:
        if options.composition != "sim":
            parser.error(f"'{options.composition}' needs --config, the parameter file of your robot")
        options.config = "sim"
    return options


def main() -> int:
    """Returns 0 after Ctrl-C or SIGTERM when every node ended cleanly, 1 if not or if one ended by itself, 2 for bad input."""
    options = parse()
    try:
        processes = compose(
            options.composition,
            options.config,
            namespace=options.namespace,
            use_sim_time=options.use_sim_time,
            log_level=options.log_level,
            remappings=parse_remaps(options.remap),
        )
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = options.log_folder or Path("runs/up") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if options.record:
        processes = recorded(processes, options.record, folder / "parameters")
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt  # asked twice: no more patience
        asked = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    runner = Runner({process.executable: process.command() for process in processes}, folder)
    try:
        with runner:
            terminal = Terminal({process.executable: runner.log(process.executable) for process in processes})
            while not asked and not runner.ended():
                terminal.update()
                time.sleep(PERIOD)
            unasked = [] if asked else runner.ended()
            print("; ".join(map(str, unasked)) or "stopping", flush=True)
            ended = runner.stop()
            terminal.update()
    except KeyboardInterrupt:
        print("error: interrupted twice; the nodes were killed", file=sys.stderr)
        return 1
    for process in unasked or [process for process in ended if not process.clean]:
        print(process.report(), file=sys.stderr)
    return 0 if not unasked and all(process.clean for process in ended) else 1


if __name__ == "__main__":
    sys.exit(main())

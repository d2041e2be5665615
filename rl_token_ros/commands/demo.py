"""`rl_token demo`: a simulated arm practises with the real nodes, topics and processes; ends with base against practised."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from rl_token_ros.evaluation import demo_report
from rl_token_ros.evaluation.demo_report import Run
from rl_token_ros.launching.compositions import NodeProcess, compose, recorded
from rl_token_ros.launching.runner import Runner
from rl_token_ros.settings import node_settings
from rl_token_ros.settings.parameters import ParameterError

PATIENCE = 30.0  # s for a node to end: the learner writes its checkpoint, on a busy machine
STARTUP_SECONDS = 60.0  # wall time within which the first episode must have begun
OVERTIME_SECONDS = 30.0  # wall time beyond `minutes` after which a simulation too slow for this machine is given up


def main() -> int:
    """Entry point; 0 after a whole run or an interrupted one, 1 when a node failed, 2 for bad input."""
    options = _parse()
    # Alone on this machine, unless the user has chosen a domain: a second demo beside it must not command the same arm.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    try:
        processes = _processes(options)
    except (ParameterError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from rl_token_ros.nodes.monitor import (
        Monitor,  # needs ROS: after the options, so that --help works without
    )

    for folder in ("learner", "bag"):
        shutil.rmtree(options.out / folder, ignore_errors=True)  # each demo begins to learn anew
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"starting {', '.join(p.executable for p in processes)}; ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}; logs in {options.out}/logs")
    run = Run(options.minutes, options.seed)
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    failure = ""
    control = node_settings.load("control_node", options.config_path)
    # The runner first: it forks, which must not happen once ROS has started its threads.
    commands = {p.executable: p.command() for p in processes}
    with Runner(commands, options.out / "logs", patience=PATIENCE) as runner, Monitor(run, control) as monitor:
        line = _StatusLine()
        while not interrupted and not failure:
            monitor.spin(0.5)
            if reason := monitor.go_on():
                run.stops.append(reason)
                line.end()
                print(f"control_node stopped the arm: {reason}; it is enabled again", flush=True)
            line.show(run, monitor.seconds_left())
            failure = _failure(runner, monitor)
            if monitor.seconds_left() <= 0.0:
                break
        line.end()
        print("stopping the nodes", flush=True)
        ended = runner.stop()
        monitor.spin(0.1)  # what was still under way
    run.interrupted = interrupted
    unclean = [process for process in ended if not process.clean]
    failure = failure or "\n".join(process.report() for process in unclean)
    print("\n" + demo_report.table(run) + "\n")
    print(f"wrote {demo_report.write_summary(run, options.out)}")
    if run.episodes:
        print(f"wrote {demo_report.draw(run, options.out)}")
    if failure:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failure else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token demo", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="robot time to practise, warm-up included (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of scene, exploration and learner (default 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for summary, curve and logs (default runs/demo)")
    parser.add_argument("--config", default="sim", help="parameter file: a path, or a name in the package's config (default sim)")
    parser.add_argument("--record", action="store_true", help="record the run into OUT/bag, for `replay_bag` and a full `report OUT`")
    options = parser.parse_args()
    if not options.minutes > 0:
        parser.error(f"--minutes is {options.minutes:g}; write a number above 0")
    return options


def _processes(options: argparse.Namespace) -> list[NodeProcess]:
    processes = compose("sim", options.config)
    options.config_path = processes[0].parameter_files[0]
    overrides = {
        "sim_node": {"seed": options.seed},
        "control_node": {"seed": options.seed},
        "learner_node": {"seed": options.seed, "run_directory": str(options.out / "learner")},
    }
    folder = options.out / "parameters"
    processes = [p.with_parameters(overrides[p.executable], folder) if p.executable in overrides else p for p in processes]
    return recorded(processes, str(options.out / "bag"), folder) if options.record else processes


def _failure(runner: Runner, monitor) -> str:
    """What went wrong with the processes, or nothing."""
    dead = runner.ended()
    if dead:
        return dead[0].report()
    if monitor.waited > STARTUP_SECONDS and monitor.run.begun is None:
        return f"no episode began within {STARTUP_SECONDS:.0f} s; {monitor.complaints() or 'no node reports a reason'}"
    if monitor.waited > STARTUP_SECONDS + OVERTIME_SECONDS + 60.0 * monitor.run.minutes * 2:
        return "the simulation is far slower than real time on this machine"
    return ""


class _StatusLine:
    """One line that is written over on a terminal, and a line per episode elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._episodes = -1

    def show(self, run: Run, seconds_left: float) -> None:
        text = demo_report.status_line(run, seconds_left)
        if self._terminal:
            print("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        elif len(run.episodes) != self._episodes:
            print(text, flush=True)
        self._episodes = len(run.episodes)

    def end(self) -> None:
        if self._terminal:
            print()


if __name__ == "__main__":
    sys.exit(main())

"""Runs commands as child processes: logs to files, notices one that ends, stops them in order, and leaves no orphan.

What ROS's launch does for nodes, for machines without it. POSIX; that children end when this process is killed needs Linux.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
TAIL_LINES = 20
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: nothing may be loaded between fork and exec


@dataclass(frozen=True)
class Ended:
    """A process that is no longer running."""

    name: str
    code: int  # exit status; -N: ended by signal N
    log: Path

    @property
    def clean(self) -> bool:
        """Whether it ended as asked: status 0, or by the very SIGINT that asked it, before it could handle one."""
        return self.code in (0, -signal.SIGINT)

    def __str__(self) -> str:
        how = f"was ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with exit status {self.code}"
        return f"{self.name} {how}"

    def report(self) -> str:
        """How it ended and the last lines it wrote."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"{self}. Last lines of {self.log}:", *(f"    {line}" for line in lines)])


class Runner:
    """Child processes, by name, each in a session of its own so that a terminal's Ctrl-C reaches only this process.

    Use as a context manager: the children run inside the `with` and are stopped at its end, in reverse order. Start it from the
    main thread: Linux ends the children with the *thread* that started them.
    """

    def __init__(
        self,
        commands: dict[str, list[str]],
        log_folder: str | Path,
        environment: dict[str, str] | None = None,
        patience: float = 10.0,
    ) -> None:
        """
        Args:
            commands: name -> command line, in the order in which they are started.
            log_folder: made if missing; stdout and stderr of each go to `<name>.log` there.
            environment: variables on top of this process's own.
            patience: seconds a process has to end after SIGINT, and again after SIGTERM, before the next, harder signal.
        """
        self._commands = commands
        self._folder = Path(log_folder)
        # Unbuffered, so that a log's last lines are there when a process dies.
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._patience = patience
        self._children: dict[str, subprocess.Popen] = {}
        self._stopped: set[str] = set()

    def __enter__(self) -> Runner:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self, name: str) -> Path:
        """The file that a process writes to."""
        return self._folder / f"{name}.log"

    def start(self) -> None:
        """Start all. If one cannot be started, those before it are stopped again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, command in self._commands.items():
                self._children[name] = self._start(name, command)
        except BaseException:
            self.stop()
            raise

    def ended(self) -> list[Ended]:
        """The processes that have ended so far, by themselves or stopped."""
        codes = {name: child.poll() for name, child in self._children.items()}
        return [Ended(name, code, self.log(name)) for name, code in codes.items() if code is not None]

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one process, and to nothing that it started."""
        self._children[name].send_signal(number)

    def restart(self, name: str, command: list[str] | None = None) -> None:
        """Start a process that has ended, or is about to, once more; or, with a command line, another one. Its log begins anew."""
        if name in self._children:
            self._children[name].wait()
        self._children[name] = self._start(name, command or self._commands[name])

    def pid(self, name: str) -> int:
        """Process number of the newest process of this name."""
        return self._children[name].pid

    def stop(self) -> list[Ended]:
        """End all that still run, last started first: SIGINT, then SIGTERM, then SIGKILL; and whatever they left behind.

        A Ctrl-C meanwhile kills the rest at once.
        """
        try:
            for name in reversed(list(self._children)):
                if name not in self._stopped:
                    self._stop(self._children[name])
                    self._stopped.add(name)
        except KeyboardInterrupt:
            for name in self._children.keys() - self._stopped:
                _kill_session(self._children[name])
                self._children[name].wait()
                self._stopped.add(name)
            raise
        return self.ended()

    def _start(self, name: str, command: list[str]) -> subprocess.Popen:
        parent, libc = os.getpid(), _libc

        def end_with_parent() -> None:
            # Asked by SIGTERM, not killed: a node may have children of its own, and an arm to leave at rest.
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it starts in the background ignore it, and children inherit that
            if libc is not None:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

        with open(self.log(name), "wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=end_with_parent if _libc else None,
            )

    def _stop(self, child: subprocess.Popen) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            if child.poll() is not None:
                break
            child.send_signal(number)
            try:
                child.wait(self._patience)
            except subprocess.TimeoutExpired:
                pass
        _kill_session(child)
        child.wait()


def _kill_session(child: subprocess.Popen) -> None:
    """Kill what is left of a child's process group: itself, and workers that outlived it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

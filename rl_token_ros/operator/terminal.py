"""A terminal as keyboard and screen: keys without Enter, and a screen that is drawn over itself."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty

from rl_token_ros.operator.devices import keys

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # a screen of its own, without cursor; and back


class Terminal:
    """A terminal, by default the one that this process was started in; :meth:`close` gives it back as it was."""

    def __init__(self, descriptor: int = 0) -> None:
        self._input = descriptor
        # Opened anew, for a flag of its own: a screen that is halted (Ctrl-S) or far away must not hold up the stop key.
        self._output = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        self._before = termios.tcgetattr(self._input)
        tty.setcbreak(self._input)  # keys one by one; Ctrl-C still interrupts
        self._write(ENTER)

    @staticmethod
    def there() -> bool:
        """Whether keyboard and screen are a terminal's."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    def keys(self) -> list[str]:
        """The keys pressed since the last time. Does not wait.

        Raises:
            EOFError: the terminal is gone.
        """
        if not select.select([self._input], [], [], 0.0)[0]:
            return []
        try:
            data = os.read(self._input, 1024)
        except OSError:  # what is behind it has been closed
            data = b""
        if not data:
            raise EOFError("the terminal is gone")
        return keys(data)

    def draw(self, lines: list[str]) -> None:
        """Show these lines, as far as they fit."""
        try:
            width, height = os.get_terminal_size(self._output)
        except OSError:
            return  # gone: its keys say so
        width, height = width or 80, height or 24  # a serial line knows no size
        shown = [line[: width - 1] + "\x1b[K" for line in lines[: height - 1]]
        self._write("\x1b[H" + "\r\n".join(shown) + "\x1b[J")

    def close(self) -> None:
        """Give it back."""
        self._write(LEAVE)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._input, termios.TCSANOW, self._before)
        os.close(self._output)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # full, or gone: the next picture is a whole one again
            os.write(self._output, text.encode())

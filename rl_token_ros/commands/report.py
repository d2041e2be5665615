"""`rl_token report RUN`: one HTML page and PNGs of a run, from which a person sees whether practice is working.

RUN is a folder: of the demo, of `up --record`, of a learner (`run_directory`), or a bag. What is not there is left out and said.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rl_token_ros.evaluation import page, plots, statistics
from rl_token_ros.evaluation.run_data import NoRun, collect
from rl_token_ros.system.progress import Progress

EXIT_BAD_INPUT = 2
PARTS = 1000  # of the progress bar


def main() -> int:
    """0 when the page was written, 2 for a folder that is no run."""
    options = _parse()
    progress = Progress("report [1/1000]", PARTS)
    try:
        run = collect(options.run, lambda share: progress(min(int(share * PARTS), PARTS)))
    except NoRun as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    folder = options.out or (options.run if options.run.is_dir() else options.run.parent) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = plots.draw(run, folder)
    path = folder / "index.html"
    path.write_text(page.page(run, pictures), encoding="utf-8")
    print(statistics.verdict(run.episodes)[1])
    for text in run.missing:
        print(f"note: {text}")
    print(f"wrote {path} and {len(pictures)} pictures beside it")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rl_token report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, or a bag")
    parser.add_argument("--out", type=Path, help="folder for index.html and the pictures (default RUN/report)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Demonstrations in .npz files, one each, as any simulator's script can write them.

    np.savez(path, image_front=pictures, proprio=state, action=actions)

Arrays, T steps: ``image_<camera>`` uint8 [T, h, w, 3] rgb, ``proprio`` [T, P], ``action`` [T, A]: what is commanded from this picture to the next.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from rl_token_ros.cloning.demonstrations import Demonstrations, NotUsable
from rl_token_ros.cloning.policy import Form
from rl_token_ros.system.progress import Progress

IMAGE = "image_"
HOW = "np.savez(path, image_<camera>=uint8 [T, h, w, 3], proprio=float32 [T, P], action=float32 [T, A])"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def find(path: Path) -> list[Path]:
    """The files of a folder, by name, or the one that is named.

    Raises:
        NotUsable: there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise NotUsable(f"there is no file or folder '{path}'; name a folder of .npz files, a bag, or a data set with --lerobot")
    if found := sorted(path.glob("*.npz")):
        return found
    raise NotUsable(f"'{path}' holds no demonstrations; write an .npz file for each: {HOW}")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What zip files and numpy raise of a file that is none, or not whole, as one sentence."""
    try:
        yield
    except NotUsable:
        raise
    except (OSError, EOFError, KeyError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise NotUsable(f"'{path}' cannot be read ({error}); write it again with np.savez") from None


class Episode:
    """One file; its pictures are read one at a time.

    Attributes:
        cameras: names.
        proprio: float32 [T, P].
        action: float32 [T, A].

    Raises:
        NotUsable: it is no such file, or its arrays do not fit each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reading(path):
            self._zip = zipfile.ZipFile(path)
            names = [name.removesuffix(".npy") for name in self._zip.namelist()]
            self.cameras = [name.removeprefix(IMAGE) for name in names if name.startswith(IMAGE)]
            missing = [name for name in ("proprio", "action") if name not in names] + [f"{IMAGE}<camera>"] * (not self.cameras)
            if missing:
                raise NotUsable(f"'{path}' has no {', '.join(missing)}, but {', '.join(names) or 'nothing'}; write {HOW}")
            self.proprio, self.action = self._numbers("proprio"), self._numbers("action")
            self._check_steps()

    def steps(self, cameras: Sequence[str]) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
        """Pictures by camera, state and action of each step.

        Raises:
            NotUsable: the file is not whole.
        """
        with _reading(self.path):
            for pictures, proprio, action in zip(zip(*map(self._pictures, cameras)), self.proprio, self.action):
                yield dict(zip(cameras, pictures)), proprio, action

    def close(self) -> None:
        """Read no more."""
        self._zip.close()

    def _open(self, name: str) -> tuple[IO[bytes], tuple[int, ...], bool, np.dtype]:
        file = self._zip.open(f"{name}.npy")
        if (version := np.lib.format.read_magic(file)) not in HEADERS:
            raise NotUsable(f"'{self.path}' has '{name}' in a format {version} that is not known; write {HOW}")
        return file, *HEADERS[version](file)

    def _numbers(self, name: str) -> np.ndarray:
        with self._zip.open(f"{name}.npy") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
        if values.ndim != 2 or values.dtype.kind not in "fiub":
            raise NotUsable(f"'{self.path}' has '{name}' {values.dtype} {list(values.shape)}; write float32, a row of values for each of T steps")
        found = np.asarray(values, np.float32)
        if not np.isfinite(found).all():
            where = int(np.flatnonzero(~np.isfinite(found).all(1))[0])
            raise NotUsable(f"'{self.path}' has numbers in '{name}' that are not finite, first in step {where}; leave it out")
        return found

    def _check_steps(self) -> None:
        lengths = {"proprio": len(self.proprio), "action": len(self.action)}
        for camera in self.cameras:
            name = f"{IMAGE}{camera}"
            file, shape, _, dtype = self._open(name)
            file.close()
            if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8:
                raise NotUsable(f"'{self.path}' has '{name}' {dtype} {list(shape)}; write uint8 [T, h, w, 3], rgb, 0 to 255")
            lengths[name] = shape[0]
        if len(set(lengths.values())) > 1 or not len(self.action):
            told = ", ".join(f"{name} {count}" for name, count in lengths.items())
            raise NotUsable(f"'{self.path}' has arrays of different lengths, or empty ones ({told}); write for each picture the action from there")

    def _pictures(self, camera: str) -> Iterator[np.ndarray]:
        file, shape, fortran, _ = self._open(f"{IMAGE}{camera}")
        with file:
            if fortran:  # a step does not lie in one piece
                yield from np.frombuffer(file.read(), np.uint8).reshape(shape[::-1]).transpose()
                return
            size = shape[1] * shape[2] * shape[3]
            for _ in range(shape[0]):
                yield np.frombuffer(file.read(size), np.uint8).reshape(shape[1:])


def read(paths: Sequence[Path], form: Form, into: Demonstrations, note: Callable[[str], None]) -> None:
    """Take all files in.

    Raises:
        NotUsable: one of them does not fit the form or the others.
    """
    progress, unused, width = Progress("demonstrations", len(paths)), Counter[str](), 0
    for done, path in enumerate(paths):
        episode = Episode(path)
        if missing := [camera for camera in form.cameras if camera not in episode.cameras]:
            raise NotUsable(
                f"'{path}' has no pictures of camera {', '.join(missing)}, but of {', '.join(episode.cameras)}; write the same cameras in every "
                f"demonstration, or name those that all have with --cameras (or 'cameras' of the robot's file)"
            )
        for camera in set(episode.cameras) - set(form.cameras):
            unused[camera] += 1
        width = width or episode.proprio.shape[1]
        form.refuse_shape(episode.proprio.shape[1], episode.action.shape[1], str(path))
        if episode.proprio.shape[1] != width:
            raise NotUsable(f"'{path}' has a state of {episode.proprio.shape[1]} values, those before it {width}; write the same in all")
        for images, proprio, action in episode.steps(form.cameras):
            try:
                into.add(images, proprio, action)
            except NotUsable as error:
                raise NotUsable(f"'{path}': {error}") from None
        into.save()
        episode.close()
        progress(done + 1)
    for camera, count in sorted(unused.items()):
        note(f"pictures of camera '{camera}' in {count} demonstrations are not used: it is not among the cameras")

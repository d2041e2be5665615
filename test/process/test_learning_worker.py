"""The learner's own process: what goes in comes out, deaths are survived, nothing that arrived is lost."""

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from learning_helpers import PROPRIO, SHA, cdr_of, dtype_of, episodes, small_settings

from rl_token_ros.learning import checkpoint, journal
from rl_token_ros.learning.identity import find_identity
from rl_token_ros.learning.learner import Learner
from rl_token_ros.learning.worker import JOURNAL, Worker
from rl_token_ros.policy import actor_weights
from rl_token_ros.policy.actor_weights import Architecture, Identity
from rl_token_ros.settings.parameters import ParameterError

PATIENCE = 60.0  # seconds before a test gives up


class Watched:
    """A worker with what it said, and a way to wait for it."""

    def __init__(self, settings):
        self.settings, self.said = settings, threading.Condition()
        self.blobs, self.lines = [], []
        architecture = Architecture(settings.token_size, PROPRIO, settings.chunk_length, settings.action_size, settings.hidden_size, 2)
        self.worker = Worker(settings, dtype_of(settings), Identity.of(settings, **SHA), architecture, on_weights=self._weights, log=self._log)

    def send(self, rows):
        self.worker.send(rows, cdr_of(rows))

    def _weights(self, blob):
        with self.said:
            self.blobs.append(blob)
            self.said.notify_all()

    def _log(self, level, text):
        with self.said:
            self.lines.append((level, text))
            self.said.notify_all()

    def wait(self, ready):
        with self.said:
            for _ in range(int(PATIENCE / 0.1)):  # figures come without a notification
                if ready():
                    return
                self.said.wait(0.1)
        raise AssertionError(f"waited in vain; state {self.worker.state}, said {self.lines}, figures {self.worker.stats}")


def journalled(folder, settings, after_ns=0):
    """The rows of a journal after a stamp."""
    found = [rows for *_, rows in journal.read(folder, dtype_of(settings), after_ns, 1 << 62)]
    return np.concatenate(found) if found else np.zeros(0, dtype_of(settings))


def reader(run_directory, settings):
    """Reads a run's journal for `Learner.restore`."""
    return functools.partial(journal.read, run_directory / JOURNAL, dtype_of(settings))


def quick_settings(directory, **overrides):
    return small_settings(run_directory=str(directory), worker_nice=0, **overrides)


def test_rows_in_weights_out_checkpoint_at_the_end_and_on_from_there(tmp_path):
    settings = quick_settings(tmp_path)
    rows = episodes(settings, 20)
    watched = Watched(settings)
    for start in range(0, len(rows), 5):
        watched.send(rows[start : start + 5])
    watched.wait(lambda: len(watched.blobs) >= 3)
    watched.wait(lambda: watched.worker.stats.get("steps") == len(rows) and not watched.worker.stats["updates_owed"])
    watched.worker.close()
    assert [actor_weights.decode(blob).version for blob in watched.blobs[:3]] == [1, 2, 3]
    assert watched.worker.rows_lost == watched.worker.restarts == 0 and watched.worker.state == "stopped"
    last = actor_weights.decode(watched.blobs[-1]).version

    alone = Learner(settings, PROPRIO, **SHA)
    assert alone.restore(tmp_path, reader(tmp_path, settings)) and alone.steps_missing == 0
    with np.load(sorted(tmp_path.glob("checkpoint-*"))[-1] / "replay.npz") as file:
        assert {name: len(file[name]) for name in file.files} == {"tail": 0}  # the journal has been closed: it has all of them
    assert (alone.version, alone.replay.counters.rows) == (last, len(rows))

    again = Watched(settings)
    assert actor_weights.decode(again.worker.newest).version == last  # can be sent at once, before torch is even loaded
    again.wait(lambda: again.worker.stats.get("steps") == len(rows))
    assert again.worker.stats["updates"] == alone.updates
    assert again.worker.stats["replay_transitions"] == len(alone.replay)
    more = episodes(settings, 5, first=20)
    again.send(more)
    again.wait(lambda: again.blobs)
    again.worker.close()
    assert actor_weights.decode(again.blobs[0]).version == last + 1


def test_killed_process_is_started_again_and_loses_no_row_and_no_version(tmp_path):
    settings = quick_settings(tmp_path)
    rows = episodes(settings, 20)
    watched = Watched(settings)
    watched.send(rows[:100])
    watched.wait(lambda: watched.blobs and watched.worker.stats)
    watched.worker.process.send_signal(signal.SIGKILL)
    watched.worker.process.wait()
    watched.send(rows[100:])  # arrives while there is no process
    watched.wait(lambda: watched.worker.restarts == 1)
    watched.wait(lambda: watched.worker.stats.get("steps") == len(rows) and not watched.worker.stats["updates_owed"])
    watched.worker.close()
    assert any(level == "error" and "starting it again" in text for level, text in watched.lines)
    versions = [actor_weights.decode(blob).version for blob in watched.blobs]
    assert versions == sorted(set(versions))  # no version twice: control_node would refuse the second
    np.testing.assert_array_equal(journalled(tmp_path / JOURNAL, settings), rows)


SLOW = """
import pathlib, time
from rl_token_ros.learning import journal
read, gate = journal.read, pathlib.Path({gate!r})
def slow(*arguments):
    for message in read(*arguments):
        while not gate.exists():
            yield message[0], message[1], message[2][:0]  # so that it looks who is there
            time.sleep(0.001)
        yield message
journal.read = slow
"""


@pytest.fixture
def slow_run(tmp_path, monkeypatch):
    """Settings of a run whose journal is read slowly by whoever goes on with it, its rows, and the file that ends that when it is there."""
    settings, rows, gate = quick_settings(tmp_path / "run"), episodes(small_settings(), 20), tmp_path / "gate"
    watched = Watched(settings)
    watched.send(rows)
    watched.wait(lambda: watched.worker.stats.get("steps") == len(rows) and not watched.worker.stats["updates_owed"])
    watched.worker.close()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SLOW.format(gate=str(gate)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    return settings, rows, gate


def test_rows_come_to_the_disk_while_a_process_still_reads_the_journal(slow_run):
    """The connection takes some hundred rows that nobody reads; whoever waited for it did not write the others."""
    settings, rows, gate = slow_run
    again = Watched(settings)
    more = np.concatenate([episodes(settings, 100, first=20 + 100 * i) for i in range(4)])
    for start in range(len(more)):
        again.send(more[start : start + 1])
    folder = Path(settings.run_directory) / JOURNAL
    again.wait(lambda: len(journalled(folder, settings)) == len(rows) + len(more))
    assert again.worker.state == "starting"
    gate.touch()
    again.wait(lambda: again.worker.stats.get("steps") == len(rows) + len(more))
    again.send(episodes(settings, 1, first=420))
    again.wait(lambda: again.worker.stats["steps"] > len(rows) + len(more))
    again.worker.close()
    assert again.worker.rows_lost == 0


def test_rows_that_keep_coming_while_a_process_begins_are_all_taken(slow_run):
    """Some are read in the journal, the next are sent; it once took the first that was sent for the end of its node."""
    settings, rows, gate = slow_run
    gate.touch()
    again = Watched(settings)
    more = np.concatenate([episodes(settings, 100, first=20 + 100 * i) for i in range(6)])
    sent = 0
    while sent < len(more) and again.worker.state != "running":
        again.send(more[sent : sent + 1])
        sent += 1
        threading.Event().wait(0.002)
    again.wait(lambda: again.worker.stats.get("steps") == len(rows) + sent)
    again.worker.close()
    assert again.worker.restarts == again.worker.rows_lost == 0


def test_a_process_that_still_reads_the_journal_ends_at_once_and_leaves_its_checkpoint(slow_run):
    settings, _, _ = slow_run
    before = sorted(Path(settings.run_directory).glob("checkpoint-*"))
    again = Watched(settings)
    again.wait(lambda: again.worker.state == "starting")
    again.worker.close()
    assert again.worker.state == "stopped" and not any(level == "error" for level, _ in again.lines)
    assert sorted(Path(settings.run_directory).glob("checkpoint-*")) == before


def test_stamps_of_the_journal_are_above_those_that_a_checkpoint_knows(tmp_path):
    """What a killed node lost of the journal may be in a checkpoint; a clock that was set back must not mix new rows with that."""
    settings = quick_settings(tmp_path)
    learner, late = Learner(settings, PROPRIO, **SHA), 1 << 62
    learner.add(episodes(settings, 1), stamp_ns=late)
    learner.save(tmp_path)
    made = journal.Journal(tmp_path / JOURNAL, LIMIT, checkpoint.newest_stamp(tmp_path))
    assert made.append(cdr_of(episodes(settings, 1))) == late + 1 and made.durable_ns == 0
    made.close()


def test_process_that_keeps_dying_is_given_up_while_rows_still_reach_the_disk(tmp_path):
    settings = quick_settings(tmp_path, worker_restarts=0)
    watched = Watched(settings)
    watched.wait(lambda: watched.worker.stats)
    watched.worker.process.kill()
    watched.wait(lambda: watched.worker.state == "given up")
    watched.send(episodes(settings, 2))
    watched.worker.close()
    assert any("giving up" in text for _, text in watched.lines)
    assert len(journalled(tmp_path / JOURNAL, settings)) == len(episodes(settings, 2))


ORPHAN = """
import os, signal, sys
sys.path[:0] = {path!r}
from learning_helpers import episodes
from test_learning_worker import Watched, quick_settings
if __name__ == "__main__":
    watched = Watched(quick_settings({directory!r}))
    watched.send(episodes(watched.settings, 20))
    watched.wait(lambda: watched.blobs)
    print(watched.worker.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_process_whose_node_was_killed_saves_and_ends(tmp_path):
    here = Path(__file__).parent
    code = ORPHAN.format(path=[str(here), str(here.parent / "support"), str(here.parents[1])], directory=str(tmp_path))
    output, inherited = os.pipe()  # the orphan inherits this end: it is closed when the orphan has ended
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=inherited, text=True, timeout=PATIENCE)
    os.close(inherited)
    assert result.returncode == -signal.SIGKILL and int(result.stdout) > 0
    with os.fdopen(output) as stream:
        said = stream.read()
    assert "Traceback" not in said
    state, _, _ = checkpoint.load(tmp_path)
    assert state["learner"]["version"] >= 1
    settings = quick_settings(tmp_path)
    alone = Learner(settings, PROPRIO, **SHA)
    assert alone.restore(tmp_path, reader(tmp_path, settings)) and alone.steps_missing == 0  # what the journal lost is in the checkpoint
    assert len(alone.replay) == alone.replay.counters.rows > 0


def test_run_directory_of_another_encoder_is_refused_before_anything_starts(tmp_path):
    settings = quick_settings(tmp_path)
    learner = Learner(settings, PROPRIO, "a" * 64, SHA["vla_sha256"])
    learner.save(tmp_path)
    with pytest.raises(ParameterError, match="another run_directory"):
        Watched(settings)


# --- the journal and the fingerprints


LIMIT = 1 << 30


def write_journal(folder, settings, rows, flush_every=0):
    """One message per row; the stamps."""
    made = journal.Journal(folder, LIMIT)
    stamps = []
    for i in range(len(rows)):
        stamps.append(made.append(cdr_of(rows[i : i + 1])))
        if flush_every and (i + 1) % flush_every == 0:
            made.flush()
    return made, stamps


def test_journal_is_a_bag_that_is_continued_and_read_from_any_stamp_on(tmp_path):
    settings = small_settings()
    rows = episodes(settings, 3)
    first, stamps = write_journal(tmp_path / "replay", settings, rows[:10])
    first.close()
    second, more = write_journal(tmp_path / "replay", settings, rows[10:])
    second.close()
    stamps += more
    assert stamps == sorted(set(stamps))
    np.testing.assert_array_equal(journalled(tmp_path / "replay", settings), rows)
    for i in (0, 4, 9, 12, len(rows) - 1):
        np.testing.assert_array_equal(journalled(tmp_path / "replay", settings, stamps[i]), rows[i + 1 :])
    from rosbags.highlevel import AnyReader

    with AnyReader([tmp_path / "replay"]) as bag:  # what others read bags with
        assert bag.message_count == len(rows) and list(bag.topics) == ["/replay"]


def test_journal_cut_anywhere_loses_no_row_from_before_the_last_flush(tmp_path):
    settings = small_settings()
    rows = episodes(settings, 3)
    folder = tmp_path / "replay"
    made, _ = write_journal(folder, settings, rows[:20])
    made.flush()
    (file,) = folder.glob("*.mcap")
    flushed = file.stat().st_size
    for i in range(20, len(rows)):
        made.append(cdr_of(rows[i : i + 1]))
    made.flush()
    whole = file.read_bytes()
    made._lock.close()  # as when its process is killed: no index, no end
    random = np.random.default_rng(0)
    for cut in [flushed, len(whole), *random.integers(flushed, len(whole), 10)]:
        file.write_bytes(whole[:cut])
        kept = journalled(folder, settings)
        assert len(kept) >= 20
        np.testing.assert_array_equal(kept, rows[: len(kept)])
        again = journal.Journal(folder, LIMIT)  # and it can be continued
        stamp = again.append(cdr_of(rows[:1]))
        again.close()
        assert len(journalled(folder, settings)) == len(kept) + 1 and len(journalled(folder, settings, stamp - 1)) == 1
        sorted(folder.glob("*.mcap"))[-1].unlink()


def test_journal_stays_within_its_limit_and_loses_the_oldest_first(tmp_path, monkeypatch):
    settings = small_settings()
    rows = episodes(settings, 40)
    monkeypatch.setattr(journal, "SPLIT_BYTES", 1 << 16)
    made = journal.Journal(tmp_path / "replay", 1 << 18)
    for _repeat in range(4):
        for i in range(len(rows)):
            made.append(cdr_of(rows[i : i + 1]))
            made.flush()
        assert sum(path.stat().st_size for path in (tmp_path / "replay").glob("*.mcap")) <= 1 << 18
    made.close()
    kept = journalled(tmp_path / "replay", settings)
    assert 20 < len(kept) < 4 * len(rows)
    np.testing.assert_array_equal(kept, np.tile(rows, 4)[-len(kept) :])


def test_journal_of_another_robot_is_refused(tmp_path):
    settings = small_settings()
    made, _ = write_journal(tmp_path / "replay", settings, episodes(settings, 1))
    made.close()
    journal.refuse_mismatch(tmp_path / "replay", dtype_of(settings))
    with pytest.raises(ParameterError, match="holds rows of another robot .*'token'"):
        journal.refuse_mismatch(tmp_path / "replay", dtype_of(small_settings(token_size=5)))


def test_one_learner_at_a_time_writes_a_run_directory(tmp_path):
    first = journal.Journal(tmp_path / "replay", LIMIT)
    with pytest.raises(ParameterError, match="another learner_node writes to"):
        journal.Journal(tmp_path / "replay", LIMIT)
    first.close()
    journal.Journal(tmp_path / "replay", LIMIT).close()


def test_a_process_waits_for_the_one_before_it(tmp_path):
    told = []
    first = checkpoint.hold(tmp_path, 1.0, None)
    with pytest.raises(ParameterError, match="another process has been learning"):
        checkpoint.hold(tmp_path, 0.0, lambda: told.append(1))
    os.close(first)
    os.close(checkpoint.hold(tmp_path, 0.0, lambda: told.append(1)))
    assert told == []


def test_a_run_keeps_its_name_and_another_directory_is_another_run(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    names = [checkpoint.run_name(tmp_path / name) for name in "aab"]
    assert names[0] == names[1] != names[2]


def test_fingerprints_are_asked_for_where_there_is_no_file():
    settings = small_settings(token_encoder="nowhere.onnx")
    assert find_identity(settings).encoder_sha256 == SHA["encoder_sha256"]
    with pytest.raises(ParameterError, match="'nowhere.onnx', which is not on this machine"):
        find_identity(dataclasses.replace(settings, vla_sha256=""))

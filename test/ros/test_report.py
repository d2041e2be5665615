"""report: from what a run left behind to one page, with intervals that are honest about few episodes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import small_robot

pytest.importorskip("rosbags")
pytest.importorskip("matplotlib")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.serialization import serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import String, UInt8MultiArray

from rl_token_ros.bags.writer import BagWriter
from rl_token_ros.commands import report
from rl_token_ros.evaluation import statistics
from rl_token_ros.evaluation.findings import findings
from rl_token_ros.evaluation.run_data import NoRun, Run, collect
from rl_token_ros.evaluation.scores import ScoredEpisode
from rl_token_ros.interfaces import replay_table
from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.policy import actor_weights

DTYPE = replay_table.row_dtype(small_robot.TOKEN, 9, small_robot.CHUNK, 3)
BEGIN = 1_700_000_000  # s
STEPS = 20  # of an episode; at 10 Hz


def rows_of(number: int, source: int, ended: int) -> np.ndarray:
    rows = np.zeros(STEPS, DTYPE)
    rows["episode"], rows["step"], rows["source"], rows["critical"] = number, np.arange(STEPS), source, 1
    rows["stamp_sec"], rows["stamp_nanosec"] = BEGIN + 6 * number + np.arange(STEPS) // 10, np.arange(STEPS) % 10 * 100_000_000
    rows["action"][:, 0] = 0.001 if source == Source.ACTOR else 0.0
    rows["clipped"][: STEPS // 4] = 8
    rows["weights_version"] = number if source == Source.ACTOR else 0
    rows["ended"][-1] = ended
    return rows


def write_run(folder, episodes: list[tuple[int, int]], seconds: int = 0):
    """A run of such episodes (source, ending), and of diagnostics for so long."""
    with BagWriter(folder / "bag") as writer:

        def write(topic: str, kind: str, second: float, message) -> None:
            writer.write(topic, kind, round((BEGIN + second) * 1e9), bytes(serialize_message(message)))

        told = {"parameters": {"control_rate": 10.0}}
        write("/control_node/settings", "std_msgs/msg/String", 0, String(data=json.dumps(told)))
        for number, (source, ended) in enumerate(episodes):
            for row in rows_of(number, source, ended):
                message = replay_table.encode(row[None], PointCloud2(), PointField)
                write("/replay", "sensor_msgs/msg/PointCloud2", 6 * number, message)
        for second in range(seconds):
            for node, values in (
                ("control_node", {"ticks": 50 * second, "ticks_stopped": max(second - 30, 0), "compute_ms_p99": 1.5,
                  "weights_version": second // 10, "weights_reverts": second // 30}),
                ("learner_node", {"updates_per_s": 100 + second, "mean_q": 0.5, "mean_return": 0.4, "critic_loss": 1e-3, "phase": "training"}),
            ):  # fmt: skip
                pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
                status = DiagnosticStatus(name=f"/left/{node}", message="all <well>", values=pairs)
                array = DiagnosticArray(status=[status])
                array.header.stamp = Time(sec=BEGIN + second)
                write("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", second, array)
            if second % 10 == 0:
                blob = actor_weights.encode(small_robot.make_weights(1 + second // 10))
                write("/actor/weights", "std_msgs/msg/UInt8MultiArray", second, UInt8MultiArray(data=list(blob)))
    (folder / "logs").mkdir()
    (folder / "logs" / "control_node.log").write_text("[INFO] fine\n[ERROR] <b>the arm</b> was stopped\n")
    return folder


def write_report(folder, monkeypatch, capsys, *arguments) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["report", str(folder), *map(str, arguments)])
    status = report.main()
    said = capsys.readouterr()
    return status, said.out + said.err


def some(base: float, actor: float, count: int = 30) -> list[tuple[int, int]]:
    """Episodes of the base, then of the actor, with these shares of successes."""
    return [
        (source, Ended.SUCCESS if (i % 10) < 10 * share else Ended.FAILURE)
        for source, share in ((Source.VLA, base), (Source.ACTOR, actor))
        for i in range(count)
    ]


def test_a_run_becomes_one_page_that_needs_nothing_else(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path, [*some(0.3, 0.9), (Source.HUMAN, Ended.SUCCESS), (Source.ACTOR, Ended.ABORTED)], seconds=60)
    status, said = write_report(folder, monkeypatch, capsys)
    assert status == 0 and "Practice is working" in said, said
    html = (folder / "report" / "index.html").read_text()
    assert "Practice is working" in html and 'name="viewport"' in html
    assert set(re.findall(r'(?:src|href)="(\w+):', html)) == {"data"}  # nothing is fetched
    assert len(list((folder / "report").glob("*.png"))) == html.count("<img") == 9
    assert "<b>the arm</b>" not in html and "&lt;b&gt;the arm&lt;/b&gt; was stopped" in html and "all &lt;well&gt;" in html
    assert "1 aborted beside" in html and "human" in html and "What is missing" not in html


def test_what_was_read_is_what_was_written(tmp_path):
    run = collect(write_run(tmp_path, [(Source.VLA, Ended.TIME_LIMIT), (Source.ACTOR, Ended.SUCCESS), (Source.HUMAN, Ended.SUCCESS)], seconds=60))
    assert [(e.ended, e.practised, e.human) for e in run.episodes] == [
        (Ended.TIME_LIMIT, False, False),
        (Ended.SUCCESS, True, False),
        (Ended.SUCCESS, False, True),
    ]
    assert [e.seconds for e in run.episodes] == pytest.approx([2.0] * 3)
    assert run.episodes[0].changed == 0.25
    assert run.nodes["control_node"].of("ticks").tolist() == [50.0 * second for second in range(60)]
    assert np.isnan(run.nodes["control_node"].of("nothing")).all()
    assert [version for _, version in run.versions] == [1, 2, 3, 4, 5, 6]
    assert run.stopped() == [(BEGIN + 30, BEGIN + 59)]


def test_a_learners_journal_alone_gives_what_it_has(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path, some(0.5, 0.5, 5))
    status, said = write_report(folder / "bag", monkeypatch, capsys, "--out", tmp_path / "page")
    assert status == 0 and "Too few episodes to tell" in said and "record '/diagnostics'" in said
    assert sorted(path.stem for path in (tmp_path / "page").glob("*.png")) == ["compare", "episodes", "residual", "throughput"]


def test_a_demos_summary_alone_is_shown(tmp_path, monkeypatch, capsys):
    base = {"episodes": 10, "success_rate": 0.4, "median_time_s": 6.5, "successes_per_10min": 19.0}
    (tmp_path / "summary.json").write_text(json.dumps({"base": base, "practised": {"episodes": 0, "success_rate": None}}))
    status, _said = write_report(tmp_path, monkeypatch, capsys)
    html = (tmp_path / "report" / "index.html").read_text()
    assert status == 0 and "<td>base</td><td>10</td><td>40</td><td>6.5</td><td>19</td>" in html and "What is missing" in html


def test_damaged_messages_are_left_out_and_said(tmp_path):
    folder = write_run(tmp_path, some(0.5, 0.5, 5), seconds=5)
    with BagWriter(folder / "bag") as writer:  # continues it
        for topic, kind in (
            ("replay", "sensor_msgs/msg/PointCloud2"),
            ("diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
            ("control_node/settings", "std_msgs/msg/String"),
        ):
            writer.write(f"/{topic}", kind, BEGIN * 10**9, b"\0\1\0\0\1")
    run = collect(folder)
    assert len(run.episodes) == 10 and len(run.nodes["control_node"].times) == 5
    assert [text.split(" in ")[0] for text in run.missing] == [
        f"1 messages of '/{topic}'" for topic in ("replay", "diagnostics", "control_node/settings")
    ]


def test_a_folder_without_a_run_ends_with_a_sentence(tmp_path, monkeypatch, capsys):
    assert write_report(tmp_path, monkeypatch, capsys) == (
        2,
        f"error: '{tmp_path}' holds no bag and no summary.json; write the folder of a run, or of a bag\n",
    )
    with pytest.raises(NoRun):
        collect(tmp_path / "nothing")


def test_the_same_warning_of_several_nodes_is_said_once(tmp_path):
    folder = write_run(tmp_path, [(Source.VLA, Ended.SUCCESS)])
    for node in ("sim_node", "vla_node"):
        (folder / "logs" / f"{node}.log").write_text(
            f"[WARN] [1795571315.3] [{node}]: no security\n" * 2 + "[INFO] [1795571315.4] [sim_node]: fine\n"
        )
    assert collect(folder).log == ["control_node: [ERROR] <b>the arm</b> was stopped", "sim_node, vla_node (4 times): WARN: no security"]


@pytest.mark.parametrize(
    "node, figures, says",
    [
        ("control_node", {"ticks": "1000", "ticks_stopped": "200"}, "stopped in 20 %"),
        ("control_node", {"ticks": "1000", "ticks_holding": "100"}, "no chunk was fresh"),
        ("control_node", {"ticks": "1000", "missed_ticks": "20"}, "2.0 % of the ticks were missed"),
        (
            "control_node",
            {"weights_refused": "3", "last_refusal": "made for another arm"},
            "refused weights 3 times, at last because: made for another arm.",
        ),
        ("control_node", {"weights_reverts": "1"}, "returned to older weights 1 times"),
        ("control_node", {"weights_version": "0"}, "Weights were sent, and none acted"),
        ("learner_node", {"phase": "training", "updates": "0"}, "no update although it practises"),
        ("learner_node", {"rows_lost": "7"}, "7 rows of 'replay' did not reach the learner"),
        ("learner_node", {"q_minus_return": "0.7"}, "Q is 0.7 above the returns"),
        ("vla_node", {"queries": "100", "failures": "50"}, "50 of 100 queries of the VLA failed"),
    ],
)
def test_what_stands_out_is_said_first(tmp_path, node, figures, says):
    run = Run(tmp_path, versions=[(0.5, 1)])
    fine = {
        "control_node": {"ticks": "1000", "ticks_stopped": "10", "missed_ticks": "1", "weights_version": "1", "weights_refused": "0"},
        "learner_node": {"phase": "training", "updates": "50", "rows_lost": "0", "q_minus_return": "0.1", "state": "nan"},
        "vla_node": {"queries": "100", "failures": "0"},
    }
    for name, told in fine.items():
        run.nodes[name].add(0.0, told)
    assert findings(run) == []
    run.nodes[node].add(1.0, {**fine[node], **figures})
    run.nodes[node].add(2.0, {**fine[node], **figures})
    (found,) = findings(run)
    assert says in found


# --- statistics ---------------------------------------------------------------------------------------------------------


def episodes(outcomes: list[bool], practised: bool, begin: float = 0.0, seconds: float = 5.0) -> list[ScoredEpisode]:
    return [
        ScoredEpisode(i, Ended.SUCCESS if won else Ended.FAILURE, seconds, begin + 10.0 * (i + 1), practised, int(practised))
        for i, won in enumerate(outcomes)
    ]


def test_the_verdict_is_what_the_episodes_can_carry():
    bad, good = [i % 5 == 0 for i in range(30)], [i % 5 != 0 for i in range(40)]
    assert statistics.verdict(episodes(bad, False))[0] == "open"
    assert statistics.verdict(episodes(bad, False) + episodes(good, True, 300.0))[0] == "good"
    assert statistics.verdict(episodes(good, False) + episodes(bad, True, 400.0))[0] == "bad"
    assert statistics.verdict(episodes(bad, False) + episodes(bad, True, 300.0))[0] == "open"
    assert "Too few" in statistics.verdict(episodes(bad[:5], False) + episodes(good, True, 300.0))[1]


def test_successes_without_exception_are_not_certain():
    always = statistics.group("", episodes([True] * 8, False))
    never = statistics.group("", episodes([False] * 8, False))
    assert always.throughput.low < always.throughput.value == always.throughput.high == 75.0
    assert never.throughput.value == never.throughput.low == 0.0 < never.throughput.high
    assert (always.success.low, always.success.high) == (pytest.approx(67.6, abs=0.1), 100.0)  # Wilson


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(3)
    inside = 0
    for _ in range(100):
        found = statistics.group("", episodes((random.random(40) < 0.5).tolist(), False)).throughput
        inside += found.low <= 37.5 <= found.high
    assert 87 <= inside <= 100

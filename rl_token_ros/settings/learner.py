"""Parameters of `learner_node`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rl_token_ros.settings.parameters import ParameterError, parameter
from rl_token_ros.settings.robot import Robot

NAMESPACE = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", re.ASCII)


@dataclass(frozen=True)
class Learner(Robot):
    """Parameters of `learner_node`."""

    run_directory: str = parameter("runs/latest", "Folder for checkpoints and received rows; created, or continued from if it holds a run.")
    robots: list[str] = parameter(
        [],
        "Namespaces of the robots that feed this learner, as in [left, right]: `left/replay` is taken and `left/actor/weights` sent; empty: one "
        "robot, `replay` and `actor/weights`. All have these parameters.",
    )
    seed_bags: list[str] = parameter(
        [], "Bags whose `replay` a new run begins with, read before the first message: demonstrations and interventions of long ago."
    )

    actor_layers: int = parameter(2, "Hidden layers of the actor: 2, or 3 for the hardest tasks.", low=2, high=3)
    critic_layers: int = parameter(2, "Hidden layers of each critic.", low=1, high=6)
    critic_form: str = parameter(
        "any",
        "What of the residual Q may be: any function, or linear (what a state is worth, plus a slope times the residual).",
        choices=("any", "linear"),
    )
    hidden_size: int = parameter(128, "Units of a hidden layer of actor and critic.", low=8, high=4096)
    batch_size: int = parameter(128, "Windows of a batch; every update draws its own.", low=8, high=8192)
    learning_rate: float = parameter(3e-4, "Step size of Adam.", low=1e-7, high=0.1)
    gradient_norm: float = parameter(10.0, "Largest norm of a gradient; longer ones are shortened.", low=1e-6, high=1e6)
    polyak: float = parameter(
        0.005, "Share of the new parameters in the target networks, per actor update; the target actor is the one that acts.", low=1e-5, high=1.0
    )
    gamma: float = parameter(0.995, "Discount per control step.", low=0.5, high=1.0)
    return_min: float = parameter(0.0, "Smallest possible return; targets are clipped to it.", low=-1e6, high=1e6)
    return_max: float = parameter(1.0, "Largest possible return: 1 for the sparse reward.", low=-1e6, high=1e6)
    target_noise: float = parameter(
        0.1,
        "Standard deviation of the noise on target actions, share of the residual's bound, cut off at twice that.",
        low=0.0,
        high=1.0,
    )
    monte_carlo_mix: float = parameter(
        0.0,
        "Share of the Monte Carlo return, observed up to the episode's end, in the critic's target; more keeps values from being dreamed up.",
        low=0.0,
        high=1.0,
    )
    temporal_basis_size: int = parameter(
        0,
        "Residuals per chunk that the actor chooses for each action, each held over chunk_length / temporal_basis_size steps; 0: one per step.",
        low=0,
        high=100,
    )
    input_noise: float = parameter(
        0.0,
        "Standard deviation of the noise on the normalised inputs of actor and critic in training, at the end of warm-up; it keeps the "
        "critic from knowing few episodes by heart, and falls with the square root of the episodes learned from.",
        low=0.0,
        high=10.0,
    )
    reference_dropout: float = parameter(
        0.5, "Share of samples whose reference the actor does not see in training; 1: it never sees it, acting neither.", low=0.0, high=1.0
    )
    bc_weight_start: float = parameter(
        1.0,
        "Weight of the penalty on the residual (behaviour cloning of the base) at the end of warm-up; it is a MEAN over C x A of squares in units of "
        "residual_scale.",
        low=1e-6,
        high=1e3,
    )
    bc_weight_end: float = parameter(0.03, "That weight after bc_weight_anneal_seconds, approached geometrically.", low=1e-6, high=1e3)
    bc_weight_anneal_seconds: float = parameter(300.0, "Robot time from bc_weight_start to bc_weight_end.", unit="s", low=0.0, high=1e6)

    base_episodes: int = parameter(
        5,
        "Episodes of the base policy alone. Then weights are sent that change nothing: with them control_node adds its exploration noise, "
        "which shows the critic what a residual does. As many as warmup_episodes: no noise before the first learned actor.",
        low=0,
        high=10000,
    )
    warmup_episodes: int = parameter(
        20, "Episodes before the first update, those of the base alone among them; fewer than 15 say little.", low=1, high=10000
    )
    pretrain_updates: int = parameter(6000, "Updates on the warm-up before the first learned actor is sent.", low=0, high=1000000)
    updates_per_step: float = parameter(5.0, "Critic updates per control step received (UTD).", low=0.0, high=100.0)
    updates_owed_max: int = parameter(20000, "Updates that may be outstanding; what is owed beyond that is forgone and counted.", low=1, high=10**9)
    push_updates: int = parameter(250, "Critic updates between two weight pushes.", low=1, high=1000000)

    learn: bool = parameter(True, "False: no updates; the best actor of the run in `run_directory` is sent, to work with what was learned.")
    best_window: int = parameter(
        30,
        "Practised episodes in a row whose throughput decides which actor was the best, and over about which actors are averaged.",
        low=1,
        high=1000,
    )

    window_stride: int = parameter(2, "Steps between the starts of two chunk windows.", unit="steps", low=1, high=100)
    replay_transitions: int = parameter(500_000, "Most control steps kept; the oldest go first.", low=1000, high=10**9)
    replay_bytes: int = parameter(1 << 30, "Most memory for steps, windows and tokens.", unit="bytes", low=1 << 16, high=1 << 42)

    journal_bytes: int = parameter(
        1 << 32, "Most disk space for the bag of received rows in run_directory; the oldest go first.", unit="bytes", low=1 << 27, high=1 << 42
    )
    device: str = parameter("auto", "Where to compute; auto takes CUDA if it is there.", choices=("auto", "cpu", "cuda"))
    torch_threads: int = parameter(1, "CPU threads of the worker; more than one slows a busy small machine.", low=1, high=256)
    worker_nice: int = parameter(10, "How far the worker stands back for others on this machine (nice).", low=0, high=19)
    worker_restarts: int = parameter(5, "How often in a row a worker that died is started again.", low=0, high=1000)
    checkpoint_seconds: float = parameter(60.0, "Time between two checkpoints.", unit="s", low=1.0, high=1e6)
    repeat_seconds: float = parameter(5.0, "Time after which the newest weights are sent again, for late joiners.", unit="s", low=0.1, high=3600.0)
    seed: int = parameter(0, "Seed of initial weights, batches and noise.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temporal_basis_size and self.chunk_length % self.temporal_basis_size:
            divisors = [n for n in range(1, self.chunk_length + 1) if self.chunk_length % n == 0]
            raise ParameterError(
                f"parameter 'temporal_basis_size' is {self.temporal_basis_size}, which does not divide "
                f"chunk_length = {self.chunk_length}; write 0 or one of {divisors}"
            )
        if not self.return_min < self.return_max:
            raise ParameterError(f"parameter 'return_min' is {self.return_min:g}, 'return_max' {self.return_max:g}; write the smaller one first")
        for name in self.robots:
            if not NAMESPACE.fullmatch(name):
                raise ParameterError(f"parameter 'robots' has '{name}', which is no namespace; write names as in [left, right] or [cell/left]")
        if len(set(self.robots)) < len(self.robots):
            raise ParameterError(f"parameter 'robots' names a robot twice in [{', '.join(self.robots)}]; write each name once")

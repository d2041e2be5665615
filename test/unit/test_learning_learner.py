"""The learner: phases, account of updates, losses, checkpoints, and a small problem with a known answer."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from learning_helpers import PROPRIO, SHA, episodes, make_rows, small_settings

from rl_token_ros.interfaces.codes import Ended, Source
from rl_token_ros.learning import checkpoint
from rl_token_ros.learning.batch import Batch
from rl_token_ros.learning.learner import Learner
from rl_token_ros.policy import actor_weights
from rl_token_ros.settings.parameters import ParameterError


def make_learner(**overrides):
    return Learner(small_settings(**overrides), PROPRIO, **SHA)


def trained(**overrides):
    """A learner past warm-up and pretraining."""
    learner = make_learner(**overrides)
    learner.add(episodes(learner.settings, 12))
    while learner.phase == "pretraining":
        learner.update(100)
    learner.owed = 0.0
    return learner


# --- phases and the account of updates


def test_no_update_before_warm_up_and_warm_up_exceeds_a_batch():
    """Pitfall 6: the episodes asked for are there, but fewer windows than a batch: still warm-up."""
    learner = make_learner(warmup_episodes=1, batch_size=200)
    rows = episodes(learner.settings, 60)
    for start in range(0, len(rows), 10):
        learner.add(rows[start : start + 10])
        enough = learner.replay.window_count >= 200
        assert (learner.phase == "warmup") == (not enough)
        if not enough:
            assert learner.updates_owed == 0 and learner.update(10) == 0 and not learner.push_due
    assert learner.phase == "pretraining"


@pytest.mark.slow
def test_true_utd_is_the_one_asked_for():
    """Pitfall 7: every row brings its updates, in whatever pieces rows and updates come."""
    learner = trained(updates_per_step=2.5)
    before, rows = learner.updates, episodes(learner.settings, 20, seed=1, first=12)
    received = 0
    for start in range(0, len(rows), 7):
        learner.add(rows[start : start + 7])
        received += len(rows[start : start + 7])
        learner.update(11)
    while learner.updates_owed:
        learner.update(11)
    assert learner.updates - before == int(2.5 * received)
    learner.steps_after_warmup = received
    assert learner.true_utd == pytest.approx(2.5, abs=0.05)
    assert learner.forgone == 0


def test_updates_beyond_the_cap_are_counted_as_forgone():
    learner = trained(updates_owed_max=50)
    learner.add(make_rows(learner.settings, np.random.default_rng(0), 20, Ended.SUCCESS, 99, 99000))
    assert (learner.updates_owed, learner.forgone) == (50, 50)


def test_every_update_draws_its_own_batch():
    """Pitfall 7: not one batch for all updates of a step."""
    learner = trained()
    learner.owed = 10.0
    seen, update = set(), learner.algorithm.update

    def watched(index, *arguments, **options):
        seen.add(learner.algorithm.now[index * 32 : (index + 1) * 32].numpy().tobytes())
        update(index, *arguments, **options)

    learner.algorithm.update = watched
    learner.update(10)
    assert len(seen) == 10


def test_after_the_base_episodes_weights_are_sent_that_change_nothing():
    """With them control_node adds its exploration noise, so that the warm-up shows what residuals do. Pitfall 1: they begin at zero."""
    learner = make_learner(base_episodes=2, warmup_episodes=6)
    due = []
    for number in range(4):
        learner.add(episodes(learner.settings, 1, first=number))
        due.append(learner.push_due)
    assert due == [False, True, True, True] and learner.phase == "warmup"
    weights = actor_weights.decode(actor_weights.encode(learner.weights()))
    assert weights.version == 1
    assert not weights.tensors["w2"].any() and not weights.tensors["b2"].any()
    assert weights.identity.encoder_sha256 == SHA["encoder_sha256"]  # pitfall 10
    assert weights.identity.vla_sha256 == SHA["vla_sha256"]
    assert not learner.push_due


def test_the_next_weights_are_of_an_actor_pretrained_on_the_warm_up():
    learner = make_learner(base_episodes=2, warmup_episodes=6, pretrain_updates=40)
    learner.add(episodes(learner.settings, 3))
    learner.weights()
    learner.add(episodes(learner.settings, 9, first=3))
    critic = learner.algorithm.critic.parameters.flat.clone()
    pushes = []
    while learner.updates < 40:
        pushes.append(learner.push_due)
        learner.update(7)
    assert not any(pushes) and learner.push_due
    assert not torch.equal(critic, learner.algorithm.critic.parameters.flat)
    weights = learner.weights()
    assert weights.version == 2 and weights.tensors["w2"].any()
    assert not learner.push_due
    learner.add(episodes(learner.settings, 3, first=12))
    while learner.updates < 60:
        learner.update(60 - learner.updates)
    assert learner.push_due
    assert learner.weights().version == 3


def test_without_noise_in_the_warm_up_the_first_weights_are_learned():
    learner = make_learner(base_episodes=6, warmup_episodes=6, pretrain_updates=4)
    learner.add(episodes(learner.settings, 6))
    assert not learner.push_due
    while learner.phase == "pretraining":
        learner.update(4)
    assert learner.push_due and learner.weights().version == 1


def test_the_weight_of_the_penalty_anneals_over_robot_time():
    learner = make_learner(bc_weight_start=1.0, bc_weight_end=0.01, bc_weight_anneal_seconds=40.0)
    weights = []
    for episode in range(12):  # an episode begins every 10 s
        learner.add(make_rows(learner.settings, np.random.default_rng(episode), 20, Ended.SUCCESS, episode, 20 * episode))
        weights.append(learner.bc_weight)
    start = weights.index(next(w for w in weights if w < 1.0)) - 1
    assert learner.warm and weights[start + 2] == pytest.approx(0.1, rel=0.01)
    assert weights[-1] == pytest.approx(0.01) and weights == sorted(weights, reverse=True)


def test_a_measurement_that_stood_still_in_the_warm_up_is_not_blown_up_later():
    learner = make_learner()
    rows = episodes(learner.settings, 12)
    rows["proprio"][:, 1] = 0.4  # rad
    learner.add(rows)
    mean, scale = learner.algorithm.mean[3:5].numpy(), learner.algorithm.scale[3:5].numpy()
    assert mean[1] == pytest.approx(0.4) and scale[0] == pytest.approx(1.0 / learner.replay.states()[1][:, 0].std(), rel=1e-4)
    later = np.float32(0.4 + 1e-4)  # less than an encoder can tell
    assert abs((later - mean[1]) * scale[1]) < 0.2


def test_normalisation_is_fixed_at_the_end_of_warm_up():
    learner = trained()
    mean, scale = learner.algorithm.mean.clone(), learner.algorithm.scale.clone()
    tokens = learner.replay.states()[0]
    np.testing.assert_allclose(mean[:3], tokens.mean(0), atol=0.2)
    rows = episodes(learner.settings, 5, first=20)
    rows["token"] += 100.0
    learner.add(rows)
    learner.update(20)
    assert torch.equal(mean, learner.algorithm.mean) and torch.equal(scale, learner.algorithm.scale)
    state = learner.architecture.token + learner.architecture.proprio
    np.testing.assert_array_equal(learner.weights().tensors["input_mean"][:state], mean[:state].numpy())


def test_components_of_a_token_share_one_scale():
    """What varies little in it is mostly noise and must not be blown up."""
    learner, rows = make_learner(), episodes(small_settings(), 12)
    rows["token"] *= np.array([10.0, 1.0, 0.1], np.float32)
    learner.add(rows)
    scale = learner.algorithm.scale.numpy()
    assert scale[0] == scale[1] == scale[2]
    np.testing.assert_allclose((learner.replay.states()[0].var(0) * scale[:3] ** 2).mean(), 1.0, rtol=1e-3)


# --- losses


def batch_loss_gradient(learner, block, bc_weight, reference_seen=True):
    """Gradient of the actor loss of td3.py by autograd, from its formula, for batch 0."""
    td3, n, width = learner.algorithm, learner.settings.batch_size, learner.algorithm.architecture.inputs
    inputs = td3.now[:n, :width].clone()
    p = {name: value.clone().requires_grad_() for name, value in td3.actor.parameters.values.items()}
    h = inputs
    for i in range(2):
        h = torch.relu(h @ p[f"w{i}"] + p[f"b{i}"])
    residual = torch.tanh(h @ p["w2"] + p["b2"])
    c = td3.critic.parameters
    x = torch.cat([inputs, residual], 1)
    for i in range(2):
        x = torch.relu(torch.nn.functional.layer_norm(x @ c[f"w{i}"][0] + c[f"b{i}"][0], [learner.settings.hidden_size]))
    q = (x * c["w2"][0]).sum(1) + c["b2"][0]
    target = torch.zeros_like(residual)
    human = torch.from_numpy(block.human).repeat_interleave(2, dim=1)
    target = torch.where(human, torch.from_numpy(block.residual).reshape(n, -1).clamp(-1, 1), target)
    loss = (-q.squeeze() + bc_weight * (residual - target).square().mean(1)).mean()
    loss.backward()
    return {name: value.grad for name, value in p.items()}


@pytest.mark.slow
def test_actor_loss_is_minus_q_plus_bc_weight_times_the_mean_over_the_chunk():
    """Pitfall 2: mean over K x A, not sum. Human steps are imitated, the others held to the base."""
    learner = trained(reference_dropout=0.0, gradient_norm=1e6)
    rows = episodes(learner.settings, 10, first=30)
    rows["source"][::3] = Source.HUMAN
    learner.add(rows)
    td3 = learner.algorithm
    td3.actor.parameters.flat.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    block = learner.replay.sample(np.random.default_rng(0), Batch.empty(32, 3, PROPRIO, 4, 2))
    assert block.human.any() and not block.human.all()
    td3.load(block)
    expected = batch_loss_gradient(learner, block, bc_weight=3.0)
    with torch.no_grad():
        td3.update_actor(td3.now[:32], td3.bc_target, 3.0)
    for name, gradient in expected.items():
        torch.testing.assert_close(td3.actor.parameters.grads[name], gradient, rtol=1e-3, atol=1e-6)


def test_target_bootstraps_at_a_time_limit_and_not_at_success():
    """Pitfall 12, through to the target; and targets stay within the bounds of the return."""
    learner = trained(target_noise=0.0, monte_carlo_mix=0.0)
    td3, block = learner.algorithm, learner.replay.sample(np.random.default_rng(0), Batch.empty(32, 3, PROPRIO, 4, 2))
    td3.load(block)
    td3.critic_target.parameters["b2"].fill_(0.5)
    td3.critic_target.parameters["w2"].zero_()  # Q' = 0.5 everywhere
    with torch.no_grad():
        target = td3.td_target(slice(0, 32)).numpy()
        td3.critic_target.parameters["b2"].fill_(50.0)
        clipped = td3.td_target(slice(0, 32)).numpy()
    np.testing.assert_allclose(target, np.clip(block.reward + block.discount * 0.5, 0, 1), rtol=1e-5)
    assert (block.discount == 0).any() and (block.discount > 0).any()
    np.testing.assert_allclose(clipped[block.discount > 0], 1.0)


def test_observed_returns_have_their_share_in_the_target():
    learner = trained(target_noise=0.0, monte_carlo_mix=0.3)
    learner.add(episodes(learner.settings, 1, first=40)[:-1])  # an episode that still runs
    td3, block = learner.algorithm, learner.replay.sample(np.random.default_rng(0), Batch.empty(32, 3, PROPRIO, 4, 2))
    ended = ~np.isnan(block.observed)
    assert ended.any() and not ended.all()
    td3.load(block)
    td3.critic_target.parameters["b2"].fill_(0.5)
    td3.critic_target.parameters["w2"].zero_()
    with torch.no_grad():
        target = td3.td_target(slice(0, 32)).numpy()
    bootstrapped = block.reward + block.discount * 0.5
    np.testing.assert_allclose(target, np.where(ended, 0.7 * bootstrapped + 0.3 * block.observed, bootstrapped), rtol=1e-5)


def test_input_noise_is_new_for_every_sample_and_leaves_residuals_and_the_exported_actor_alone():
    learner, quiet = trained(input_noise=0.5), trained()
    td3, width = learner.algorithm, learner.algorithm.architecture.inputs
    block = learner.replay.sample(np.random.default_rng(0), Batch.empty(32, 3, PROPRIO, 4, 2))
    loaded = []
    for learned in (quiet.algorithm, td3, td3):
        learned.mean.copy_(quiet.algorithm.mean), learned.scale.copy_(quiet.algorithm.scale)
        learned.load(block, 0.5 if learned is td3 else 0.0)
        loaded.append((learned.now[:32].clone(), learned.after[:32, :width].clone()))
    plain, noisy, again = loaded
    for clean, one, other in zip(plain, noisy, again):
        noise = torch.cat([(one - clean)[:, :width], (other - clean)[:, :width]])
        assert noise.std() == pytest.approx(0.5, rel=0.1) and abs(noise.mean()) < 0.05
        assert not torch.equal(one[:, :width], other[:, :width])
    assert torch.equal(noisy[0][:, width:], plain[0][:, width:])
    np.testing.assert_array_equal(td3.actor_tensors()["input_scale"], quiet.algorithm.actor_tensors()["input_scale"])


def test_input_noise_falls_with_the_square_root_of_the_episodes():
    learner = make_learner(input_noise=0.5, warmup_episodes=3)
    learner.add(episodes(learner.settings, 3))
    assert learner.input_noise == 0.5
    learner.add(episodes(learner.settings, 9, first=40))
    assert learner.input_noise == pytest.approx(0.25)
    given, load = [], learner.algorithm.load
    learner.algorithm.load = lambda block, noise: given.append(noise) or load(block, noise)
    learner.update(1)
    assert given == [learner.input_noise]


def test_reference_dropout_hides_the_reference_from_half_of_the_actor_inputs_only():
    learner = trained(reference_dropout=0.5)
    td3, width, seen = learner.algorithm, learner.algorithm.architecture.inputs, learner.algorithm.architecture.outputs
    hidden = kept = 0
    for seed in range(20):
        td3.load(learner.replay.sample(np.random.default_rng(seed), Batch.empty(32, 3, PROPRIO, 4, 2)))
        inputs = td3.now[:32, :width].clone()
        with torch.no_grad():
            td3.update_actor(td3.now[:32], None, 1.0)
        gone = (td3.seen[:, width - seen :] == 0).all(1)
        assert torch.equal(td3.seen[:, : width - seen], inputs[:, : width - seen])
        assert torch.equal(td3.seen[~gone], inputs[~gone])
        assert torch.equal(td3.now[:32, :width], inputs)  # the critic sees it
        hidden, kept = hidden + int(gone.sum()), kept + int((~gone).sum())
    assert 0.4 < hidden / (hidden + kept) < 0.6


# --- learning


def act(tensors, row):
    """The exported actor in numpy: residuals [C * A] for a row of replay."""
    x = np.concatenate([row["token"], row["proprio"], row["reference"]])
    x = np.clip((x - tensors["input_mean"]) * tensors["input_scale"], -10, 10)
    for i in range(2):
        x = np.maximum(x @ tensors[f"w{i}"] + tensors[f"b{i}"], 0)
    return np.tanh(x @ tensors["w2"] + tensors["b2"])


def best_residual(row):
    """[A], what the world below rewards most."""
    return np.array([0.7, -0.7]) * row["proprio"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_learns_a_known_best_residual(seed):
    """A world of episodes of one chunk: the nearer its residuals are to a known function of the state, the more reward at the end.

    Explored at random first, then with the exported actor and noise, as on the robot.
    """
    settings = small_settings(
        seed=seed, chunk_length=2, warmup_episodes=300, pretrain_updates=500, bc_weight_start=0.02, bc_weight_end=0.005,
        bc_weight_anneal_seconds=100.0,
        learning_rate=1e-3, batch_size=64, updates_per_step=2.0, polyak=0.02, push_updates=50,
    )  # fmt: skip
    learner, random, tensors, distances = Learner(settings, PROPRIO, **SHA), np.random.default_rng(seed), None, []
    for episode in range(1000):
        rows = make_rows(settings, random, 2, Ended.SUCCESS, episode, 2 * episode)
        rows["token"] = rows["reference"] = 0.0
        rows["proprio"] = random.uniform(-1, 1, PROPRIO)
        residual = random.uniform(-1, 1, 4)
        if tensors is not None:
            mean = act(tensors, rows[0])
            residual = np.clip(mean + random.normal(0, 0.2, 4), -1, 1)
            distances.append(np.abs(mean.reshape(2, 2) - best_residual(rows[0])).mean())
        residual = residual.reshape(2, 2)
        rows["action"] = rows["reference"][0].reshape(2, 2) + residual * settings.step_residual_scale
        rows["reward"][-1] = 1.0 - np.mean((residual - best_residual(rows[0])) ** 2) / 3.0
        learner.add(rows)
        learner.update(10_000)
        if learner.push_due:
            tensors = learner.weights().tensors
    assert np.mean(distances[:5]) == pytest.approx(0.35, abs=0.15)
    assert np.mean(distances[-100:]) < 0.2
    stats = learner.stats()
    assert stats["action_sensitivity"] > 0.3 and abs(stats["q_minus_return"]) < 0.1 and stats["residual_saturated"] < 0.2


# --- figures


def test_action_sensitivity_tells_a_critic_that_ignores_the_action():
    """Pitfall 3."""
    learner = trained()
    learner.update(1)
    assert learner.stats()["action_sensitivity"] > 0.05
    for critic in (learner.algorithm.critic, learner.algorithm.critic_target):
        critic.parameters["w0"][:, learner.algorithm.architecture.inputs :] = 0.0
    assert learner.stats()["action_sensitivity"] < 1e-4


def test_looking_changes_nothing():
    """A run is the same with and without anyone reading the figures."""
    results = []
    for look in (False, True):
        learner = trained()
        learner.add(episodes(learner.settings, 4, first=12))
        for _ in range(5):
            learner.update(6)
            if look:
                learner.stats()
        results.append(learner.algorithm.state())
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)


def test_observed_returns_are_those_that_followed():
    """0 after the time ran out, too: where an arm is stuck nothing else says so (docs/learning.md, "The time limit's return")."""
    learner = trained()
    learner.replay.restore(make_learner().replay.arrays(), make_learner().replay.numbers())
    settings = learner.settings
    learner.replay.add(make_rows(settings, np.random.default_rng(0), 20, Ended.SUCCESS, 0, 0))
    learner.replay.add(make_rows(settings, np.random.default_rng(0), 20, Ended.TIME_LIMIT, 1, 20))
    observed = learner.replay.steps["observed"][np.arange(40)]
    np.testing.assert_allclose(observed[:20], settings.gamma ** np.arange(19, -1, -1), rtol=1e-5)
    learner.replay.add(make_rows(settings, np.random.default_rng(0), 20, Ended.FAILURE, 2, 40))
    np.testing.assert_array_equal(learner.replay.steps["observed"][20:60], 0.0)
    np.testing.assert_array_equal(learner.replay.steps["decided"][:60], np.repeat([True, False, True], 20))
    learner.replay.add(make_rows(settings, np.random.default_rng(0), 20, Ended.SUCCESS, 3, 60)[:-1])
    assert np.isnan(learner.replay.steps["observed"][60:79]).all()  # not known while it runs


def test_figures_of_returns_are_of_episodes_that_were_decided():
    learner = trained()
    learner.replay.restore(make_learner().replay.arrays(), make_learner().replay.numbers())
    assert "mean_q" in learner.stats() and "mean_q" not in make_learner().stats()  # nothing was learned yet
    learner.owed = 2.0
    learner.replay.add(make_rows(learner.settings, np.random.default_rng(0), 20, Ended.TIME_LIMIT, 0, 0))
    learner.update(1)
    assert np.isnan(learner.stats()["q_minus_return"]) and np.isnan(learner.stats()["mean_return"])
    learner.replay.add(make_rows(learner.settings, np.random.default_rng(0), 20, Ended.FAILURE, 1, 20))
    learner.update(1)
    assert learner.stats()["mean_return"] == 0.0


# --- checkpoints


@pytest.mark.slow
def test_checkpoint_continues_bit_for_bit(tmp_path):
    settings = small_settings()
    one = Learner(settings, PROPRIO, **SHA)
    one.add(episodes(settings, 12))
    one.update(37)
    one.weights()
    one.save(tmp_path)
    two = Learner(small_settings(seed=5), PROPRIO, **SHA)
    assert two.restore(tmp_path)
    for learner in (one, two):
        learner.add(episodes(settings, 6, seed=9, first=12))
        learner.update(200)
    assert (one.version, one.updates, one.owed, one.robot_seconds) == (two.version, two.updates, two.owed, two.robot_seconds)
    state = two.algorithm.state()
    for name, value in one.algorithm.state().items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)
    timing = ("updates_per_s", "updates_per_busy_s")
    first, second = ({k: v for k, v in learner.stats().items() if k not in timing} for learner in (one, two))
    assert first == second


def test_nothing_to_restore(tmp_path):
    assert make_learner().restore(tmp_path) is False


def test_half_a_checkpoint_is_never_taken(tmp_path):
    """The newest one damaged: the one before is used; all damaged: said so."""
    learner = trained()
    for _ in range(3):
        learner.save(tmp_path)
        learner.owed = 1.0
        learner.update(1)
    present = sorted(tmp_path.glob("checkpoint-*"))
    assert len(present) == 2
    newest = present[-1] / "replay.npz"
    newest.write_bytes(newest.read_bytes()[:1000])
    other = make_learner()
    assert other.restore(tmp_path)
    assert other.updates == learner.updates - 2
    (present[0] / "networks.safetensors").write_bytes(b"")
    with pytest.raises(OSError, match="no checkpoint in"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_of_format_version_1_is_continued_bit_for_bit(tmp_path):
    """It is of the same content under other names, but for what only figures need."""
    learner = trained()
    learner.add(episodes(learner.settings, 2, first=12))
    learner.save(tmp_path)
    (folder,) = tmp_path.glob("checkpoint-*")
    state = json.loads((folder / "state.json").read_text())
    assert state["format_version"] == 3
    state["format_version"], numbers = 1, state["learner"]
    numbers["steps_practised"] = numbers.pop("steps_after_warmup")
    (folder / "state.json").write_text(json.dumps(state))
    networks = safetensors.numpy.load_file(folder / "networks.safetensors")
    for name in ("actor", "critic"):
        networks[f"{name}_average"] = networks.pop(f"{name}_target")
    safetensors.numpy.save_file(networks, folder / "networks.safetensors")
    with np.load(folder / "replay.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "step.decided"}
    np.savez(folder / "replay.npz", **arrays)
    other = make_learner(seed=5)
    assert other.restore(tmp_path)
    assert other.steps_after_warmup == learner.steps_after_warmup > 0 and other.updates == learner.updates
    for one in (learner, other):
        one.owed = 20.0
        one.update(20)
    for name, value in learner.algorithm.state().items():
        np.testing.assert_array_equal(value, other.algorithm.state()[name], err_msg=name)


def test_a_checkpoint_of_a_format_to_come_is_refused(tmp_path):
    trained().save(tmp_path)
    (path,) = tmp_path.glob("checkpoint-*/state.json")
    path.write_text(path.read_text().replace('"format_version": 3', '"format_version": 4'))
    with pytest.raises(OSError, match="format version 4, this program reads 1 to 3"):
        make_learner().restore(tmp_path)


def test_checkpoint_of_another_robot_is_refused(tmp_path):
    trained().save(tmp_path)
    with pytest.raises(ParameterError, match="encoder_sha256 e+, this node has a+; write another run_directory"):
        Learner(small_settings(), PROPRIO, "a" * 64, SHA["vla_sha256"]).restore(tmp_path)
    with pytest.raises(ParameterError, match="hidden 32, this node has 64"):
        make_learner(hidden_size=64).restore(tmp_path)


@pytest.mark.parametrize("other", [{"critic_form": "linear"}, {"critic_layers": 3}, {"temporal_basis_size": 2}])
def test_checkpoint_of_other_networks_is_refused_and_nothing_taken(tmp_path, other):
    """These are in no exported actor's sizes: a learner that began again from such a run died, and was started again, for ever."""
    trained().save(tmp_path)
    learner = make_learner(**other)
    before = learner.algorithm.state()
    with pytest.raises(ParameterError, match="write its critic_form, critic_layers and temporal_basis_size, or another run_directory"):
        learner.restore(tmp_path)
    for name, value in learner.algorithm.state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)

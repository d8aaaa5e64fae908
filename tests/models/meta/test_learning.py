import dataclasses

import pytest
import torch

from models.errors import ModelError
from models.meta.baselines import PretrainingConfig, fine_tune, fine_tune_head, pretrain, with_new_head
from models.meta.episodes import EpisodeSampler, EpisodeShape
from models.meta.inner import RATE, InnerLoop
from models.meta.networks import LinearHead, Perceptron
from models.meta.outer import OuterConfig, OuterLoop, Reptile, evaluate
from models.meta.prototypes import Prototypes
from models.meta.tasks import Task, TaskBatch
from tests.models.meta import slow

NUM_FEATURES = 6
HEAD = LinearHead(num_features=NUM_FEATURES, ways=2)
MLP = Perceptron(num_features=NUM_FEATURES, num_hidden=16, ways=2)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _episodes(seed: int, num_tasks: int = 16) -> TaskBatch:
    """Draw tasks whose classes differ along the first axis alone; the others are loud and say nothing."""
    generator = _seeded(seed)
    y_TN = torch.arange(2).repeat(num_tasks, 10)
    signs_T1 = torch.randint(0, 2, (num_tasks, 1), generator=generator) * 2 - 1
    x_TND = torch.randn(num_tasks, 20, NUM_FEATURES, generator=generator) * 3
    x_TND[..., 0] = signs_T1 * (2 * y_TN - 1) + 0.3 * torch.randn(num_tasks, 20, generator=generator)
    return TaskBatch(x_TND[:, :4], y_TN[:, :4], x_TND[:, 4:], y_TN[:, 4:])


def _trained(network, learner, iterations=150):
    loop = OuterLoop(
        network, learner, learner.initial(network, _seeded(0)), OuterConfig(rate=0.02, tasks_at_once=16)
    )
    for number in range(iterations):
        loop.step(_episodes(number + 1))
    return loop.parameters


@pytest.mark.parametrize(
    ("network", "learner"),
    [
        (MLP, InnerLoop(steps=3, rate=0.1)),
        (MLP, InnerLoop(steps=3, rate=0.1, order=1)),
        (MLP, InnerLoop(steps=3, rate=0.1, adapts="head")),
        (HEAD, InnerLoop(steps=2, rate=0.1, rates="learned")),
        (MLP, Prototypes()),
        (MLP, Prototypes(metric="cosine", scale=10.0)),
    ],
    ids=["MAML", "first-order MAML", "ANIL", "Meta-SGD", "ProtoNet", "cosine ProtoNet"],
)
def test_what_is_learned_makes_new_tasks_easier(network, learner):
    before, new_tasks = learner.initial(network, _seeded(0)), _episodes(10_000, 200)
    gain = (
        evaluate(network, learner, _trained(network, learner), new_tasks).mean()
        - evaluate(network, learner, before, new_tasks).mean()
    )
    assert gain > 0.1


def test_reptile_moves_towards_the_mean_of_what_tasks_adapt_to():
    inner, parameters, batch = InnerLoop(steps=2, rate=0.1, order=1), HEAD.initial(_seeded(0)), _episodes(0)
    x_TN, y_TN = (
        torch.cat([batch.support_x, batch.query_x], 1),
        torch.cat([batch.support_y, batch.query_y], 1),
    )
    adapted = inner.adapt(HEAD, parameters, x_TN, y_TN)["head.weight"].mean(0).detach()
    reptile = Reptile(HEAD, inner, parameters, rate=0.25)
    reptile.step(batch)
    expected = 0.75 * parameters["head.weight"] + 0.25 * adapted
    torch.testing.assert_close(reptile.parameters["head.weight"], expected)


def test_a_step_does_not_depend_on_how_many_tasks_are_differentiated_at_once():
    parameters, batch = HEAD.initial(_seeded(0)), _episodes(0, 5)
    few = OuterLoop(HEAD, InnerLoop(), parameters, OuterConfig(tasks_at_once=2))
    all_ = OuterLoop(HEAD, InnerLoop(), parameters, OuterConfig(tasks_at_once=5))
    assert few.step(batch).loss == pytest.approx(all_.step(batch).loss, rel=1e-5)
    torch.testing.assert_close(few.parameters, all_.parameters)


def test_a_row_that_fills_up_a_batch_changes_nothing():
    x, y = torch.randn(6, NUM_FEATURES, generator=_seeded(0)), torch.tensor([0, 1, 0, 1, 0, 1])
    small, large = Task(x[:2], y[:2], x[2:4], y[2:4]), Task(x[:4], y[:4], x, y)
    parameters = HEAD.initial(_seeded(1))
    for learner in (InnerLoop(steps=2, rate=0.1), Prototypes()):
        alone = learner.query_scores(HEAD, parameters, TaskBatch.of([small]))
        together = learner.query_scores(HEAD, parameters, TaskBatch.of([small, large]))
        torch.testing.assert_close(together[0, :2], alone[0])


def test_anil_leaves_the_body_alone():
    adapted = InnerLoop(adapts="head").adapt(
        MLP, MLP.initial(_seeded(0)), _episodes(0).support_x, _episodes(0).support_y
    )
    assert torch.equal(adapted["hidden.weight"][0], MLP.initial(_seeded(0))["hidden.weight"])
    assert not torch.equal(adapted["head.weight"][0], adapted["head.weight"][1])


def test_learned_rates_start_from_the_rate():
    learned = InnerLoop(rate=0.25, rates="learned", adapts="head").initial(MLP, _seeded(0))
    assert {name for name in learned if name.startswith(RATE)} == {"rate.head.weight", "rate.head.bias"}
    assert bool((learned["rate.head.weight"] == 0.25).all())


def test_adapting_and_evaluating_leave_no_graph_on_shared_parameters():
    parameters = HEAD.initial(_seeded(0))
    accuracy_T = evaluate(HEAD, fine_tune(steps=3), parameters, _episodes(0))
    assert not accuracy_T.requires_grad
    assert not any(value.requires_grad for value in parameters.values())


@pytest.mark.parametrize("changed", [{"steps": -1}, {"rate": 0.0}, {"order": 3}])
def test_settings_out_of_their_range_are_refused(changed):
    with pytest.raises(ModelError, match=next(iter(changed))):
        dataclasses.replace(InnerLoop(), **changed)


def test_a_prototype_is_the_nearest_class_mean():
    support = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [4.0, 1.0]]])
    weight_TDC, bias_TC = Prototypes().affine(support, torch.tensor([[0, 0, 1]]))
    query = torch.tensor([1.9, 1.0]), torch.tensor([2.1, 1.0])
    assert [int((one @ weight_TDC[0] + bias_TC[0]).argmax()) for one in query] == [0, 1]


def test_euclidean_scores_differ_as_squared_distances_do():
    support, query = torch.randn(1, 3, 4, generator=_seeded(0)), torch.randn(5, 4, generator=_seeded(1))
    weight_TDC, bias_TC = Prototypes().affine(support, torch.arange(3)[None])
    distances = torch.cdist(query, support[0]).square()
    scores = query @ weight_TDC[0] + bias_TC[0]
    torch.testing.assert_close(scores.log_softmax(-1), (-distances).log_softmax(-1))


def test_pretraining_teaches_all_classes_and_a_new_head_keeps_the_body():
    batch = _episodes(0, 1)
    x, y = batch.query_x[0], batch.query_y[0]
    trained = pretrain(MLP, x, y, PretrainingConfig(iterations=100, rate=0.01), _seeded(0))
    as_task = TaskBatch(x[None], y[None], x[None], y[None])
    assert evaluate(MLP, InnerLoop(steps=0), trained, as_task).mean() > 0.9
    wider = Perceptron(num_features=NUM_FEATURES, num_hidden=16, ways=5)
    fresh = with_new_head(wider, trained, _seeded(1))
    assert torch.equal(fresh["hidden.weight"], trained["hidden.weight"])
    assert fresh["head.weight"].shape == (16, 5)


def test_fine_tuning_the_head_of_a_conv_net_learns_its_support_set():
    network, parameters, batch = slow.small_problem()
    onto_itself = TaskBatch(batch.support_x, batch.support_y, batch.support_x, batch.support_y)
    assert evaluate(network, fine_tune_head(steps=100, rate=0.5), parameters, onto_itself).mean() == 1.0


def test_episodes_of_a_data_set_feed_the_outer_loop():
    x, y = torch.randn(40, NUM_FEATURES, generator=_seeded(0)), torch.arange(4).repeat(10)
    batch = EpisodeSampler(x, y, EpisodeShape(ways=2)).draw(3, _seeded(0))
    progress = OuterLoop(HEAD, InnerLoop(), HEAD.initial(_seeded(0))).step(batch)
    assert 0.0 <= progress.accuracy <= 1.0
    assert progress.loss > 0.0

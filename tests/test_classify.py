"""Classifiers of latents learn what can be learned, nothing else, and count what they cost."""

import json
import shutil

import numpy as np
import pytest
import sklearn.metrics
import torch
from functa_clips import Clips
from hypothesis import given, settings
from hypothesis import strategies as st

from functa_core import Dataset, UserError, load_classifier, load_run
from functa_core.latents.classifiers import MLP, LatentClassifier, Logistic
from functa_core.latents.standardise import Standardiser
from functa_core.latents.training import (
    Budget,
    Contest,
    best_option,
    dropout,
    logits_of,
    validation_part,
)
from functa_core.tasks.base import NotApplicable
from functa_core.tasks.labels import Labelled
from functa_core.tasks.raw import Convolutional, ConvolutionSize, RawArrays, channel_statistics
from functa_core.tasks.scores import (
    accuracy,
    balanced_accuracy,
    confusion,
    flops_of,
    parameters_of,
)

COSTS = ("ms_per_item",)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def contest_of(labels, seeds=(1, 2, 3), drops=(0.0, 0.5), steps=150):
    held = validation_part(labels, 0.25, generator())
    return Contest(labels, held, Budget(steps, 32, 3e-3, 0.05), drops, seeds, torch.device("cpu"))


def rings(count, seed):
    """Two classes that no plane parts: near the origin and far from it."""
    labels = torch.arange(count) % 2
    points = torch.randn(count, 4, generator=generator(seed))
    points = points / points.norm(dim=1, keepdim=True)
    return points * (1 + 2.0 * labels[:, None]), labels


def blobs(count, seed, classes=3):
    labels = torch.arange(count) % classes
    centres = 6 * torch.eye(classes, 5)
    return centres[labels] + 0.3 * torch.randn(count, 5, generator=generator(seed)), labels


def test_classes_that_are_far_apart_are_told_without_an_error():
    train, labels = blobs(90, 0)
    test, truth = blobs(60, 1)
    contest = contest_of(labels)
    ticks: list[int] = []
    networks, _ = contest.enter(lambda drop: MLP(5, 3, 16, drop), train, ticks.append)
    assert all((logits_of(n, test).argmax(1) == truth).all() for n in networks)
    assert ticks == list(range(1, contest.steps + 1))  # to choose from two and for three seeds
    assert contest.steps == 5 * 150
    held = validation_part(labels, 0.25, generator())
    assert (Logistic.fit(train, labels, held).predict(test) == truth.numpy()).all()


def test_the_perceptron_tells_what_a_plane_cannot():
    train, labels = rings(120, 0)
    test, truth = rings(100, 1)
    networks, _ = contest_of(labels).enter(lambda drop: MLP(4, 2, 32, drop), train)
    assert all((logits_of(n, test).argmax(1) == truth).double().mean() > 0.97 for n in networks)
    fitted = Logistic.fit(train, labels, validation_part(labels, 0.25, generator()))
    assert np.mean(fitted.predict(test) == truth.numpy()) < 0.7


def test_shuffled_labels_give_chance():
    train, labels = blobs(120, 0)
    test, truth = blobs(300, 1)
    shuffled = labels[torch.randperm(len(labels), generator=generator(5))]
    seeds = tuple(range(6))
    networks, _ = contest_of(shuffled, seeds).enter(lambda drop: MLP(5, 3, 16, drop), train)
    right = np.mean([(logits_of(n, test).argmax(1) == truth).double().mean() for n in networks])
    assert abs(right - 1 / 3) < 0.2  # three clusters, so chance is coarse


def test_training_is_a_function_of_its_seed_and_leaves_the_global_generator_alone():
    train, labels = blobs(60, 0)
    before = torch.get_rng_state()
    first, second, other = (
        contest_of(labels, seeds=seeds, steps=20).enter(lambda drop: MLP(5, 3, 8, drop), train)[0]
        for seeds in ((4,), (4,), (5,))
    )
    assert torch.equal(torch.get_rng_state(), before)
    logits = [logits_of(networks[0], train) for networks in (first, second, other)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_options_are_chosen_by_accuracy_then_by_loss():
    truth = torch.tensor([0, 1])
    logits = {
        "wrong": torch.tensor([[0.0, 9.0], [0.0, 9.0]]),
        "unsure": torch.tensor([[0.1, 0.0], [0.0, 0.1]]),
        "sure": torch.tensor([[9.0, 0.0], [0.0, 9.0]]),
    }
    assert best_option(["wrong", "unsure", "sure"], logits.__getitem__, truth) == "sure"
    assert best_option(["wrong", "unsure"], logits.__getitem__, truth) == "unsure"


def test_dropout_keeps_the_mean_and_is_off_without_a_generator():
    ones = torch.ones(100, 100)
    assert torch.equal(dropout(ones, 0.5, None), ones)
    dropped = dropout(ones, 0.25, generator())
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)
    assert (dropped == 0).double().mean() == pytest.approx(0.25, abs=0.02)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=6), st.floats(0.01, 0.9))
def test_the_validation_part_has_some_but_not_all_of_every_class(counts, share):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    held = validation_part(labels, share, generator())
    for label, count in enumerate(counts):
        taken = int(held[labels == label].sum())
        assert 1 <= taken < count
        assert abs(taken - share * count) <= 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label was found")
def test_scores_are_those_of_scikit_learn(pairs):
    truth, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    counts = confusion(torch.from_numpy(truth), predicted, 5)
    assert accuracy(counts) == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    balanced = sklearn.metrics.balanced_accuracy_score(truth, predicted)
    assert balanced_accuracy(counts) == pytest.approx(balanced)
    wanted = sklearn.metrics.confusion_matrix(truth, predicted, labels=range(5))
    assert np.array_equal(counts, wanted)


def test_costs_are_those_counted_by_hand():
    network = MLP(6, 3, 10)
    assert parameters_of(network) == (6 + 1) * 10 + (10 + 1) * 10 + (10 + 1) * 3
    assert flops_of(network, torch.zeros(1, 6)) == 2 * (6 * 10 + 10 * 10 + 10 * 3)
    size = ConvolutionSize(rank=2, channels=3, classes=4, width=5)
    deep = Convolutional(size, torch.zeros(3), torch.ones(3), 0.0)
    convolutions = 8 * 8 * 9 * 3 * 5 + 4 * 4 * 9 * 5 * 10 + 2 * 2 * 9 * 10 * 20
    assert flops_of(deep, torch.zeros(1, 3, 16, 16)) == 2 * (convolutions + 20 * 4)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("wanted", [3_000, 40_000])
def test_the_convolutional_network_has_the_parameters_asked_for(rank, wanted):
    shape = (2, *[9] * rank)
    size = ConvolutionSize.nearest(shape, 7, wanted)
    network = Convolutional(size, torch.zeros(2), torch.ones(2), 0.0)
    assert size.parameters == parameters_of(network)
    assert 0.75 < parameters_of(network) / wanted < 1.33
    assert network(torch.zeros(3, *shape)).shape == (3, 7)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_convolutional_network_learns_where_something_is_bright(rank):
    """Whether there is a bright square, which is never at the same place."""
    draw = np.random.default_rng(0)
    arrays = 0.1 * draw.standard_normal((120, 1, *[10] * rank)).astype(np.float32)
    labels = torch.arange(120) % 2
    for array, label in zip(arrays, labels, strict=True):
        start = draw.integers(0, 7, rank)
        array[(0, *[slice(s, s + 3) for s in start])] += 2.0 * float(label)
    size = ConvolutionSize(rank, 1, 2, 4)
    contest = contest_of(labels[:80], seeds=(1,), drops=(0.0,), steps=120)
    (network,), _ = contest.enter(
        lambda drop: Convolutional(size, torch.zeros(1), torch.ones(1), drop),
        torch.from_numpy(arrays[:80]),
    )
    found = logits_of(network, torch.from_numpy(arrays[80:])).argmax(1)
    assert (found == labels[80:]).double().mean() > 0.95


def test_channels_are_measured_some_signals_at_a_time(monkeypatch):
    arrays = np.random.default_rng(0).normal(3.0, 2.0, (50, 2, 7)).astype(np.float32)
    arrays[:, 1] = 0.1  # which float32 rounds

    class Rows(Clips):
        def raw(self, signals):
            return torch.from_numpy(np.stack(signals))

    signals = Dataset([str(i) for i in range(50)], lambda i: arrays[i])
    monkeypatch.setattr("functa_core.tasks.raw.PART", 8)
    mean, std = channel_statistics(RawArrays(Rows.__new__(Rows), signals))
    torch.testing.assert_close(mean, torch.from_numpy(arrays.mean(axis=(0, 2))))
    torch.testing.assert_close(std, torch.tensor([arrays[:, 0].std(), 1.0]))


def test_a_classifier_is_the_same_after_saving(tmp_path):
    latents = torch.randn(30, 2, 3, generator=generator()) * 5 + 2
    standardiser = Standardiser.of(latents.flatten(1))
    kept = LatentClassifier(MLP(6, 3, 8), standardiser, ["a", "b", "c"], "ab" * 32)
    kept.save(tmp_path / "model.safetensors")
    back = load_classifier(tmp_path / "model.safetensors")
    assert torch.equal(back.probabilities(latents), kept.probabilities(latents))
    assert back.classify(latents) == kept.classify(latents)
    assert back.weights_sha256 == "ab" * 32
    assert kept.probabilities(latents).sum(1).allclose(torch.ones(30))
    with pytest.raises(UserError, match="for latents of 6 numbers, got 9"):
        back.classify(torch.zeros(2, 9))


def test_files_that_are_no_classifier_are_refused(tmp_path, clips_run):
    with pytest.raises(UserError, match="no classifier at"):
        load_classifier(tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    for path in (tmp_path / "text", clips_run / "weights.safetensors"):
        with pytest.raises(UserError, match="is no classifier"):
            load_classifier(path)


def dataset(labels, names=("a", "b", "c")):
    return Dataset([str(i) for i in range(len(labels or "12"))], lambda i: i, labels, names)


def test_unknown_labels_and_rare_classes_are_left_out():
    train = dataset([2, -1, 0, 0, 1, 2, 2, 0])
    found = Labelled.of(train, dataset([-1, 2, 1, 0]), least=2, drop_rare=True)
    assert found.names == ["a", "c"]
    assert found.left_out == ["b"]
    assert found.train.tolist() == [0, 2, 3, 5, 6, 7]
    assert found.train_labels.tolist() == [1, 0, 0, 1, 1, 0]
    assert (found.test.tolist(), found.test_labels.tolist()) == ([1, 3], [1, 0])


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (None, [0, 1], "no labels"),
        ([0, 0, 1, 1], None, "no labels"),
        ([0, 0, 1, 1, 2], [0, 1], r"'c' \(1\)"),
        ([0, 0, 1, 1], [2, 0], r"'c' \(0\)"),
        ([0, 0, 0, -1], [0], "1 class with"),
        ([-1, -1], [-1], "0 classes with"),
        ([0, 0, 1, 1], [-1, -1], "no test signal has a label"),
    ],
)
def test_what_cannot_be_classified_says_why(train, test, said):
    with pytest.raises(NotApplicable, match=said):
        Labelled.of(dataset(train), dataset(test), least=2, drop_rare=False)


@pytest.fixture(scope="module")
def labelled_run(tmp_path_factory, clips_run):
    return shutil.copytree(clips_run, tmp_path_factory.mktemp("labelled") / "run")


def classified(functa, run, *options):
    code, printed, err = functa("classify", "--run", run, *options)
    assert code == 0, err
    return json.loads(printed[printed.index("{") :])


def test_the_command_compares_and_keeps_its_classifier(labelled_run, functa):
    figures = classified(functa, labelled_run, "--set", "tasks.classify.steps=30")
    metrics = json.loads((labelled_run / "metrics.json").read_text())
    assert metrics["tasks"]["classify"] == figures
    assert (figures["seeds"], figures["classes"], figures["n_test"]) == (3, 2, 2)
    beside = figures["baseline"]
    assert list(beside) == ["majority", "pca_logistic_regression", "convolutional"]
    assert (beside["convolutional"]["rank"], beside["pca_logistic_regression"]["components"]) == (
        1,
        6,
    )
    keys = {"accuracy_mean", "accuracy_std", "balanced_accuracy"}
    keys |= {"parameters", "flops_per_item", "ms_per_item"}
    for one in (figures, figures["logistic_regression"], *beside.values()):
        assert keys <= set(one)
        assert 0 <= one["balanced_accuracy"] <= 1
    run = load_run(labelled_run)
    counts = np.bincount(run.functaset("train").labels, minlength=2)
    truth = run.functaset("test").labels.numpy()
    assert beside["majority"]["accuracy_mean"] == np.mean(truth == counts.argmax())
    kept = load_classifier(labelled_run / "tasks/classify/classifier.safetensors")
    assert set(kept.classify(run.functaset("test").latents)) <= {"low", "high"}
    assert kept.weights_sha256 == run.weights_sha256
    assert functa("report", "--run", labelled_run)[0] == 0
    assert "Task: classify" in (labelled_run / "report.html").read_text()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures(labelled_run, functa, tmp_path):
    def figures(name, *seed):
        quick = ("--set", "tasks.classify.steps=10", "--set", "tasks.classify.dropout=[0.3]")
        found = classified(functa, labelled_run, *quick, "--out", tmp_path / name, *seed)
        return json.loads(json.dumps(found), object_hook=without_times)

    first, second = figures("first"), figures("second")
    assert first == second
    name = "classifier.safetensors"
    weights = [(tmp_path / folder / name).read_bytes() for folder in ("first", "second")]
    assert weights[0] == weights[1]
    figures("third", "--seed", 9)
    assert (tmp_path / "third" / name).read_bytes() != weights[0]


def without_times(found):
    return {key: value for key, value in found.items() if key not in COSTS}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("seeds=2", "at least 3"),
        ("least=1", "at least 2"),
        ("least=30", "fewer than 30 training signals"),
        ("dropout=[]", "at least one share"),
        ("dropout=[1.5]", "at most 0.95"),
        ("validation=0", "greater than 0"),
        ("step=5", "Did you mean 'tasks.classify.steps'"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(clips_run, functa, option, said):
    code, _, err = functa("classify", "--run", clips_run, "--set", f"tasks.classify.{option}")
    assert code == 2
    assert said in err
    assert not (clips_run / "tasks" / "classify").exists()

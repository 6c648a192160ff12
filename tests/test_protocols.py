"""The views that each protocol fits and scores."""

import pytest
import torch

from functa_core import Observations
from functa_core.tasks.base import NotApplicable
from functa_core.tasks.protocols import PROTOCOLS, Grouped


def grouped(views, each, held_out=None):
    """A signal of so many views with so many observations each, the views' own in a row."""
    groups = torch.arange(views).repeat_interleave(each)[None]
    observations = Observations(
        queries=torch.zeros(views * each, 1),
        values=torch.zeros(1, views * each, 1),
        weights=torch.ones(1, views * each),
        groups=groups,
    )
    return Grouped(observations, held_out)


@pytest.mark.parametrize(("count", "views"), [(1, {63}), (2, {63, 127}), (4, {0, 31, 63, 127})])
def test_the_authors_protocol(count, views):
    signal, protocol = grouped(250, 3), PROTOCOLS["functa"]
    protocol.check(signal, count)
    assert set(signal.views(protocol.context(signal, count))) == views
    assert signal.views(protocol.scored(signal, count)) == [23, 55, 82, 119]
    assert int(protocol.scored(signal, count).sum()) == 12
    assert protocol.signals == 10


def test_the_authors_protocol_fits_to_1024_observations_of_each_view():
    signal = grouped(128, 3000)
    context = PROTOCOLS["functa"].context(signal, 2)
    places = torch.nonzero(context[0])[:, 0] - 63 * 3000
    assert int(context.sum()) == 2 * 1024
    first = places[:1024]
    assert first[0] == 0
    assert set(first.diff().tolist()) == {2, 3}  # of 3000, spread over the view


@pytest.mark.parametrize(("count", "views"), [(1, {64}), (2, {64, 104})])
def test_pixelnerfs_protocol_scores_all_other_views(count, views):
    signal, protocol = grouped(251, 2), PROTOCOLS["pixelnerf"]
    protocol.check(signal, count)
    assert set(signal.views(protocol.context(signal, count))) == views
    assert set(signal.views(protocol.scored(signal, count))) == set(range(251)) - views


def test_what_is_padding_is_in_no_context():
    signal = grouped(128, 4)
    weights = signal.seen.weights.clone()
    weights[0, 63 * 4 : 63 * 4 + 2] = 0
    signal.seen.weights.copy_(weights)
    assert int(PROTOCOLS["functa"].context(signal, 1).sum()) == 2


def test_spread_keeps_the_context_apart_from_what_is_held_out():
    held_out = (torch.arange(8).repeat_interleave(2) % 4 == 3)[None]
    signal, protocol = grouped(8, 2, held_out), PROTOCOLS["spread"]
    assert signal.views(protocol.context(signal, 2)) == [0, 4]
    assert torch.equal(protocol.scored(signal, 2), held_out)
    with pytest.raises(NotApplicable, match="only 6 beside"):
        protocol.check(signal, 7)


@pytest.mark.parametrize(
    ("name", "views", "count", "said"),
    [
        ("functa", 127, 2, "views up to 127, counted from 0, but a test signal has 127"),
        ("functa", 250, 3, "3 context views are asked for; this protocol has 1, 2, 4"),
        ("pixelnerf", 251, 4, "has 1, 2"),
        ("spread", 8, 1, "no views that could be held out"),
    ],
)
def test_signals_without_the_views_are_refused(name, views, count, said):
    with pytest.raises(NotApplicable, match=said):
        PROTOCOLS[name].check(grouped(views, 1), count)

"""The order from which --limit takes the first images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdbench.data import Dataset, Request, in_memory, sampled
from fdbench.data.sampling import ordered_by_class
from fdbench.errors import BadValue


def made(labels: list[int]) -> Dataset:
    """A data set whose image i is i everywhere."""
    x = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((8, 8, 3), np.uint8)
    return in_memory(Request("made", "test"), x, np.array(labels), max(labels) + 1)


BY_CLASS = [0] * 20 + [1] * 20 + [2] * 20


def test_a_balanced_sample_has_every_class_equally_often() -> None:
    data = sampled(made(BY_CLASS), "balanced")
    assert data.labels[:7].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert data.ids[:4] == (0, 20, 40, 1)


def test_classes_of_different_sizes_take_turns_until_they_are_used_up() -> None:
    data = sampled(made([0, 0, 0, 2, 1, 1]), "balanced")
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 0]
    assert data.ids == (0, 4, 3, 1, 5, 2)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60), st.sampled_from(["balanced", "random:3"])
)
def test_a_sample_is_the_same_images_in_another_order(labels: list[int], sample: str) -> None:
    data, again = made(labels), sampled(made(labels), sample)
    batch = again.fetch(range(len(again)))
    assert sorted(again.ids) == sorted(data.ids)
    assert again.fingerprint == data.fingerprint
    for x, label, image in zip(batch.x, batch.label, batch.ids, strict=True):
        assert round(float(x[0, 0, 0]) * 255) == image
        assert int(label) == labels[int(image)]


@pytest.mark.parametrize("labels", [BY_CLASS, [2] * 9 + [0] * 9 + [1] * 9, [0] * 99 + [1]])
def test_data_ordered_by_class_are_balanced_by_default(labels: list[int]) -> None:
    assert ordered_by_class(torch.tensor(labels))
    assert sampled(made(labels)).sample == "balanced"


@pytest.mark.parametrize("seed", range(10))
def test_shuffled_data_keep_their_order_by_default(seed: int) -> None:
    labels = torch.tensor(BY_CLASS)[
        torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    ]
    data = made(labels.tolist())
    assert sampled(data) is data


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0] * 30])
def test_one_class_and_single_images_have_no_order_by_class(labels: list[int]) -> None:
    assert not ordered_by_class(torch.tensor(labels))


def test_the_seed_of_a_random_sample_is_recorded() -> None:
    one, other = sampled(made(BY_CLASS), "random"), sampled(made(BY_CLASS), "random:1")
    assert (one.sample, other.sample) == ("random:0", "random:1")
    assert one.ids != other.ids
    assert one.ids == sampled(made(BY_CLASS), "random:0").ids


@pytest.mark.parametrize("sample", ["last", "random:x", "balanced:1", "random:-1", ""])
def test_an_unknown_sample_is_refused_with_those_allowed(sample: str) -> None:
    with pytest.raises(BadValue, match="first, balanced, random or random:SEED"):
        sampled(made(BY_CLASS), sample)


def test_data_are_sampled_once() -> None:
    with pytest.raises(BadValue, match="already"):
        sampled(sampled(made(BY_CLASS), "random"), "balanced")

import numpy as np

from fdbench import randomness

STORED = [0.349361777305603, 0.7158277630805969, 0.8791740536689758]
STORED_INTEGER = 88


def test_an_images_numbers_do_not_depend_on_its_batch() -> None:
    together = randomness.uniform(0, "start", [3, 1, 2], (5,))
    for row, image in zip(together, [3, 1, 2], strict=True):
        assert np.array_equal(row, randomness.uniform(0, "start", [image], (5,))[0])


def test_seed_stream_and_image_each_change_the_numbers() -> None:
    base = randomness.uniform(0, "a", [0], (4,))
    others: list[tuple[int, str, int | str]] = [
        (1, "a", 0),
        (0, "b", 0),
        (0, "a", 1),
        (0, "a", "x"),
    ]
    for seed, stream, image in others:
        assert not np.array_equal(base, randomness.uniform(seed, stream, [image], (4,)))


def test_numbers_stay_the_same_across_versions() -> None:
    numbers = randomness.uniform(0, "start", [7], (3,))[0]
    assert numbers.tolist() == STORED
    assert randomness.integer(0, "target", 7, 999) == STORED_INTEGER


def test_uniform_numbers_are_uniform_in_zero_one() -> None:
    numbers = randomness.uniform(0, "u", list(range(50)), (2001,)).ravel()
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, 10, (0, 1))[0]
    assert abs(counts / numbers.size - 0.1).max() < 0.005


def test_a_permutation_has_each_number_once() -> None:
    order = randomness.permutation(0, "epoch-1", 1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert not np.array_equal(order, randomness.permutation(0, "epoch-2", 1000))


def test_the_global_generator_is_unchanged() -> None:
    before = str(np.random.get_state())
    randomness.uniform(0, "u", [0], (4,))
    assert str(np.random.get_state()) == before

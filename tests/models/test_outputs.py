"""What networks return that is not logits, and what to write instead."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Linear
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError
from fdbench.models.outputs import logits_of

X = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))


class Returning(nn.Module):
    """Returns what a function makes of a linear network's logits."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.change = Linear(5, 8, 0), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.linear(x))


def test_logits_are_returned_without_a_graph() -> None:
    net = Linear(5, 8, 0)
    logits = logits_of(net, X, "net.py:load")
    assert torch.equal(logits, net(X))
    assert not logits.requires_grad


CASES: list[tuple[Callable[[Tensor], Any], str, str]] = [
    (lambda y: (y, None), "a tuple of (4, 5) float32, None", "return self.net(x)[0]"),
    (lambda y: [y.sum(), y], "a list of () float32, (4, 5) float32", "return self.net(x)[1]"),
    (lambda y: {"loss": y.sum(), "logits": y}, "a dict with 'loss'", "self.net(x)['logits']"),
    (lambda y: {"out": y}, "a dict with 'out': (4, 5) float32", "return self.net(x)['out']"),
    (lambda y: None, "returns None", "returns a tensor (B, C)"),
    (lambda y: y[:, :, None, None], "returns (4, 5, 1, 1) float32", "torch.nn.Flatten()"),
    (lambda y: y.argmax(1), "returns (4,) int64", "Classes have no gradient"),
    (lambda y: y[:2], "returns (2, 5) float32", "a row for each image"),
    (lambda y: y.sum(), "returns () float32", "a row for each image"),
]


@pytest.mark.parametrize(("change", "shown", "advice"), CASES)
def test_anything_but_logits_is_described_with_what_to_write(
    change: Callable[[Tensor], Any], shown: str, advice: str
) -> None:
    with pytest.raises(FdbenchError) as caught:
        logits_of(Returning(change), X, "net.py:load")
    assert caught.value.message.startswith("net.py:load returns ")
    assert shown in caught.value.message
    assert advice in caught.value.message


def test_the_code_in_the_error_makes_a_network() -> None:
    net = Returning(lambda y: (None, y))
    with pytest.raises(FdbenchError) as caught:
        logits_of(net, X, "net.py:load")
    names: dict[str, Any] = {"torch": torch}
    exec(caught.value.message.partition("\n\n")[2], names)
    assert torch.equal(logits_of(names["Logits"](net), X, "net.py:load"), net.linear(X))


def test_a_network_that_fails_shows_its_line_and_the_images() -> None:
    with pytest.raises(FdbenchError) as caught:
        logits_of(Linear(5, 16, 0), X, "net.py:load")
    message = caught.value.message
    assert message.startswith("net.py:load on images (4, 3, 8, 8), float32 in [0, 1] failed:")
    assert "return self.fc((x - 0.5).flatten(1))" in message
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in message
    assert "fdbench.Preprocessed(net, px, mean, std)" in message
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_running_out_of_memory_stays_what_it_is() -> None:
    def full(y: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        logits_of(Returning(full), X, "net.py:load")


def test_a_networks_own_message_is_kept() -> None:
    def refuse(y: Tensor) -> Tensor:
        raise BadValue("whole pixels only")

    with pytest.raises(BadValue, match=r"^whole pixels only$"):
        logits_of(Returning(refuse), X, "net.py:load")

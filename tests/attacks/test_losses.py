import pytest
import torch

from fdbench.attacks.catalogue import LOSSES
from fdbench.errors import BadValue

LOGITS = torch.tensor([[3.0, 1.0, 0.5, -1.0], [0.0, 2.0, 5.0, 1.0]])
LABEL = torch.tensor([0, 1])
TARGET = torch.tensor([2, 0])


def test_the_losses_are_the_published_formulas() -> None:
    assert torch.allclose(LOSSES["margin"](LOGITS, LABEL, None), torch.tensor([1 - 3.0, 5 - 2.0]))
    assert torch.allclose(LOSSES["margin"](LOGITS, LABEL, TARGET), torch.tensor([0.5 - 3, 0 - 5.0]))
    dlr = torch.tensor([-(3 - 1) / (3 - 0.5), -(2 - 5) / (5 - 1.0)])
    assert torch.allclose(LOSSES["dlr"](LOGITS, LABEL, None), dlr)
    targeted = torch.tensor([-(3 - 0.5) / (3 - (0.5 - 1) / 2), -(2 - 0) / (5 - (1 + 0) / 2)])
    assert torch.allclose(LOSSES["dlr"](LOGITS, LABEL, TARGET), targeted)
    log_p = LOGITS.log_softmax(1)
    assert torch.allclose(LOSSES["ce"](LOGITS, LABEL, None), -log_p[[0, 1], LABEL])
    assert torch.allclose(LOSSES["ce"](LOGITS, LABEL, TARGET), log_p[[0, 1], TARGET])


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("target", [None, TARGET])
def test_ascending_a_loss_makes_the_network_more_wrong(
    name: str, target: torch.Tensor | None
) -> None:
    logits = LOGITS.clone().requires_grad_()
    (grad,) = torch.autograd.grad(LOSSES[name](logits, LABEL, target).sum(), logits)
    if target is None:
        assert (grad.gather(1, LABEL[:, None]) < 0).all()
    else:
        assert (grad.gather(1, target[:, None]) > 0).all()


def test_dlr_refuses_too_few_classes() -> None:
    with pytest.raises(BadValue, match="needs 3 classes"):
        LOSSES["dlr"](LOGITS[:, :2], LABEL, None)
    with pytest.raises(BadValue, match="needs 4 classes"):
        LOSSES["dlr"](LOGITS[:, :3], LABEL, TARGET)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(BadValue, match="no loss 'cw'"):
        LOSSES["cw"]

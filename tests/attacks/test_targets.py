from pathlib import Path

import pytest
import torch
from conftest import Linear, frozen
from torch import nn

from fdbench.attacks.targets import (
    CHOOSERS,
    choose_targets,
    draw_targets,
    from_file,
    given,
    least_likely,
)
from fdbench.errors import BadValue, FdbenchError
from fdbench.specs.attack import TARGETS
from fdbench.types import Batch


def written(folder: Path, text: str) -> Path:
    path = folder / "targets.csv"
    path.write_text(text)
    return path


def test_drawn_targets_are_wrong_and_every_wrong_class_occurs() -> None:
    label = torch.arange(3).repeat(100)
    many = Batch(torch.zeros((300, 3, 2, 2)), label, tuple(range(300)))
    target = draw_targets(many, 3, seed=0)
    assert (target != label).all()
    assert {(int(a), int(b)) for a, b in zip(label, target, strict=True)} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }


def test_the_least_likely_target_has_the_lowest_logit_of_the_wrong_classes(
    tiny_net: nn.Module, batch: Batch
) -> None:
    logits = tiny_net(batch.x)
    lowest = logits.argmin(1)
    batch = Batch(batch.x, torch.where(torch.arange(12) < 4, lowest, batch.label), batch.ids)
    target = least_likely(tiny_net, batch)
    for image in range(12):
        order = [c for c in logits[image].argsort().tolist() if c != int(batch.label[image])]
        assert int(target[image]) == order[0]


def test_a_files_targets_belong_to_its_images_in_any_order(tmp_path: Path, batch: Batch) -> None:
    ids = (3, "0007", "cat/a b", "17")
    wanted = from_file(written(tmp_path, "image,target\n17,4\n0007,1\n\n3,0\ncat/a b, 2\n5,0\n"))
    assert wanted == {17: 4, "0007": 1, 3: 0, "cat/a b": 2, 5: 0}
    label = torch.tensor([1, 0, 0, 0])
    assert given(wanted, ids, label, classes=5).tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with ''"),
        ("17,3\n", "must start with the line image,target"),
        ("image,target\n17,three\n", "line 2: '17,three'"),
        ("image,target\n17,3\n18\n", "line 3: '18'"),
        ("image,target\n17,-1\n", "line 2: '17,-1'"),
        ("image,target\n17,3\n17,4\n", "line 3: image 17 has a target already"),
    ],
)
def test_a_malformed_file_of_targets_is_refused_by_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        from_file(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match=r"none\.csv can't be read"):
        from_file(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FdbenchError, match=r"binary\.csv can't be read"):
        from_file(tmp_path / "binary.csv")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({0: 1}, "no target is given for 1, 2, 3, 4, 5 and 1 more"),
        (dict.fromkeys(range(7), 5), "only classes 0 to 4 can be targets; .* for 0, 1, "),
        (dict.fromkeys(range(7), 2), "is the true label for 2, 6"),
    ],
)
def test_invalid_targets_are_refused(wanted: dict[int | str, int], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        given(wanted, tuple(range(7)), torch.tensor([0, 3, 2, 0, 3, 4, 2]), classes=5)


def test_every_kind_of_targets_in_a_spec_can_be_chosen(batch: Batch) -> None:
    net = frozen(Linear(5, 8, seed=0))
    assert set(CHOOSERS) == set(TARGETS)
    wanted: dict[int | str, int] = {i: (int(label) + 1) % 5 for i, label in enumerate(batch.label)}
    for kind in TARGETS:
        assert (choose_targets(kind, batch, 5, 0, net, wanted) != batch.label).all()
    assert torch.equal(choose_targets("file", batch, 5, 0, net, wanted), (batch.label + 1) % 5)
    with pytest.raises(BadValue, match="no kind of targets 'worst'"):
        choose_targets("worst", batch, 5, 0, net)

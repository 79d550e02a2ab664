"""A competition's defense is a victim like any network, but has no gradients."""

from pathlib import Path

import pytest
import torch
from test_make import plan, silent
from torch import nn

from fdbench.attacks.replay import Replay
from fdbench.blackbox.make import make_set
from fdbench.data.open import open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation.classify import side
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.loop import evaluate
from fdbench.models.load import Model, open_model
from fdbench.store import AdvSet, Workspace
from fdbench.store.runs import read_run

# Class 0 is dark, class 9 is bright; the competition counts from 1.
DEFENSE = """\
#!/usr/bin/env python3
import sys
from pathlib import Path
import numpy as np
from PIL import Image
with open(sys.argv[2], "w") as out:
    for path in sorted(Path(sys.argv[1]).iterdir()):
        mean = np.asarray(Image.open(path)).mean() / 255
        out.write(f"{path.name},{min(9, int(10 * mean)) + 1}\\n")
"""
BROKEN = "#!/bin/sh\necho sorry; exit 3\n"


class Brightness(nn.Module):
    """The same defense in torch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tenth = (10 * (255 * x).round().mean((1, 2, 3)).double() / 255).int().clamp(max=9)
        return nn.functional.one_hot(tenth.long(), 10).float()


def folder(where: Path, script: str = DEFENSE) -> Path:
    where.mkdir()
    (where / "run_defense.sh").write_text(script)
    (where / "run_defense.sh").chmod(0o755)
    return where


def verdicts(model: Model, adv_set: AdvSet, results: Path) -> list[tuple[int, dict[str, int]]]:
    data = open_data("fashion-mini", "test")
    job = Evaluation(
        model, data, Replay(adv_set), adv_set.spec, Workspace(results), torch.device("cpu"),
        limit=20, batch_size=10,
    )  # fmt: skip
    rows = read_run(evaluate(job, silent)).rows
    return [(row["clean"], row["pred"]) for row in sorted(rows, key=lambda row: row["image"])]


def test_a_defense_gets_the_verdicts_of_the_same_network_in_torch(tmp_path: Path) -> None:
    adv_set = AdvSet.open(Workspace(tmp_path), make_set(plan(tmp_path, limit=20), silent).name)
    theirs = open_model(f"defense:{folder(tmp_path / 'bright')}", Workspace(tmp_path))
    net = Model("bright", "test:Brightness", Brightness().eval(), "0" * 64, None)
    wanted = verdicts(net, adv_set, tmp_path)
    assert verdicts(theirs, adv_set, tmp_path) == wanted
    assert len({clean for clean, _ in wanted}) > 2


def test_an_image_without_an_answer_is_wrong_whatever_its_label_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forgetful = DEFENSE.replace("mean =", "if '1.png' in path.name: continue\n        mean =")
    model = open_model(f"defense:{folder(tmp_path / 'd', forgetful)}", Workspace(tmp_path))
    logits = model.net(torch.zeros(3, 3, 4, 4))
    assert logits.argmax(1).tolist() == [0, 1000, 0]
    assert "1 images without an answer count as wrong" in capsys.readouterr().err


def test_a_defense_is_identified_by_its_files_not_by_its_path(tmp_path: Path) -> None:
    one = open_model(f"defense:{folder(tmp_path / 'one')}", Workspace(tmp_path))
    same = open_model(f"defense:{folder(tmp_path / 'same')}", Workspace(tmp_path))
    other = open_model(f"defense:{folder(tmp_path / 'other', DEFENSE + '#')}", Workspace(tmp_path))
    assert one.weights == same.weights != other.weights


def test_unsupported_uses_of_a_defense_are_refused(tmp_path: Path) -> None:
    model = open_model(f"defense:{folder(tmp_path / 'd')}", Workspace(tmp_path))
    with pytest.raises(BadValue, match="no gradients"):
        model.net(torch.zeros(1, 3, 4, 4, requires_grad=True))
    with pytest.raises(BadValue, match="between whole pixels"):
        model.net(torch.full((1, 3, 4, 4), 0.501))
    broken = open_model(f"defense:{folder(tmp_path / 'b', BROKEN)}", Workspace(tmp_path))
    with pytest.raises(FdbenchError, match=r"(?s)exit code 3.*sorry"):
        broken.net(torch.zeros(1, 3, 4, 4))
    with pytest.raises(BadValue, match=r"run its run_defense\.sh"):
        side(model, 299)
    with pytest.raises(FdbenchError, match="no folder"):
        open_model("defense:nowhere", Workspace(tmp_path))

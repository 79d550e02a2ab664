from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from click.testing import CliRunner

from fdbench.commands.train import train as command
from fdbench.errors import BadValue
from fdbench.models.checkpoint import load_card
from fdbench.specs.model import ModelSpec
from fdbench.specs.training import SMALL, TrainSpec
from fdbench.store.workspace import Workspace
from fdbench.training.settings import Settings, resolve
from fdbench.training.start import DataSource, train_network

TINY = ModelSpec("r20", width=2, classes=10, px=28)


def silent(text: str) -> None:
    pass


def test_the_settings_are_the_fields_of_the_spec_but_the_data() -> None:
    wanted = {field.name for field in fields(TrainSpec)} - {"data"}
    assert set(get_type_hints(Settings)) == wanted


def test_every_setting_of_the_spec_but_the_data_is_an_option_of_the_command() -> None:
    assert set(get_type_hints(Settings)) <= {option.name for option in command.params}


def test_given_settings_win_over_the_recipe_and_the_recipe_over_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = resolve(TINY, "fashion-mini", {"norm": "linf"})
    assert usual == TrainSpec(data="fashion-mini", **SMALL)
    big = ModelSpec("r50", classes=1000, px=224)
    assert resolve(big, "folder:x", {"seed": None}) == TrainSpec(data="folder:x")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "r20-w2.toml").write_text(
        'summary = "x"\n[model]\narch = "r20"\nwidth = 2\n'
        '[train.fashion-mini]\neps = "4/255"\nepochs = 7\n'
    )
    monkeypatch.chdir(tmp_path)
    spec = resolve(TINY, "fashion-mini", {"epochs": 3, "alpha": "1px"})
    assert (spec.eps, spec.epochs, spec.alpha) == (4 / 255, 3, 1 / 255)
    assert spec.attack_iters == SMALL["attack_iters"]
    assert resolve(TINY, "npz:x", {"norm": "linf"}).epochs == SMALL["epochs"]


def test_small_images_have_the_fast_recipe_where_no_attack_or_schedule_is_chosen() -> None:
    fast = resolve(TINY, "npz:x", {"recipe": "fast", "epochs": 3, "seed": 7})
    assert resolve(TINY, "npz:x", {"epochs": 3, "seed": 7, "clean": False}) == fast
    for chosen in ({"attack_iters": 10}, {"drops": (0.5,)}, {"clean": True}, {"eps": "4/255"}):
        assert resolve(TINY, "npz:x", chosen).recipe == ""  # type: ignore[arg-type]
    assert resolve(ModelSpec("r50", classes=1000, px=224), "npz:x", {}).recipe == ""
    assert resolve(ModelSpec("r20", classes=10, px=28), "fashion-mini", {}).recipe == ""  # its own


@pytest.mark.parametrize("eps", ["auto", "8", 8, 0.0])
def test_an_invalid_size_is_refused_as_text_and_as_a_number(eps: str | float) -> None:
    with pytest.raises(BadValue, match="--eps"):
        resolve(TINY, "fashion-mini", {"eps": eps})
    assert resolve(TINY, "fashion-mini", {"eps": 8 / 255}).eps == 8 / 255


def test_training_from_python_needs_no_command(tmp_path: Path) -> None:
    messages: list[str] = []
    path = train_network(
        ModelSpec("r20", width=2),
        DataSource(),
        workspace=Workspace(tmp_path),
        device=torch.device("cpu"),
        say=messages.append,
        epochs=1,
        batch_size=500,
        clean=True,
    )
    card = load_card(path)[1]
    assert path == tmp_path / "checkpoints" / "r20-w2.safetensors"
    assert card.spec == TINY
    assert messages[0].endswith("on clean images, without an attack")
    assert list(card.log[0]) == [
        "epoch",
        "loss",
        "train_accuracy",
        "held_out_clean",
        "images_per_second",
        "peak_mb",
    ]
    assert 10 < card.log[0]["peak_mb"] < 100_000


def test_attack_settings_are_refused_in_clean_training_before_data_are_opened(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadValue, match="--attack-iters has nothing to act on"):
        train_network(
            TINY,
            DataSource("no such data"),
            workspace=Workspace(tmp_path),
            device=torch.device("cpu"),
            say=silent,
            clean=True,
            attack_iters=3,
        )


def test_eps_auto_is_refused_by_the_command(tmp_path: Path) -> None:
    words = ["--arch", "r20", "--eps", "auto", "--results", str(tmp_path)]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert "is not a size" in result.output
    assert list(tmp_path.iterdir()) == []

"""What type checkers, help() and dir() show of fdbench to its users."""

import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fdbench

_SCRIPT = """
import fdbench
import torch

net: torch.nn.Module = fdbench.load_model("r20")
x, y = torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64)
adv: torch.Tensor = fdbench.pgd(net, x, y, eps=8 / 255, iters=10)
run: fdbench.Run = fdbench.evaluate(net, "cifar10", "pgd", eps="8/255", limit=100, iters=(10,))
small = fdbench.Preprocessed(net, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
images: fdbench.Dataset = fdbench.open_data("cifar10", "test")

fdbench.pgd(1, y, y, eps=8 / 255, iters=10)  # arg-type
fdbench.pgd(net, x, y, eps=8 / 255, iters=10, nonsense=3)  # call-arg
fdbench.pgd(net, x, y, eps="8/255", iters=10)  # arg-type
fdbench.autoattack(net, x, y)  # call-arg
fdbench.train("r20", epochs="many")  # arg-type
fdbench.transfer(net, x, eps=0.1)  # arg-type
fdbench.fgsm(net, x, y)  # attr-defined
word: str = fdbench.open_data("cifar10")  # assignment
"""


def test_mypy_strict_sees_the_types_from_outside(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = re.findall(r"^script\.py:(\d+): error: .*\[(.+)\]$", done.stdout, re.MULTILINE)
    lines = _SCRIPT.splitlines()
    wanted = [(str(n), line.split("# ")[1]) for n, line in enumerate(lines, 1) if "# " in line]
    assert found == wanted, done.stdout


def test_help_and_dir_show_every_name_with_its_signature() -> None:
    assert set(fdbench.__all__) <= set(dir(fdbench))
    command = [sys.executable, "-c", "import fdbench; help(fdbench)"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in fdbench.__all__:
        assert re.search(rf"^ +(class )?{name}\(", shown, re.MULTILINE), name
    assert "Returns the last iterate of PGD" in shown


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="fgsm"):
        operator.attrgetter("fgsm")(fdbench)

"""What Python users hand in by mistake: each error names it, and the line that converts it.

In a process of its own: the tests check annotations at run time, users don't.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json
import sys

sys.path[:0] = {folders!r}
import numpy as np
import torch
from conftest import Small, frozen

import fdbench

net = frozen(Small(classes=5))
x, y = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])


def tried(net=net, x=x, labels=y, **changes):
    try:
        fdbench.pgd(net, x, labels, eps=8 / 255, iters=1, **changes)
    except fdbench.FdbenchError as error:
        return error.format_message()
    return "attacked"


class Pair(torch.nn.Module):
    def forward(self, x):
        return net(x), x


nhwc = x.permute(0, 2, 3, 1).numpy()
said = {{
    "right": tried(),
    "numpy": tried(x=x.numpy()),
    "nhwc": tried(x=(255 * nhwc).astype("uint8")),
    "tensor nhwc": tried(x=x.permute(0, 2, 3, 1)),
    "single": tried(x=x[0]),
    "single hwc": tried(x=nhwc[0]),
    "grey": tried(x=x[:, :1]),
    "float64": tried(x=x.double()),
    "uint8": tried(x=(255 * x).byte()),
    "0 to 255": tried(x=255 * x),
    "normalised": tried(x=2 * x - 1),
    "flat": tried(x=x.flatten(1)),
    "none": tried(x=x[:0], labels=y[:0]),
    "list of images": tried(x=[x]),
    "list of labels": tried(labels=[0, 1, 2, 3]),
    "numpy labels": tried(labels=y.numpy()),
    "int32": tried(labels=y.int()),
    "one-hot": tried(labels=torch.nn.functional.one_hot(y, 5)),
    "few": tried(labels=y[:2]),
    "from 1": tried(labels=y + 2),
    "negative": tried(labels=y - 1),
    "targets": tried(targeted=True, targets=[1, 2, 3, 4]),
    "name": tried(net="r20"),
    "training": tried(net=Small(classes=5).train()),
    "pair": tried(net=Pair().eval()),
}}
try:
    fdbench.evaluate(net, x)
except fdbench.FdbenchError as error:
    said["data"] = error.format_message()
try:
    fdbench.transfer([net], nhwc, eps=8 / 255)
except fdbench.FdbenchError as error:
    said["transfer"] = error.format_message()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    script = _SCRIPT.format(folders=[str(Path(__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        cwd=tmp_path_factory.mktemp("user"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown: dict[str, str] = json.loads(done.stdout)
    return shown


_IMAGES = "images are a float32 tensor (B, 3, H, W), RGB in [0, 1]; got "
_LABELS = "labels must be an int64 tensor (B,)"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("right", "attacked"),
        ("numpy", _IMAGES + "a numpy array (4, 3, 8, 8), float32.\nx = torch.from_numpy(x)"),
        (
            "nhwc",
            _IMAGES + "a numpy array (4, 8, 8, 3), uint8.\n"
            "x = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255",
        ),
        (
            "tensor nhwc",
            _IMAGES + "a tensor (4, 8, 8, 3), float32.\nx = x.permute(0, 3, 1, 2)",
        ),
        ("single", _IMAGES + "a tensor (3, 8, 8), float32.\nx = x[None]"),
        (
            "single hwc",
            _IMAGES + "a numpy array (8, 8, 3), float32.\n"
            "x = torch.from_numpy(x).permute(2, 0, 1)[None]",
        ),
        ("grey", _IMAGES + "a tensor (4, 1, 8, 8), float32.\nx = x.expand(-1, 3, -1, -1)"),
        ("float64", _IMAGES + "a tensor (4, 3, 8, 8), float64.\nx = x.float()"),
        ("uint8", _IMAGES + "a tensor (4, 3, 8, 8), uint8.\nx = x.float() / 255"),
        ("flat", _IMAGES + "a tensor (4, 192), float32."),
        ("none", _IMAGES + "a tensor (0, 3, 8, 8), float32."),
        ("list of images", _IMAGES + "a list."),
        ("list of labels", f"{_LABELS}, got a list.\nlabels = torch.tensor(labels).long()"),
        (
            "numpy labels",
            f"{_LABELS}, got a numpy array (4,), int64.\nlabels = torch.from_numpy(labels).long()",
        ),
        ("int32", f"{_LABELS}, got a tensor (4,), int32.\nlabels = labels.long()"),
        ("one-hot", f"{_LABELS}, got a tensor (4, 5), int64.\nlabels = labels.argmax(1)"),
        ("few", f"{_LABELS}, one for each of 4 images; got a tensor (2,), int64."),
        ("from 1", "labels go from 2 to 5, the network has classes 0 to 4."),
        ("negative", "labels go from -1 to 2, the network has classes 0 to 4."),
        (
            "targets",
            "targets must be an int64 tensor (B,), got a list.\n"
            "targets = torch.tensor(targets).long()",
        ),
        ("name", "net is 'r20', not a network.\nGive fdbench.load_model('r20')"),
    ],
)
def test_what_is_not_images_or_labels_is_refused_with_the_line_that_converts_it(
    said: dict[str, str], given: str, error: str
) -> None:
    assert said[given] == error


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("0 to 255", "divide by 255"),
        ("normalised", "normalised already"),
        ("training", "Call net.eval()"),
        ("pair", "Pair returns a tuple of (1, 5) float32, (1, 3, 8, 8) float32, not logits"),
        ("data", "data is a tensor (4, 3, 8, 8), float32, not the name of a data set"),
        ("transfer", "x = torch.from_numpy(x).permute(0, 3, 1, 2)"),
    ],
)
def test_other_mistakes_are_named_too(said: dict[str, str], given: str, words: str) -> None:
    assert words in said[given]

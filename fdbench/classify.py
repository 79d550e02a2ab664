"""A folder of images in, `filename,label` lines out: what CAAD 2018 asked of a defence.

Source: Xie et al. 2019, released code: the whole image is resized to the network's size, bicubic,
without a crop, and the class with the highest logit is the answer.

What is known is kept in a journal beside the output, a line an image, so that the same command
continues wherever it was stopped; the output itself appears when all of it is there.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from fdbench.console import progress
from fdbench.datasets.files import ENDINGS, open_rgb
from fdbench.errors import BadValue, FdbenchError
from fdbench.files import write_atomically, writing
from fdbench.judge import predict
from fdbench.models.load import Model

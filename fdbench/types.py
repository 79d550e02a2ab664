"""The shapes that travel between modules, named once."""

from jaxtyping import Float32, Int64
from torch import Tensor

Images = Float32[Tensor, "B 3 H W"]  # RGB in [0, 1], contract C1
Logits = Float32[Tensor, "B C"]
Labels = Int64[Tensor, " B"]

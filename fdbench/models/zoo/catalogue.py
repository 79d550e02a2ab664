"""Other people's networks: the prefix of a reference, and what opens the rest of it."""

from collections.abc import Callable

from fdbench.models.zoo.foreign import Foreign
from fdbench.models.zoo.timm import from_timm
from fdbench.models.zoo.torchvision import from_torchvision

# prefix of a reference: what opens the rest of it
FOREIGN: dict[str, Callable[[str], Foreign]] = {"tv": from_torchvision, "timm": from_timm}

from .caad import LABEL_BASE, read_classes
from .folder import ENDINGS, open_rgb
from .memory import to_images
from .open import DATA, Augment, Dataset, check_images, open_data

__all__ = [
    "DATA",
    "ENDINGS",
    "LABEL_BASE",
    "Augment",
    "Dataset",
    "check_images",
    "open_data",
    "open_rgb",
    "read_classes",
    "to_images",
]

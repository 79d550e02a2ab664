from .caad import LABEL_BASE, caad_targets, open_caad, read_classes
from .catalogue import DATA, DataKind
from .claimed import Claimed, read_claimed
from .dataset import SPLITS, Augment, Dataset, Request
from .folder import ENDINGS, open_folder, open_rgb
from .imagenet import open_imagenet
from .joined import joined
from .memory import in_memory, to_images
from .named import open_fashion_mini, open_fashion_mnist, open_torchvision
from .npz import UNREADABLE_NPZ, open_npz
from .open import check_images, open_data
from .sampling import sampled

__all__ = [
    "DATA",
    "ENDINGS",
    "LABEL_BASE",
    "SPLITS",
    "UNREADABLE_NPZ",
    "Augment",
    "Claimed",
    "DataKind",
    "Dataset",
    "Request",
    "caad_targets",
    "check_images",
    "in_memory",
    "joined",
    "open_caad",
    "open_data",
    "open_fashion_mini",
    "open_fashion_mnist",
    "open_folder",
    "open_imagenet",
    "open_npz",
    "open_rgb",
    "open_torchvision",
    "read_claimed",
    "read_classes",
    "sampled",
    "to_images",
]

"""Making sets of adversarial images from surrogates, submissions or folders, without the victim."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""One renderer a file, each of the one model in document.py; formats.py lists them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

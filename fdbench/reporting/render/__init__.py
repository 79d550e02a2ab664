"""One renderer per file, all for the Report of document.py; formats.py lists them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""One renderer a file, each of the one model in document.py; formats.py lists them."""

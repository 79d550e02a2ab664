from .csv_tables import csv_text
from .html_page import page_text
from .json_tables import json_text
from .latex import latex_text
from .markdown import markdown_text
from .terminal import terminal_text

__all__ = [
    "csv_text",
    "json_text",
    "latex_text",
    "markdown_text",
    "page_text",
    "terminal_text",
]

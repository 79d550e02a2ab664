"""The report as one self-contained page that opens from disk: no request leaves it.

The templates, the style, the script and the charts' library lie in page/. Text of strangers is
printable (`one_line`) and escaped: as HTML by Jinja, as data by `_json`.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from fdbench.printable import one_line
from fdbench.reporting.all_or_nothing import victims
from fdbench.reporting.document import Report
from fdbench.reporting.page.charts import (
    Chart,
    against_attackers,
    against_eps,
    against_iterations,
    when_broken,
)
from fdbench.reporting.page.fates import one_by_one, what_broke
from fdbench.reporting.page.leaderboard import leaderboards
from fdbench.reporting.page.pictures import Gallery, galleries, nowhere
from fdbench.reporting.page.provenance import provenance
from fdbench.reporting.page.training import training_curves
from fdbench.reporting.page.trials import apart_from_curves, trials
from fdbench.store import Workspace

_FOLDER = Path(__file__).with_name("page")
_MOST = 60  # comparisons of one table; the others are in its CSV
_SIZE = 700_000  # bytes of a page that has room for pictures
_MARKS = {"pass": "✓", "fail": "✗", "skipped": "○"}
_INTERVALS = (
    "Bands and bars: 95 % intervals. Point at a curve to read it; its table has every value."
)
# A group of charts: its place in the page, its heading, and how to read it.
_GROUPS = (
    ("iterations", "Accuracy against iterations", _INTERVALS),
    ("eps", "Accuracy against eps", f"The same attack at several sizes. {_INTERVALS}"),
    (
        "attackers",
        "All or nothing, against the number of attackers",
        f"An image counts if it survives all of them. {_INTERVALS}",
    ),
    (
        "training",
        "Training",
        "From the cards beside the checkpoints; held-out images, no test set.",
    ),
)


def _printable(value: object) -> object:
    """What Jinja prints: text of the report as one printable line, our own files as they are."""
    return value if isinstance(value, Markup) else one_line(str(value))


def _safe(value: Any) -> Any:
    """Plain data with every text in it printable."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {one_line(str(key)): _safe(item) for key, item in value.items()}
    return [_safe(item) for item in value] if isinstance(value, list | tuple) else value


def _json(value: Any) -> Markup:
    """Plain data for a script element, which `<` could end."""
    text = json.dumps(_safe(value), separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _png(image: bytes) -> str:
    return f"data:image/png;base64,{b64encode(image).decode()}"


def _file(name: str) -> Markup:
    """One of our own files, as it is."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
    )
    environment.filters["png"] = _png
    return environment.get_template(name)


def _charts(report: Report) -> dict[str, list[Chart]]:
    """The charts by the place of their group."""
    tables, found = report.tables, dict[str, list[Chart]]()
    if "whitebox" in tables:
        found["iterations"] = list(against_iterations(tables["whitebox"]))
        found["eps"] = list(against_eps(tables["whitebox"]))
    if "blackbox" in tables:
        found["attackers"] = list(against_attackers(tables["blackbox-curve"], tables["blackbox"]))
    found["training"] = training_curves(Workspace(report.results), report.runs)
    return found


def _groups(report: Report) -> list[dict[str, Any]]:
    charts = _charts(report)
    return [
        {"id": name, "heading": heading, "reading": reading, "charts": charts[name]}
        for name, heading, reading in _GROUPS
        if charts.get(name)
    ]


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _summary(report: Report) -> dict[str, str]:
    """The page's title, and what it is about in a line."""
    infos = [run.info for run in report.runs]
    models = {(one.model.name, one.model.weights) for one in infos}
    data = list(dict.fromkeys(f"{one.data.name} {one.data.split}" for one in infos))
    verdicts = sum(len(run.columns) * max(1, len(run.columns.pred)) for run in report.runs)
    line = (
        f"{_plural(len(models), 'network')} under attack in {_plural(len(infos), 'run')}: "
        f"{verdicts:,} verdicts, every one from a stored row."
    )
    return {"title": "Robustness on " + (", ".join(data) or "no data"), "line": line}


def _contents(groups: Sequence[dict[str, Any]], report: Report, pictured: bool) -> list[Any]:
    """The page's sections: where they are, and what they are called."""
    short = {"iterations": "Iterations", "eps": "Eps", "attackers": "Attackers"}
    found = [("summary", "Leaderboard")]
    found += [(g["id"], short.get(g["id"], g["heading"])) for g in groups]
    found += [("broke", "What broke"), ("images", "Images")]
    found += [("gallery", "Pictures")] if pictured else []
    found += [(f"chapter-{one.name}", one.heading) for one in report.chapters]
    found += [("doctor", "Doctor")] if report.doctor else []
    return [*found, ("runs", "Runs")]


def _room(bare: str) -> int:
    """Bytes of pictures that still fit; base64 makes four of three."""
    return max(0, _SIZE - len(bare.encode())) * 3 // 4


def page_text(report: Report) -> str:
    """The whole page; the same report gives the same bytes. Pictures take the room that is left."""
    clean, content = report.clean_images or nowhere, _content(report)
    bare = _rendered(content, report, [])
    shown = list(galleries(report.runs, victims(report.runs), report.results, clean, _room(bare)))
    return _rendered(content, report, shown) if shown else bare


def _rendered(content: dict[str, Any], report: Report, shown: Sequence[Gallery]) -> str:
    contents = _contents(content["charts"], report, bool(shown))
    return _template("page.html").render(content, contents=contents, galleries=shown) + "\n"


def _content(report: Report) -> dict[str, Any]:
    """What the template shows beside pictures."""
    every = trials(report.runs)
    watched, images = apart_from_curves(every), one_by_one(every)
    return {
        "summary": _summary(report),
        "warnings": report.warnings,
        "boards": leaderboards(watched),
        "charts": _groups(report),
        "broke": list(what_broke(watched)),
        "falling": list(when_broken(watched)),
        "images": images,
        "chapters": report.chapters,
        "doctor": report.doctor,
        "origins": provenance(report.runs),
        "marks": _MARKS,
        "most": _MOST,
        "data": _json(images),
        "css": _file("page.css"),
        "plot": _file("plot.min.js"),
        "script": _file("page.js"),
        "licence": _file("LICENSE-plot"),
    }


def view_text(folder: str) -> str:
    """The page of `fdbench view`: it asks its server again and again for what is under way."""
    return _template("view.html").render(folder=folder, css=_file("page.css"))

"use strict";
// The page is complete without this script: it sorts tables, draws charts from the tables that stand
// behind them, and shows images one by one. Text from the report only ever becomes textContent.
const $ = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const svg = (tag, attributes = {}, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
const DASHES = ["none", "6 3", "2 3"];
const colour = (place) => `var(--c${place})`;

// Sorting: a button in each heading; numbers by their size, an empty cell last.
const value = (text) => (/^[<>+−-]?\d/.test(text) ? parseFloat(text.replace(/^[<>]/, "").replace("−", "-")) : text);
function compare(one, two, down) {
  const empty = (text) => text === "" || text === "-";
  if (empty(one) || empty(two)) return empty(one) - empty(two);
  const [a, b] = [value(one), value(two)];
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(one).localeCompare(String(two), "en");
  return down ? -order : order;
}
function sortable(table, headings, sort) {
  headings.forEach((heading, place) => {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const first = heading.classList.contains("w") ? "ascending" : "descending";
      const next = now ? (now === "descending" ? "ascending" : "descending") : first;
      headings.forEach((one) => one.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", next);
      sort(place, next === "descending");
    });
  });
}
for (const table of all("table.sortable")) {
  const body = table.tBodies[0];
  sortable(table, all("thead th", table), (place, down) => {
    const text = (row) => row.cells[place].dataset.t ?? row.cells[place].textContent.trim();
    body.append(...[...body.rows].sort((one, two) => compare(text(one), text(two), down)));
  });
  const best = all("thead th", table).findIndex((one) => one.textContent === "best known");
  for (const row of body.rows)
    [...row.cells].forEach((cell, place) => {
      const parts = cell.textContent.trim().match(/^([+-]?[\d.]+) (\[.*\])$/);
      if (!parts) return;
      cell.dataset.t = parts[1];
      cell.replaceChildren(parts[1], make("span", { class: "i" }, parts[2]));
      if (place === best) {
        cell.classList.add("best", "bar");
        cell.style.setProperty("--v", parts[1]);
      }
    });
}

// Charts: lines on a logarithmic or plain axis, single points with their intervals.
const number = (text) => { // "8/255" is a number too
  const [above, below] = text.split("/").map(Number);
  return below ? above / below : text === "" ? NaN : Number(text);
};
function read(figure) {
  return all("table tbody", figure).map((body) => ({
    label: $("th", body).textContent,
    colour: body.dataset.c,
    dash: DASHES[body.dataset.d],
    points: [...body.rows].map((row) => {
      const [x, y, ends] = all("td", row).map((cell) => cell.textContent.trim());
      const [low, high] = ends ? ends.split("–").map(Number) : [];
      return { x, at: number(x), y: Number(y), low, high };
    }),
  }));
}
function axis(series, log) {
  const points = series.flatMap((one) => one.points);
  const numbers = [...new Set(points.map((one) => one.at).filter((at) => !isNaN(at)))].sort((a, b) => a - b);
  const names = [...new Set(points.filter((one) => isNaN(one.at)).map((one) => one.x))];
  const scale = (at) => (log ? Math.log10(at) : at);
  const [first, last] = numbers.length ? [scale(numbers[0]), scale(numbers[numbers.length - 1])] : [0, 0];
  const step = 0.14 * (Math.max(last - first, log ? 0.6 : 0) || 1);
  const ticks = new Map();
  if (names.includes("clean")) ticks.set("clean", first - 1.6 * step);
  names.filter((name) => name !== "clean").forEach((name, k) => ticks.set(name, last + (1.6 + 1.9 * k) * step));
  const place = (point) => (isNaN(point.at) ? ticks.get(point.x) : scale(point.at));
  const texts = new Map(points.filter((one) => !isNaN(one.at)).map((one) => [scale(one.at), one.x]));
  ticks.forEach((at, name) => texts.set(at, name));
  const every = [...texts.keys()];
  const room = (numbers.length < 2 || names.length ? 0.7 : 0.25) * step;
  return { place, texts, step, domain: [Math.min(...every) - room, Math.max(...every) + room] };
}
// Places nearest to those wanted, in their order, at least `gap` apart.
function spread(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const blocks = [];
  order.forEach((i, rank) => {
    let block = [wanted[i] - rank * gap, 1];
    while (blocks.length && blocks[blocks.length - 1][0] > block[0]) {
      const [mean, size] = blocks.pop();
      block = [(mean * size + block[0] * block[1]) / (size + block[1]), size + block[1]];
    }
    blocks.push(block);
  });
  const levels = blocks.flatMap(([mean, size]) => Array(size).fill(mean));
  const places = [];
  order.forEach((i, rank) => (places[i] = levels[rank] + rank * gap));
  const over = Math.max(0, Math.max(...places) - high), under = Math.max(0, low - Math.min(...places));
  return places.map((at) => at - over + under);
}
const shownTicks = (texts, width, domain) => { // those that don't run into the one before
  const kept = [];
  let end = -Infinity;
  for (const at of [...texts.keys()].sort((a, b) => a - b)) {
    const px = (width * (at - domain[0])) / (domain[1] - domain[0]);
    const half = 3.4 * Math.min(texts.get(at).length, 14) + 3;
    if (px - half < end) continue;
    kept.push(at);
    end = px + half;
  }
  return kept;
};
function prepared(figure, series) {
  const scale = axis(series, figure.dataset.axis === "log");
  const rows = [];
  series.forEach((one, i) => {
    const aside = ((i + 0.5) / series.length - 0.5) * scale.step * 0.9;
    const alone = one.points.filter((point) => !isNaN(point.at)).length < 2;
    one.points.forEach((point) => {
      const at = scale.place(point) + (alone || isNaN(point.at) ? aside : 0);
      const ends = point.low === undefined ? "" : `\n95 %: ${point.low} to ${point.high}`;
      rows.push({ ...point, at, named: isNaN(point.at), series: one, colour: colour(one.colour),
        title: `${one.label}\n${figure.dataset.x} ${point.x}: ${point.y}${ends}` });
    });
  });
  return { scale, rows };
}
function marks(series, rows) {
  const of = (one) => rows.filter((row) => row.series === one && !row.named);
  const lines = series.filter((one) => of(one).length > 1);
  const single = rows.filter((row) => row.low !== undefined && (row.named || of(row.series).length === 1));
  return [
    ...lines.filter((one) => of(one)[0].low !== undefined).map((one) =>
      Plot.areaY(of(one), { x: "at", y1: "low", y2: "high", fill: colour(one.colour), fillOpacity: series.length > 4 ? 0.07 : 0.13 })),
    Plot.ruleX(single, { x: "at", y1: "low", y2: "high", stroke: "colour", strokeWidth: 1.3 }),
    ...lines.map((one) => Plot.line(of(one), { x: "at", y: "y", stroke: colour(one.colour), strokeWidth: 1.8, strokeDasharray: one.dash })),
    Plot.dot(rows, { x: "at", y: "y", r: rows.length > 200 ? 2 : 3, fill: "colour", stroke: "var(--paper)", strokeWidth: 0.6 }),
    Plot.tip(rows, Plot.pointer({ x: "at", y: "y", title: "title", lineWidth: 28, maxRadius: 80, ariaLabel: null })),
  ];
}
function finish(drawn, plot) { // an image to a screen reader: what Plot says of its parts has no role
  drawn.setAttribute("role", "img");
  for (const part of all("[aria-label], [aria-description]", drawn)) {
    part.removeAttribute("aria-label");
    part.removeAttribute("aria-description");
  }
  plot.replaceChildren(drawn);
}
function directLabels(drawn, series, rows, box) {
  const curves = new Set(series.filter((one) => one.points.length > 1).map((one) => one.colour));
  const named = series.filter((one) => one.points.length > 1 || !curves.has(one.colour)); // others: on the axis
  const ends = named.map((one) => rows.filter((row) => row.series === one).reduce((a, b) => (b.at >= a.at ? b : a)));
  const [sx, sy] = [drawn.scale("x"), drawn.scale("y")];
  const places = spread(ends.map((row) => sy.apply(row.y)), 15, box.top, box.bottom);
  // Leaders of single points begin at the edge, to cross no point.
  const single = named.every((one) => one.points.length === 2 && one.points[0].x === "clean");
  ends.forEach((row, i) => {
    drawn.append(
      svg("path", { d: `M${single ? box.right - 6 : sx.apply(row.at) + 4},${sy.apply(row.y)}L${box.right + 4},${places[i]}h4`, fill: "none",
        stroke: row.colour, "stroke-opacity": 0.6, "stroke-dasharray": row.series.dash }),
      svg("text", { class: "name", x: box.right + 11, y: places[i], dy: "0.34em", "text-anchor": "start" }, cut(row.series.label, 30)));
  });
}
function describe(figure, series) {
  const count = series.length === 1 ? "1 curve" : `${series.length} curves`;
  return `${$("figcaption", figure).textContent}: ${figure.dataset.y} against ${figure.dataset.x}, ${count}. The table below has every value.`;
}
function drawLines(figure) {
  const series = figure.series.filter((one) => !figure.off.has(one.label));
  const plot = $(".plot", figure), width = plot.clientWidth;
  if (!width) return;
  if (!series.length) return plot.replaceChildren();
  const { scale, rows } = prepared(figure, series);
  const longest = Math.max(...series.map((one) => Math.min(one.label.length, 30)));
  const names = width > 430 && series.length > 1 ? 6.4 * longest + 22 : 14;
  const right = Math.min(names, 0.42 * width);
  const height = Math.max(300, names > 14 ? 15 * series.length + 60 : 0);
  const ys = rows.flatMap((row) => [row.y, row.low ?? row.y, row.high ?? row.y]);
  const percent = figure.dataset.y.includes("%");
  const y = [Math.max(0, Math.min(...ys) - 3), percent ? Math.min(100, Math.max(...ys) + 3) : Math.max(...ys) * 1.05];
  const box = { top: 24, bottom: height - 40, left: 40, right: width - right };
  const inner = box.right - box.left;
  const drawn = Plot.plot({
    width, height, marginTop: box.top, marginBottom: 40, marginLeft: box.left, marginRight: right, ariaLabel: describe(figure, series),
    x: { domain: scale.domain, ticks: shownTicks(scale.texts, inner, scale.domain), tickFormat: (at) => cut(scale.texts.get(at), 14), label: figure.dataset.x, labelArrow: "none", labelAnchor: "center" },
    y: { domain: percent ? y : [0, y[1]], grid: true, label: figure.dataset.y, labelArrow: "none", nice: false, ticks: 5 },
    marks: marks(series, rows).filter(Boolean),
  });
  if (names > 14) directLabels(drawn, series, rows, box);
  finish(drawn, plot);
}
function swatch(one) {
  const shown = svg("svg", { width: 22, height: 10, "aria-hidden": "true" });
  shown.append(svg("path", { d: "M0,5h22", stroke: colour(one.colour), "stroke-width": 2.4, "stroke-dasharray": one.dash }));
  return shown;
}
function legend(figure, series) {
  const list = make("ul", { class: "legend", "aria-label": "Show or hide curves" });
  for (const one of series) {
    const button = make("button", { type: "button", "aria-pressed": "true" }, swatch(one), cut(one.label, 60));
    button.addEventListener("click", () => {
      const shown = figure.off.delete(one.label) || (figure.off.add(one.label), false);
      button.setAttribute("aria-pressed", String(shown));
      drawLines(figure);
    });
    list.append(make("li", {}, button));
  }
  $(".plot", figure).after(list);
}
const redrawn = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    if (target.drawnAt === contentRect.width) continue;
    target.drawnAt = contentRect.width;
    target.draw();
  }
});
const watch = (figure, draw) => {
  const plot = $(".plot", figure);
  plot.draw = draw;
  redrawn.observe(plot);
};
for (const figure of all("figure.chart")) {
  figure.series = read(figure);
  figure.off = new Set();
  if (figure.series.length > 1) legend(figure, figure.series);
  watch(figure, () => drawLines(figure));
}

// What broke the images: one bar a network, from the images that were wrong anyway to those that hold.
function readBars(figure) {
  return all("table tbody", figure).flatMap((body) => {
    const network = $("th", body).textContent, n = Number(body.dataset.n);
    return [...body.rows].map((row) => {
      const [label, first, alone, broken] = all("td", row).map((cell) => cell.textContent.trim());
      const more = alone === "" ? "" : `\n${alone} broken by it alone, ${broken} in all`;
      return { network, label, first: Number(first), share: (100 * first) / n, row,
        title: `${network}\n${label}: ${first} of ${n} images${more}` };
    });
  });
}
function barColours(labels) {
  const attempts = labels.filter((label) => label !== "wrong when clean" && label !== "never broken");
  return labels.map((label) => {
    if (label === "wrong when clean") return "var(--never)";
    if (label === "never broken") return "var(--held)";
    const part = attempts.length > 1 ? attempts.indexOf(label) / (attempts.length - 1) : 0;
    return `color-mix(in oklab, var(--dear) ${Math.round(100 * part)}%, var(--cheap))`;
  });
}
function drawBars(figure, rows, labels, colours) {
  const plot = $(".plot", figure), width = plot.clientWidth;
  if (!width) return;
  const networks = [...new Set(rows.map((row) => row.network))];
  const longest = Math.max(...networks.map((name) => Math.min(name.length, 34)));
  const left = Math.min(6.8 * longest + 14, 0.4 * width);
  const at = new Map();
  const pieces = rows.filter((row) => row.share > 0).map((row) => {
    const begin = at.get(row.network) ?? 0;
    at.set(row.network, begin + row.share);
    return { ...row, begin, end: begin + row.share, middle: begin + row.share / 2, fill: colours[labels.indexOf(row.label)] };
  });
  const drawn = Plot.plot({
    width, height: 28 * networks.length + 42, marginLeft: left, marginTop: 8, marginBottom: 34, marginRight: 14,
    ariaLabel: `${$("figcaption", figure).textContent}: who broke the images of ${networks.length} networks first. The table below has every count.`,
    x: { domain: [0, 100], label: "images, %", labelArrow: "none", labelAnchor: "center" },
    y: { domain: networks, label: null, tickFormat: (name) => cut(name, Math.floor(left / 6.8)), tickSize: 0 },
    marks: [
      Plot.barX(pieces, { x1: "begin", x2: "end", y: "network", fill: "fill", stroke: "var(--paper)", strokeWidth: 0.8 }),
      Plot.tip(pieces, Plot.pointer({ x: "middle", y: "network", title: "title", lineWidth: 28, maxRadius: 400, ariaLabel: null })),
    ],
  });
  finish(drawn, plot);
}
for (const figure of all("figure.bars")) {
  const rows = readBars(figure);
  const present = rows.filter((row) => row.first > 0 || row.label === "never broken");
  const labels = [...new Set(present.map((row) => row.label))];
  labels.push(labels.splice(labels.indexOf("never broken"), 1)[0]);
  const colours = barColours(labels);
  const list = make("ul", { class: "legend", "aria-label": "Colours" });
  labels.forEach((label, i) => list.append(make("li", {}, make("span", { style: "display:inline-flex;gap:.4rem;align-items:center" }, make("i", { style: `background:${colours[i]}` }), label))));
  $(".plot", figure).after(list);
  watch(figure, () => drawBars(figure, rows, labels, colours));
  for (const row of rows) {
    const cell = row.row.querySelector("td:nth-of-type(2)");
    const button = make("button", { type: "button", "aria-label": `${row.first} images of ${row.network}, ${row.label}: show them` }, String(row.first));
    button.addEventListener("click", () => drill(figure, row));
    cell.replaceChildren(button);
  }
}

// Images one by one.
const sets = JSON.parse($("#data").textContent);
const filter = Object.fromEntries(["data", "a", "b", "label", "by", "agree"].map((name) => [name, $(`#f-${name}`)]));
const STEP = 100;
let state = { sort: 0, down: false, shown: STEP };
const options = (select, pairs) => select.replaceChildren(...pairs.map(([key, text]) => make("option", { value: key }, cut(text, 80))));
const has = (mask, bit) => { // masks are hexadecimal and may have more bits than a number
  const digit = mask[mask.length - 1 - (bit >> 2)];
  return digit !== undefined && ((parseInt(digit, 16) >> (bit & 3)) & 1) === 1;
};
const lowest = (mask) => { // the place of its lowest bit, -1 of an empty one
  for (let place = 0; place < 4 * mask.length; place++) if (has(mask, place)) return place;
  return -1;
};
function unpack(set, network) { // once for each network: what became of each image
  if (network.images) return network.images;
  const absent = new Set(network.absent);
  const [clean, masks, answer, when] = ["clean", "masks", "answer", "when"].map((name) => network[name].split(","));
  network.images = set.ids.map((_, i) => {
    const label = set.labels[i], by = lowest(masks[i]);
    const cleanAnswer = clean[i] === "" ? label : Number(clean[i]);
    const wrong = cleanAnswer !== label;
    return { absent: absent.has(i), mask: masks[i], by: wrong ? -1 : by, wrong, clean: cleanAnswer, holds: !wrong && by < 0,
      answer: answer[i] === "" ? label : Number(answer[i]), when: when[i] === "" ? "" : Number(when[i]),
      who: wrong ? "wrong when clean" : by < 0 ? "never broken" : network.attempts[by] };
  });
  return network.images;
}
const chosen = () => {
  const set = sets[filter.data.value || 0], a = set.networks[filter.a.value || 0];
  return { set, a, b: filter.b.value === "" ? null : set.networks[filter.b.value] };
};
function fillNetworks() {
  const { set } = chosen();
  const named = set.networks.map((one, i) => [String(i), `${one.name}, ${one.threat}`]);
  options(filter.a, named);
  options(filter.b, [["", "nobody"], ...named]);
  options(filter.label, [["", "any"], ...[...new Set(set.labels)].sort((x, y) => x - y).map((one) => [String(one), String(one)])]);
}
function fillAttempts() {
  const { a } = chosen();
  options(filter.by, [["", "anyone or no one"], ["nobody", "no one: it holds"], ["clean", "wrong when clean"],
    ...a.attempts.flatMap((one, i) => [[`f${i}`, `${one}, first`], [`m${i}`, `${one}, among others`]])]);
}
function agrees(one, two) {
  const pair = { both: one.holds && two.holds, none: !one.holds && !two.holds, a: one.holds && !two.holds, b: !one.holds && two.holds };
  return filter.agree.value === "" || pair[filter.agree.value];
}
function broken(one) {
  const by = filter.by.value;
  if (by === "") return true;
  if (by === "nobody") return one.holds;
  if (by === "clean") return one.wrong;
  return by[0] === "f" ? !one.wrong && one.by === Number(by.slice(1)) : !one.wrong && has(one.mask, Number(by.slice(1)));
}
function rowsShown() {
  const { set, a, b } = chosen();
  const ofA = unpack(set, a), ofB = b && unpack(set, b);
  const rivals = set.networks.filter((one) => one.threat === a.threat).map((one) => unpack(set, one));
  const rows = [];
  set.ids.forEach((id, i) => {
    const one = ofA[i], two = ofB && ofB[i];
    if (one.absent || (two && two.absent)) return;
    if (filter.label.value !== "" && set.labels[i] !== Number(filter.label.value)) return;
    if (!broken(one) || (two && !agrees(one, two))) return;
    const cells = [id, set.labels[i], one.clean, one.who, one.by < 0 ? "" : one.when, one.by < 0 ? "" : one.answer];
    if (two) cells.push(two.clean, two.who, two.by < 0 ? "" : two.when, two.by < 0 ? "" : two.answer);
    const present = rivals.filter((other) => !other[i].absent);
    cells.push(`${present.filter((other) => other[i].holds).length} of ${present.length}`);
    rows.push(cells);
  });
  return rows.sort((x, y) => compare(String(x[state.sort]), String(y[state.sort]), state.down));
}
function headings() {
  const { a, b } = chosen();
  const of = (one) => ["clean answer", "broken by", "at iterate", "answer then"].map((text) => (b ? `${one.name}: ${text}` : text));
  return ["image", "label", ...of(a), ...(b ? of(b) : []), "networks that hold"];
}
const wordy = (text) => text.endsWith("broken by") || text === "image";
function showImages() {
  const rows = rowsShown(), { set } = chosen(), texts = headings();
  const table = $("#drill table"), heads = texts.map((text) => make("th", { scope: "col", ...(wordy(text) ? { class: "w" } : {}) }, text));
  if (state.sort >= texts.length) state = { ...state, sort: 0, down: false };
  $("thead tr", table).replaceChildren(...heads);
  heads[state.sort].setAttribute("aria-sort", state.down ? "descending" : "ascending");
  sortable(table, heads, (place, down) => {
    state = { ...state, sort: place, down };
    showImages();
    all("thead button", table)[place].focus();
  });
  table.tBodies[0].replaceChildren(...rows.slice(0, state.shown).map((cells) =>
    make("tr", {}, ...cells.map((text, i) => make(i ? "td" : "th", { ...(i ? {} : { scope: "row" }), ...(i && wordy(texts[i]) ? { class: "w" } : {}) }, String(text))))));
  const less = rows.length > state.shown ? `, the first ${state.shown} shown` : "";
  $("#found").textContent = `${rows.length} of ${set.ids.length} images${less}`;
  $("#more").hidden = rows.length <= state.shown;
}
function restart(change) {
  state = { ...state, shown: STEP };
  change();
  filter.agree.disabled = filter.b.value === "";
  if (filter.agree.disabled) filter.agree.value = "";
  showImages();
}
function drill(figure, row) {
  const data = sets.findIndex((one) => one.data === figure.dataset.data);
  filter.data.value = String(data);
  fillNetworks();
  const place = sets[data].networks.findIndex((one) => row.network === one.name && one.threat === figure.dataset.threat);
  filter.a.value = String(place);
  fillAttempts();
  const attempt = sets[data].networks[place].attempts.indexOf(row.label);
  filter.by.value = row.label === "wrong when clean" ? "clean" : attempt < 0 ? "nobody" : `f${attempt}`;
  restart(() => {});
  $("#images").scrollIntoView();
  $("#f-by").focus({ preventScroll: true });
}
if (sets.length) {
  options(filter.data, sets.map((one, i) => [String(i), one.data]));
  fillNetworks();
  const most = sets[0].networks.reduce((best, one, i, every) => (one.attempts.length > every[best].attempts.length ? i : best), 0);
  filter.a.value = String(most);
  fillAttempts();
  filter.data.addEventListener("change", () => restart(() => { fillNetworks(); fillAttempts(); }));
  filter.a.addEventListener("change", () => restart(fillAttempts));
  for (const name of ["b", "label", "by", "agree"]) filter[name].addEventListener("change", () => restart(() => {}));
  $("#more").addEventListener("click", () => { state.shown += STEP; showImages(); });
  $("#filters").hidden = $("#drill").hidden = false;
  restart(() => {});
}

// Commands to copy; what is folded opens on paper.
for (const box of all(".command")) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    const text = $("code", box).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // a page from disk may not reach the clipboard by that way
      const range = document.createRange();
      range.selectNodeContents($("code", box));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  box.append(button);
}
let folded = [];
addEventListener("beforeprint", () => { folded = all("details:not([open])"); folded.forEach((one) => (one.open = true)); });
addEventListener("afterprint", () => folded.forEach((one) => (one.open = false)));

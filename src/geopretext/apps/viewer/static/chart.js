/**
 * Line charts in SVG: axes with round numbers, linear or logarithmic; a cursor that reads every line; a table of the same
 * numbers for those who do not see lines.
 *
 * A series is `{name, hue, x, y, raw?, points?, dash?}`: numbers in order of `x`, NaN where there is none; `raw` is drawn
 * faintly behind it; `hue` 1 to 8 (colour and dash of a line go together, so that it is told apart without colour).
 */

import { h, svg } from "/static/dom.js";

const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2", "12 4", "1 2", "6 2 2 2 2 2"];
const LEFT = 46;
const RIGHT = 22;
const TOP = 10;
const BOTTOM = 34;

/**
 * A chart. `options`: label (for screen readers), x and y `{label, log}`, x also `tick(value)` -> text below the axis and
 * `read(value)` -> text of a place; height, read(value) -> text for numbers, mark (an x to be marked),
 * onPoint(x or null) when the cursor moves, legend (true: names of the lines below). Returns `{element, draw(series, options), point(x or null)}`.
 */
export function lineChart(options) {
  let settings = { height: 220, ...options };
  let series = [];
  let scales = null;
  const picture = svg("svg", { class: "line-plot", role: "application", tabindex: 0, "aria-roledescription": "chart", "aria-label": `${settings.label}: left and right arrows read it` });
  const tip = h("div", { class: "tip", hidden: true });
  const cursor = svg("g", { class: "cursor", hidden: true });
  const said = h("div", { class: "visually-hidden", "aria-live": "polite" });
  const table = h("details", { class: "chart-table" }, h("summary", { text: "As a table" }));
  table.addEventListener("toggle", () => { if (table.open) fillTable(table, series, settings); });
  const names = h("div", { class: "chart-names", hidden: !settings.legend });
  const element = h("div", { class: "chart" }, h("div", { class: "plot-box" }, picture, tip), names, said, table);
  let drawn = 0;
  let here = null;
  const watcher = new ResizeObserver(() => {
    const width = Math.round(picture.parentElement.clientWidth);
    if (width && width !== drawn) render();
  });
  watcher.observe(element);

  function render() {
    const width = Math.round(picture.parentElement.clientWidth);
    if (!width) return;
    drawn = width;
    const { height } = settings;
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    scales = makeScales(series, settings, width, height);
    cursor.replaceChildren();
    const lines = scales ? series.flatMap((each) => drawSeries(each, scales)) : [];
    picture.replaceChildren(...(scales ? drawAxes(scales, settings, width, height) : [emptyText(width, height)]), ...lines, cursor);
    if (table.open) fillTable(table, series, settings);
    point(here); // a run that grows leaves the reader where it was
  }

  function point(x, { speak = false } = {}) {
    here = x;
    const at = scales && x !== null ? nearest(series, x) : null;
    cursor.toggleAttribute("hidden", at === null);
    tip.hidden = at === null;
    if (at === null) return;
    const left = scales.x.place(at);
    const rows = series.map((each) => ({ each, value: valueAt(each, at) })).filter(({ value }) => Number.isFinite(value));
    cursor.replaceChildren(
      svg("line", { x1: left, x2: left, y1: TOP, y2: settings.height - BOTTOM }),
      ...rows.filter(({ value }) => scales.y.shows(value)).map(({ each, value }) => svg("circle", { class: `hue-${each.hue}`, cx: left, cy: scales.y.place(value), r: 4 })),
    );
    const read = settings.read ?? tick;
    const where = settings.x.read ? settings.x.read(at) : `${settings.x.label} ${tick(at)}`;
    tip.replaceChildren(h("div", { class: "quiet", text: where }),
      ...rows.map(({ each, value }) => h("div", { class: "tip-row" }, key(each), h("span", { text: each.name }), h("strong", { text: read(value) }), rawText(each, at, read))));
    const before = left > drawn / 2;
    tip.style.left = before ? "" : `${left + 10}px`;
    tip.style.right = before ? `${drawn - left + 10}px` : "";
    if (speak) said.textContent = [where, ...rows.map(({ each, value }) => `${each.name} ${read(value)}`)].join(", ");
  }

  function move(x, options = {}) {
    point(x, options);
    settings.onPoint?.(x);
  }
  picture.addEventListener("pointermove", (event) => {
    if (!scales) return;
    const box = picture.getBoundingClientRect();
    move(scales.x.value(((event.clientX - box.left) / box.width) * drawn));
  });
  picture.addEventListener("pointerleave", () => move(null));
  picture.addEventListener("blur", () => move(null));
  picture.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || !scales) return;
    event.preventDefault();
    move(beside(series, here, event.shiftKey ? 10 * by : by), { speak: true });
  });

  return {
    element,
    point,
    draw(next, changes = {}) {
      series = next.map((each, place) => ({ hue: (place % 8) + 1, ...each }));
      if (changes.x && changes.x.label !== settings.x.label) here = null; // a place along another axis
      settings = { ...settings, ...changes };
      names.hidden = !settings.legend;
      names.replaceChildren(...(settings.legend ? series.map((each) => h("span", {}, key(each), each.name)) : []));
      render();
    },
  };
}

/** A short piece of a series' line, for legends. */
export function key(series) {
  return svg("svg", { class: `key hue-${series.hue}`, viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 23, y1: 4, y2: 4, "stroke-dasharray": series.dash ?? DASHES[series.hue - 1] }));
}

/** An exponential moving average, corrected for its start; gaps stay gaps. `weight` 0 (none) to below 1. */
export function smooth(values, weight) {
  if (!weight) return values;
  let mean = 0;
  let share = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return NaN;
    mean = weight * mean + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return mean / share;
  });
}

/* ---------------------------------------------------------------- scales */

function makeScales(series, settings, width, height) {
  const xs = range(series.flatMap(({ x, y }) => x.filter((_, place) => Number.isFinite(y[place]))), settings.x.log);
  const ys = range(series.flatMap(({ y, raw }) => (raw ? [...y, ...raw] : y)), settings.y.log);
  if (!xs || !ys) return null;
  if (settings.y.zero && !settings.y.log) ys[0] = Math.min(0, ys[0]);
  const margin = settings.y.log ? 1 : 0.05 * (ys[1] - ys[0] || Math.abs(ys[0]) || 1);
  const room = settings.y.log ? [ys[0] / 1.1, ys[1] * 1.1] : [ys[0] - (settings.y.zero && ys[0] === 0 ? 0 : margin), ys[1] + margin];
  return {
    x: scale(xs[0] === xs[1] ? [xs[0] - 0.5, xs[1] + 0.5] : xs, [LEFT, width - RIGHT], settings.x.log),
    y: scale(room, [height - BOTTOM, TOP], settings.y.log),
  };
}

function range(values, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value) || (log && value <= 0)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : null;
}

function scale([low, high], [from, to], log) {
  const inner = log ? Math.log : (value) => value;
  const outer = log ? Math.exp : (value) => value;
  const [start, span] = [inner(low), inner(high) - inner(low) || 1];
  return {
    low, high, log,
    shows: (value) => Number.isFinite(value) && (!log || value > 0),
    place: (value) => from + ((inner(value) - start) / span) * (to - from),
    value: (place) => outer(start + ((place - from) / (to - from)) * span),
  };
}

/** Round numbers between the ends: steps of 1, 2 or 5 times a power of ten; for logarithms powers of ten and between. */
export function ticks(low, high, log, most) {
  if (log) {
    const powers = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const times of high / low < 300 ? [1, 2, 5] : [1]) powers.push(times * 10 ** power);
    }
    const inside = powers.filter((value) => value >= low && value <= high);
    if (inside.length >= 2) return inside.filter((_, place) => place % Math.ceil(inside.length / most) === 0);
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((each) => each >= rough);
  const found = [];
  for (let count = Math.ceil(low / step - 1e-9); count * step <= high + 1e-9 * step; count += 1) found.push(Number((count * step).toPrecision(12)));
  return found;
}

/** A number as short as it can be read: 0.02, 1,200, 1.5e-6; whole numbers, as steps are, and thousands to the last digit. */
export function tick(value) {
  const size = Math.abs(value);
  if (size >= 1000 && size < (Number.isInteger(value) ? 1e10 : 1e7)) return Math.round(value).toLocaleString("en");
  if (size && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 });
}

/* ---------------------------------------------------------------- drawing */

function drawAxes({ x, y }, settings, width, height) {
  const parts = [];
  for (const value of ticks(y.low, y.high, y.log, 5)) {
    const place = y.place(value);
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: place, y2: place }),
      svg("text", { class: "tick", x: LEFT - 6, y: place + 4, "text-anchor": "end" }, tick(value)));
  }
  for (const value of ticks(x.low, x.high, x.log, Math.max(2, Math.floor(width / 90)))) {
    parts.push(svg("text", { class: "tick", x: x.place(value), y: height - BOTTOM + 15, "text-anchor": "middle" }, (settings.x.tick ?? tick)(value)));
  }
  if (settings.mark !== undefined) parts.push(svg("line", { class: "mark", x1: x.place(settings.mark), x2: x.place(settings.mark), y1: TOP, y2: height - BOTTOM }));
  parts.push(svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }),
    svg("text", { class: "axis-label", x: width - RIGHT, y: height - 4, "text-anchor": "end" }, settings.x.label));
  if (settings.y.label) parts.push(svg("text", { class: "axis-label", x: LEFT, y: height - 4 }, settings.y.label));
  return parts;
}

function emptyText(width, height) {
  return svg("text", { class: "tick", x: width / 2, y: height / 2, "text-anchor": "middle" }, "no numbers yet");
}

function drawSeries(series, scales) {
  const parts = [];
  const dash = series.dash ?? DASHES[series.hue - 1];
  if (series.raw) parts.push(svg("path", { class: `line faint hue-${series.hue}`, d: path(series.x, series.raw, scales) }));
  parts.push(svg("path", { class: `line hue-${series.hue}`, d: path(series.x, series.y, scales), "stroke-dasharray": dash }));
  if (series.points) {
    for (const [place, value] of series.y.entries()) {
      if (scales.y.shows(value)) parts.push(svg("circle", { class: `dot hue-${series.hue}`, cx: scales.x.place(series.x[place]), cy: scales.y.place(value), r: 3 }));
    }
  }
  return parts;
}

/** Of many points that fall on one column of pixels only the first, lowest, highest and last are drawn. */
function path(x, y, scales) {
  const commands = [];
  let column = null;
  let group = [];
  let pen = "M";
  const flush = () => {
    if (!group.length) return;
    const heights = group.map(([, top]) => top);
    const kept = group.length <= 4 ? group : [group[0], group[heights.indexOf(Math.min(...heights))], group[heights.indexOf(Math.max(...heights))], group.at(-1)];
    for (const [left, top] of kept) {
      commands.push(`${pen}${left.toFixed(1)} ${top.toFixed(1)}`);
      pen = "L";
    }
    group = [];
  };
  for (const [place, value] of y.entries()) {
    if (!scales.y.shows(value) || !scales.x.shows(x[place])) {
      flush();
      pen = "M";
      continue;
    }
    const left = scales.x.place(x[place]);
    if (Math.round(left) !== column) flush();
    column = Math.round(left);
    group.push([left, scales.y.place(value)]);
  }
  flush();
  return commands.join("");
}

/* ---------------------------------------------------------------- reading */

/** Place of the x that is nearest, by halving; x ascends. */
export function nearestPlace(x, wanted) {
  let [low, high] = [0, x.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x[middle] < wanted) low = middle;
    else high = middle;
  }
  return Math.abs(x[low] - wanted) <= Math.abs(x[high] - wanted) ? low : high;
}

/** The x nearest to `wanted` at which any series has a number. */
function nearest(series, wanted) {
  const found = series.filter(({ x }) => x.length).map(({ x }) => x[nearestPlace(x, wanted)]);
  if (!found.length) return null;
  return found.reduce((best, each) => (Math.abs(each - wanted) < Math.abs(best - wanted) ? each : best));
}

/** A series is read where it has a point, not between or beyond its points. */
function valueAt({ x, y }, at) {
  if (!x.length) return NaN;
  const place = nearestPlace(x, at);
  const gap = x.length > 1 ? Math.abs(x[Math.min(place + 1, x.length - 1)] - x[Math.max(place - 1, 0)]) : 0;
  return Math.abs(x[place] - at) <= gap ? y[place] : NaN;
}

/** What was measured, beside what is smoothed. */
function rawText(each, at, read) {
  const raw = each.raw ? valueAt({ x: each.x, y: each.raw }, at) : NaN;
  return Number.isFinite(raw) ? h("span", { class: "quiet", text: `measured ${read(raw)}` }) : null;
}

function beside(series, here, by) {
  const x = series.reduce((longest, each) => (each.x.length > longest.length ? each.x : longest), []);
  if (!x.length) return null;
  const place = here === null ? (by > 0 ? -1 : x.length) : nearestPlace(x, here);
  return x[Math.max(0, Math.min(x.length - 1, Number.isFinite(by) ? place + by : by > 0 ? x.length - 1 : 0))];
}

const MOST_ROWS = 200;

function fillTable(details, series, settings) {
  const places = [...new Set(series.flatMap(({ x }) => x))].sort((one, other) => one - other);
  const step = Math.max(1, Math.ceil(places.length / MOST_ROWS));
  const shown = places.filter((_, place) => place % step === 0 || place === places.length - 1);
  const columns = series.map((each) => new Map(each.x.map((x, place) => [x, each.y[place]])));
  const read = settings.read ?? tick;
  const rows = shown.map((x) => h("tr", {}, h("th", { scope: "row", text: settings.x.read ? settings.x.read(x) : tick(x) }),
    columns.map((column) => h("td", { text: Number.isFinite(column.get(x)) ? read(column.get(x)) : "" }))));
  let box = details.querySelector(".table-box");
  if (!box) details.append(box = h("div", { class: "table-box", tabindex: 0 }));
  const { scrollTop, scrollLeft } = box;
  box.replaceChildren(h("table", {},
    h("caption", { class: "visually-hidden", text: settings.label }),
    h("thead", {}, h("tr", {}, h("th", { scope: "col", text: settings.x.label }), series.map((each) => h("th", { scope: "col", text: each.name })))),
    h("tbody", {}, rows)));
  Object.assign(box, { scrollTop, scrollLeft });
}

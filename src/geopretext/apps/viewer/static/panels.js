/**
 * Maps of one tile, each on a canvas of its own with a legend, and one cursor that all of them share.
 *
 * A layer is `{map, values, shape}`: a modality as `describe.py` gives it, and its numbers (bands, y, x), NaN where
 * nothing was observed (class indices for classes); that of a series has `images` too, of which `values` is one. A view
 * says what of a layer is drawn, and in which colours.
 */

import { gradient, rgb, table } from "/static/colours.js";
import { h, svg } from "/static/dom.js";

export const UNSEEN = "not observed";
/** Not drawn: hidden from the encoder and not predicted; as in `predict/panels.py`. */
const COVER = rgb("#dce3e8");
const RIGHT = rgb("#86b6cd");
const WRONG = rgb("#b8330f");

/* ---------------------------------------------------------------- views */

/** Ways to draw a layer: `[id, label]`, the best first. */
export function viewChoices(layer) {
  const { map } = layer;
  if (map.classes.length) return [["classes", "classes"]];
  const bands = map.bands.map((band) => [band.name, bandLabel(band)]);
  if (map.composites.length) {
    return [...map.composites.map((each) => [each.bands.join(","), `${each.title}: ${each.bands.join(" ")}`]), ...bands];
  }
  const share = map.bands.map((_, place) => observedShare(layer, place));
  const best = share.indexOf(Math.max(...share));
  return [bands[best], ...bands.filter((_, place) => place !== best)];
}

/** Ways to draw layers of one modality that may differ in their bands: first those that all of them know. */
export function sharedChoices(layers) {
  const found = new Map(layers.flatMap(viewChoices));
  const known = (id) => layers.filter((layer) => !lackedBands(layer, id).length).length;
  return [...found].sort(([one], [other]) => known(other) - known(one));
}

/** Names of the bands that a view shows and a layer does not have. */
export function lackedBands({ map }, id) {
  return map.classes.length ? [] : id.split(",").filter((name) => !map.bands.some((band) => band.name === name));
}

/** A view of one layer as the view of another one that has its bands, in the same colours between the same ends. */
export function sameView(layer, view) {
  if (view.kind === "classes") return view;
  const names = layer.map.bands.map((band) => band.name);
  return { ...view, bands: view.id.split(",").map((name) => names.indexOf(name)) };
}

function bandLabel(band) {
  return band.title && band.title.length < 40 ? `${band.name} · ${band.title}` : band.name;
}

/**
 * A view by its id: `classes`, a band, or three bands with commas.
 *
 * `stretch` is "tile" (2nd to 98th percentile of what is seen here) or "store" (of the whole store).
 */
export function makeView(layer, id, stretch = "tile") {
  const { map } = layer;
  if (map.classes.length) return { id: "classes", kind: "classes", bands: [] };
  const names = map.bands.map((band) => band.name);
  let bands = id.split(",").map((name) => names.indexOf(name));
  if (bands.some((band) => band < 0) || (bands.length !== 1 && bands.length !== 3)) return makeView(layer, viewChoices(layer)[0][0], stretch);
  const colours = bands.length === 3 ? "" : map.bands[bands[0]].colours;
  const [low, high] = apart(stretch === "store" ? storeRange(map, bands) ?? tileRange(layer, bands) : tileRange(layer, bands));
  return { id: bands.map((band) => names[band]).join(","), kind: bands.length === 3 ? "composite" : "band", bands, low, high, colours };
}

/** Views by modality from the address: `sentinel2:B12,B8A,B4;sentinel1:desc_VV`. */
export function parseViews(text) {
  return new Map(text.split(";").filter((part) => part.includes(":")).map((part) => part.split(":", 2)));
}

/** Undo `parseViews`; null if there are none. */
export function writeViews(views) {
  return [...views].map(([name, id]) => `${name}:${id}`).join(";") || null;
}

function storeRange(map, bands) {
  const known = bands.map((band) => map.bands[band].percentiles).filter(Boolean);
  if (!known.length) return null;
  return [Math.min(...known.map((each) => each[2])), Math.max(...known.map((each) => each[98]))];
}

function tileRange(layer, bands) {
  const size = layer.shape[1] * layer.shape[2];
  const images = imagesOf(layer);
  // Of a series as many numbers as of one image, from other pixels of each, so that all dates are drawn alike.
  const seen = images.flatMap((values, first) => bands.flatMap((band) => Array.from(values.subarray(band * size, (band + 1) * size)).filter((value, pixel) => pixel % images.length === first && !Number.isNaN(value))));
  if (!seen.length) return [0, 1];
  seen.sort((one, other) => one - other);
  return [percentile(seen, 2), percentile(seen, 98)];
}

/** Linear between neighbours, as numpy has it. */
export function percentile(sorted, percent) {
  const place = (percent / 100) * (sorted.length - 1);
  const low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

/** A range that is not empty. */
function apart([low, high]) {
  if (high - low > 1e-6 * Math.max(Math.abs(low), Math.abs(high))) return [low, high];
  return low === 0 ? [0, 1] : [low - Math.abs(low) / 2, low + Math.abs(low) / 2];
}

function imagesOf(layer) {
  return layer.images?.length ? layer.images : [layer.values];
}

/** Whether anything was observed, on any date. */
export function isObserved(layer) {
  return imagesOf(layer).some((values) => values.some((value) => !Number.isNaN(value)));
}

export function observedShare(layer, band) {
  const size = layer.shape[1] * layer.shape[2];
  let seen = 0;
  for (let place = band * size; place < (band + 1) * size; place += 1) seen += Number.isNaN(layer.values[place]) ? 0 : 1;
  return seen / size;
}

/* ---------------------------------------------------------------- painting */

/**
 * Draw a layer. `cover` (one number a pixel, 1 where plain grey is to be drawn) is what was not predicted; pixels that
 * were not observed stay transparent, so that the hatched ground shows.
 */
export function paint(canvas, layer, view, cover = null) {
  const [, height, width] = layer.shape;
  canvas.width = width;
  canvas.height = height;
  const picture = new ImageData(width, height);
  const colour = colouring(layer, view);
  for (let pixel = 0; pixel < height * width; pixel += 1) {
    const [red, green, blue, alpha] = cover?.[pixel] ? [...COVER, 255] : colour(pixel);
    picture.data.set([red, green, blue, alpha], 4 * pixel);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

const CLEAR = [0, 0, 0, 0];

function colouring(layer, view) {
  const { values, shape: [, height, width], map } = layer;
  const size = height * width;
  if (view.kind === "classes") {
    const palette = map.classes.map((each) => [...rgb(each.color), 255]);
    return (pixel) => palette[values[pixel]] ?? CLEAR;
  }
  if (view.kind === "verdict") {
    return (pixel) => (Number.isNaN(values[pixel]) ? CLEAR : [...(values[pixel] > 0 ? WRONG : RIGHT), 255]);
  }
  const span = view.high - view.low;
  if (view.kind === "composite") {
    return (pixel) => {
      const parts = view.bands.map((band) => (255 * (values[band * size + pixel] - view.low)) / span);
      return parts.some(Number.isNaN) ? CLEAR : [...parts, 255];
    };
  }
  const colours = table(view.colours);
  const start = view.bands[0] * size;
  const shade = view.colours === "relief" ? relief(values.subarray(start, start + size), width, height) : null;
  return (pixel) => {
    const value = values[start + pixel];
    if (Number.isNaN(value)) return CLEAR;
    const step = Math.round(Math.max(0, Math.min(1, (value - view.low) / span)) * 255);
    const light = shade ? shade[pixel] : 1;
    return [colours[3 * step] * light, colours[3 * step + 1] * light, colours[3 * step + 2] * light, 255];
  };
}

/** Light from the north-west on heights: 0.7 (in the shade) to 1.15; slopes are taken relative to those of this tile. */
function relief(heights, width, height) {
  const facing = new Float32Array(heights.length);
  let steepest = 1e-6;
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = (r, c) => heights[Math.min(height - 1, Math.max(0, r)) * width + Math.min(width - 1, Math.max(0, c))];
      const slope = at(row + 1, column + 1) - at(row - 1, column - 1);
      const pixel = row * width + column;
      facing[pixel] = Number.isNaN(slope) ? 0 : slope;
      steepest = Math.max(steepest, Math.abs(facing[pixel]));
    }
  }
  return facing.map((slope) => 0.92 - 0.23 * (slope / steepest));
}

/* ---------------------------------------------------------------- numbers */

/** About four significant digits: 1234, 12.34, 0.1234. */
export function compact(value) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size >= 1e5 || (size < 1e-3 && size > 0)) return value.toExponential(2);
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

/** What a layer holds at a pixel in one band: `{text, unit, color}`; color only for classes. */
export function reading(layer, band, pixel) {
  const [, height, width] = layer.shape;
  const value = layer.values[band * height * width + pixel];
  if (value === undefined || Number.isNaN(value)) return { text: UNSEEN, unit: "", missing: true };
  const label = layer.map.classes[value];
  if (label) return { text: label.name, unit: `code ${label.code}`, color: label.color };
  return { text: compact(value), unit: layer.map.bands[band].unit };
}

/* ---------------------------------------------------------------- the shared cursor */

/** One position (row, column) for all panels; `held` is what it goes back to when the pointer leaves. */
export class Cursor {
  constructor({ height, width, row = null, column = null }) {
    Object.assign(this, { height, width });
    this.held = this.within(row, column);
    this.at = this.held;
    this.watchers = new Set();
    this.holders = new Set();
  }

  within(row, column) {
    if (row === null || column === null || Number.isNaN(row) || Number.isNaN(column)) return null;
    return { row: Math.max(0, Math.min(this.height - 1, row)), column: Math.max(0, Math.min(this.width - 1, column)) };
  }

  move(row, column) {
    this.at = this.within(row, column);
    for (const watcher of this.watchers) watcher(this.at);
  }

  hold(row, column) {
    this.held = this.within(row, column);
    this.move(row, column);
    for (const holder of this.holders) holder(this.held);
  }

  release() {
    this.move(this.held?.row ?? null, this.held?.column ?? null);
  }

  watch(watcher) {
    this.watchers.add(watcher);
    watcher(this.at);
  }
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** A crosshair over a frame, moved by pointer, touch and arrow keys. `onMove` is told the position after keys. */
export function crosshair(frame, cursor, onMove = () => {}) {
  const { height, width } = cursor;
  const line = (name) => svg("line", { class: name, "vector-effect": "non-scaling-stroke" });
  const lines = ["line-under", "line-over"].flatMap((name) => [line(`${name} down`), line(`${name} across`)]);
  const boxes = ["line-under", "line-over"].map((name) => svg("rect", { class: name, width: 1, height: 1, "vector-effect": "non-scaling-stroke" }));
  const overlay = svg("svg", { class: "crosshair", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, lines, boxes);
  frame.append(overlay);
  cursor.watch((at) => {
    overlay.toggleAttribute("hidden", !at);
    if (!at) return;
    for (const each of lines) {
      const down = each.classList.contains("down");
      const place = (down ? at.column : at.row) + 0.5;
      for (const [name, value] of Object.entries(down ? { x1: place, x2: place, y1: 0, y2: height } : { y1: place, y2: place, x1: 0, x2: width })) {
        each.setAttribute(name, value);
      }
    }
    for (const box of boxes) {
      box.setAttribute("x", at.column);
      box.setAttribute("y", at.row);
    }
  });
  const place = (event) => {
    const box = frame.getBoundingClientRect();
    return [Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width)];
  };
  frame.addEventListener("pointermove", (event) => cursor.move(...place(event)));
  frame.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") cursor.release(); });
  frame.addEventListener("click", (event) => cursor.hold(...place(event)));
  frame.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const from = cursor.at ?? { row: Math.floor(height / 2), column: Math.floor(width / 2) };
    const times = event.shiftKey ? 8 : 1;
    cursor.hold(from.row + step[0] * times, from.column + step[1] * times);
    onMove(cursor.at);
  });
}

/* ---------------------------------------------------------------- a panel and its legend */

/** A canvas over the ground that means "not observed". */
export function frame(label, properties = {}) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const element = h("div", { class: "frame", role: "img", "aria-label": label, ...properties }, canvas);
  return { element, canvas };
}

/** A colour bar with its ends and its unit, or the classes that occur (with their shares, if it is of one layer). */
export function legend(layers, view, { most = 6 } = {}) {
  const { map } = layers[0];
  if (view.kind === "classes") return classLegend(layers, most);
  if (view.kind === "verdict") {
    return h("ul", { class: "classes" }, swatchLine(WRONG, "wrong class"), swatchLine(RIGHT, "right class"));
  }
  if (view.kind === "composite") {
    return h("div", {}, `${compact(view.low)} to ${compact(view.high)} `, barUnit(map.bands[view.bands[0]].unit));
  }
  const ramp = h("div", { class: "colour-ramp" });
  ramp.style.background = gradient(view.colours);
  return h("div", { class: "bar-legend" }, ramp,
    h("div", { class: "ends" }, h("span", { text: compact(view.low) }), barUnit(view.unit ?? map.bands[view.bands[0]].unit), h("span", { text: compact(view.high) })));
}

/** A unit as it fits below a bar: `K x 100`, which counts hundredths, as `× 10⁻² K`; reflectance itself has no unit. */
function barUnit(unit) {
  const match = /^(.+) x 10(0*)$/.exec(unit);
  const power = match && [...String(match[2].length + 1)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  const short = match ? `× 10⁻${power}${match[1] === "reflectance" ? "" : ` ${match[1]}`}` : unit;
  return h("span", { class: "quiet unit", text: short, title: short === unit ? null : unit });
}

function classLegend(layers, most) {
  const { map } = layers[0];
  const counts = new Map();
  let total = 0;
  for (const { values } of layers) {
    for (const value of values) {
      if (Number.isNaN(value)) continue;
      counts.set(value, (counts.get(value) ?? 0) + 1);
      total += 1;
    }
  }
  const order = [...counts].sort((one, other) => other[1] - one[1]);
  const lines = order.slice(0, most).map(([index, count]) => swatchLine(rgb(map.classes[index].color), map.classes[index].name, layers.length > 1 ? "" : percent(count / total)));
  const more = order.length - lines.length;
  return h("ul", { class: "classes" }, lines, more > 0 ? h("li", { class: "quiet", text: `and ${more} more` }) : null);
}

function swatchLine(colour, name, share = "") {
  const swatch = h("span", { class: "swatch" });
  swatch.style.background = `rgb(${colour.join(" ")})`;
  return h("li", {}, swatch, h("span", { class: "name", text: name }), share ? h("span", { class: "quiet", text: share }) : null);
}

function percent(share) {
  return share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`;
}

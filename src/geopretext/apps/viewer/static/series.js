/** Series of images of a tile: which of them is shown, steps from one to the next, and what a pixel does over time. */

import { lineChart, nearestPlace } from "/static/chart.js";
import { h, iconButton } from "/static/dom.js";
import { compact } from "/static/panels.js";

const MILLISECONDS = 86_400_000;

/** A layer with several `images`, in the order of their `days` since 1970; `values` is the image that is shown. */
export function seriesLayer(map, dates, { shape: [, ...shape], values }) {
  const size = shape.reduce((product, side) => product * side, 1);
  const images = dates.map((_, place) => values.subarray(place * size, (place + 1) * size));
  return { map, shape, images, days: dates.map(dayOf), place: 0, values: images[0] ?? new Float32Array(size).fill(NaN) };
}

/** The day that all series show: each shows its image that is nearest to it. */
export class Moment {
  constructor(layers, wanted) {
    this.layers = layers.filter((layer) => layer.days.length);
    this.days = [...new Set(this.layers.flatMap((layer) => layer.days))].sort((one, other) => one - other);
    this.watchers = new Set();
    this.day = null;
    if (this.days.length) this.go(wanted ?? this.days[0]);
  }

  /** To the image before (-1) or after (1), of any series. */
  step(by) {
    if (this.day === null) return;
    this.go(this.days[Math.max(0, Math.min(this.days.length - 1, this.days.indexOf(this.day) + by))]);
    this.tell();
  }

  /** One image of a series, also if another one is of the same day. */
  show(layer, place) {
    this.go(layer.days[place]);
    this.turn(layer, place);
    this.tell();
  }

  go(wanted) {
    this.day = this.days[nearestPlace(this.days, wanted)];
    for (const layer of this.layers) this.turn(layer, nearestPlace(layer.days, this.day));
  }

  turn(layer, place) {
    layer.place = place;
    layer.values = layer.images[place];
  }

  tell() {
    for (const watcher of this.watchers) watcher(this.day);
  }

  watch(watcher) {
    this.watchers.add(watcher);
    watcher(this.day);
  }
}

/** A slider over the images of a series, a step to either side, and the date; null if there are none. */
export function stepper(layer, moment) {
  if (!layer.days.length) return null;
  const name = layer.map.title;
  const last = layer.days.length - 1;
  const go = (place) => moment.show(layer, Math.max(0, Math.min(last, place)));
  const slider = h("input", { type: "range", min: 0, max: last, step: 1, "aria-label": `Date of ${name}`, on: { input: () => go(Number(slider.value)) } });
  const words = h("span", { class: "date" });
  const before = iconButton("previous", `Image before, of ${name}`, () => go(layer.place - 1));
  const after = iconButton("next", `Image after, of ${name}`, () => go(layer.place + 1));
  moment.watch(() => {
    slider.value = layer.place;
    slider.setAttribute("aria-valuetext", dayText(layer.days[layer.place]));
    words.textContent = `${dayText(layer.days[layer.place])} · ${layer.place + 1} of ${last + 1}`;
  });
  return h("div", { class: "dates" }, h("div", { class: "row" }, before, slider, after), words);
}

/** Values over time of the bands that are drawn: of the pixel under the cursor, or else the mean of each image. */
export function profile(layer, moment, bands) {
  const { map, days, images, shape: [, height, width] } = layer;
  const size = height * width;
  const means = new Map();
  let hovered = null;
  let pixel = null;
  const chart = lineChart({
    label: `${map.title} over time`, height: 180, legend: true,
    x: { label: "date", tick: dayText, read: dayText }, y: { label: map.bands[0].unit }, read: compact,
    onPoint: (day) => { hovered = day; },
  });
  const where = h("p", { class: "quiet small" });
  const turn = () => { if (hovered !== null) moment.show(layer, nearestPlace(days, hovered)); };
  const picture = chart.element.querySelector(".line-plot");
  picture.addEventListener("click", turn);
  picture.addEventListener("keydown", (event) => { if (event.key === "Enter") turn(); });
  const meanOf = (band) => {
    if (!means.has(band)) means.set(band, images.map((values) => average(values.subarray(band * size, (band + 1) * size))));
    return means.get(band);
  };
  const draw = () => {
    where.textContent = pixel === null ? "Mean of the tile; move over a map for a pixel. A click goes to the date." : "The pixel under the cursor. A click goes to the date.";
    chart.draw(bands().map((band) => ({
      name: map.bands[band].name, x: days, points: true,
      y: pixel === null ? meanOf(band) : images.map((values) => values[band * size + pixel]),
    })), { mark: days[layer.place] });
  };
  return {
    element: h("section", { class: "card profile", dataset: { modality: map.name } }, h("h2", { text: `${map.title} over time` }), where, chart.element),
    draw,
    read(at) {
      pixel = at ? at.row * width + at.column : null;
      draw();
    },
  };
}

/** Mean of what is known, NaN if nothing is. */
export function average(values) {
  let [sum, count] = [0, 0];
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    sum += value;
    count += 1;
  }
  return count ? sum / count : NaN;
}

/** Days since 1970 of `2020-05-03`, or of a longer time that begins so; null of nothing. */
export function dayOf(text) {
  const day = Date.parse(`${(text ?? "").slice(0, 10)}T00:00Z`) / MILLISECONDS;
  return Number.isNaN(day) ? null : day;
}

/** `2020-05-03` of a day. */
export function dateOf(day) {
  return new Date(day * MILLISECONDS).toISOString().slice(0, 10);
}

function dayText(day) {
  return new Date(Math.round(day) * MILLISECONDS).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
}

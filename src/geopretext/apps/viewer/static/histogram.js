/** A histogram with a range to choose: drag over the bars, or move the two sliders beneath them. */

import { h, svg } from "/static/dom.js";
import { rangeText, valueText } from "/static/tiles.js";

const NO_BIN = 255;
const WIDTH = 240;
const HEIGHT = 44;

/**
 * @param column {label, unit, values, classes, range}
 * @param onChange called with [low, high] in numbers of the column, or null for all
 */
export class Histogram {
  constructor(column, onChange) {
    Object.assign(this, { column, onChange });
    const discrete = column.classes.length > 0;
    [this.low, this.high] = column.range;
    this.count = discrete ? column.classes.length : this.high > this.low ? 40 : 1;
    if (discrete) [this.low, this.high] = [0, this.count - 1];
    this.bins = this.#binsOf(discrete);
    this.total = new Uint32Array(256);
    for (const bin of this.bins) this.total[bin]++;
    this.range = [0, this.count - 1];
    this.#build();
  }

  #binsOf(discrete) {
    const { values } = this.column;
    const bins = new Uint8Array(values.length);
    const scale = this.count / (this.high - this.low || 1);
    for (let row = 0; row < values.length; row++) {
      const value = values[row];
      if (value !== value) bins[row] = NO_BIN;
      else bins[row] = discrete ? value : Math.min(this.count - 1, Math.floor((value - this.low) * scale));
    }
    return bins;
  }

  #build() {
    const { label } = this.column;
    const step = WIDTH / this.count;
    const bar = (name) => Array.from({ length: this.count }, (_, bin) => svg("rect", { class: name, x: bin * step, width: Math.max(0.5, step - (step > 4 ? 1 : 0)) }));
    [this.pale, this.strong] = [bar("bar-all"), bar("bar-shown")];
    this.drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.pale, this.strong);
    this.sliders = [0, 1].map((end) => h("input", {
      type: "range", min: 0, max: this.count - 1, step: 1, value: this.range[end],
      "aria-label": `${label}: ${end ? "highest" : "lowest"}`,
      on: { input: () => this.#slide(end) },
    }));
    this.said = h("output", { class: "quiet" });
    this.reset = h("button", { class: "text-button", type: "button", text: "all", hidden: true, "aria-label": `${label}: all`, on: { click: () => this.setBins(0, this.count - 1) } });
    this.root = h("div", { class: "histogram", role: "group", "aria-label": label },
      h("div", { class: "histogram-head" }, h("span", { text: label }), this.reset, this.said),
      this.drawing, h("div", { class: "sliders" }, this.sliders));
    this.#drag();
    this.#say();
  }

  #drag() {
    let first = null;
    const bin = (event) => {
      const { left, width } = this.drawing.getBoundingClientRect();
      return Math.max(0, Math.min(this.count - 1, Math.floor(((event.clientX - left) / width) * this.count)));
    };
    this.drawing.addEventListener("pointerdown", (event) => {
      first = bin(event);
      this.drawing.setPointerCapture(event.pointerId);
      this.setBins(first, first);
    });
    this.drawing.addEventListener("pointermove", (event) => {
      if (first !== null) this.setBins(Math.min(first, bin(event)), Math.max(first, bin(event)));
    });
    for (const end of ["pointerup", "pointercancel"]) this.drawing.addEventListener(end, () => { first = null; });
  }

  #slide(end) {
    const values = this.sliders.map((slider) => Number(slider.value));
    if (values[0] > values[1]) values[1 - end] = values[end];
    this.setBins(...values);
  }

  get isAll() {
    return this.range[0] === 0 && this.range[1] === this.count - 1;
  }

  /** The bins that are let through, told to whoever listens. */
  setBins(low, high, { quietly = false } = {}) {
    this.range = [low, high];
    this.sliders.forEach((slider, end) => { slider.value = this.range[end]; });
    this.#say();
    if (!quietly) this.onChange(this);
  }

  accepts(row) {
    const bin = this.bins[row];
    return bin !== NO_BIN && bin >= this.range[0] && bin <= this.range[1];
  }

  /** Where a bin of a quantity begins. */
  #edge(bin) {
    return this.low + (bin * (this.high - this.low)) / this.count;
  }

  /** What is let through as part of an address, in numbers of the column, `low..high`; an end without bound is empty. */
  toText() {
    if (this.isAll) return null;
    const said = (bin, end) => (this.column.classes.length ? bin : Number(this.#edge(bin + end).toPrecision(7)));
    const [low, high] = this.range;
    return `${low === 0 ? "" : said(low, 0)}..${high === this.count - 1 ? "" : said(high, 1)}`;
  }

  /** And back; what does not fit lets everything through. */
  fromText(text) {
    const ends = (text ?? "").split("..");
    if (ends.length !== 2 || !ends.every((end) => Number.isFinite(Number(end)))) return;
    const binOf = (end, fallback, past) => {
      if (end === "") return fallback;
      if (this.column.classes.length) return Math.round(Number(end));
      return Math.round(((Number(end) - this.low) * this.count) / (this.high - this.low || 1)) - past;
    };
    const [low, high] = [binOf(ends[0], 0, 0), binOf(ends[1], this.count - 1, 1)].map((bin) => Math.max(0, Math.min(this.count - 1, bin)));
    if (low <= high) this.setBins(low, high, { quietly: true });
  }

  #say() {
    const { classes } = this.column;
    const [low, high] = this.range;
    this.said.textContent = classes.length
      ? low === high ? classes[low] : `${classes[low]} – ${classes[high]}`
      : rangeText(this.column, this.#edge(low), this.#edge(high + 1));
    this.reset.hidden = this.isAll;
    this.sliders.forEach((slider, end) => slider.setAttribute("aria-valuetext", classes.length ? classes[this.range[end]] : valueText(this.column, this.#edge(this.range[end] + end))));
    this.strong.forEach((bar, bin) => bar.classList.toggle("out", bin < low || bin > high));
  }

  /** Draw how many rows each bin has of those that other filters let through. */
  draw(heights) {
    const highest = Math.max(1, ...this.total.slice(0, this.count));
    const set = (bars, numbers) => bars.forEach((bar, bin) => {
      // A bin that has anything shows.
      const height = numbers[bin] ? Math.max(1, (numbers[bin] / highest) * HEIGHT) : 0;
      bar.setAttribute("y", HEIGHT - height);
      bar.setAttribute("height", height);
    });
    set(this.pale, this.total);
    set(this.strong, heights);
  }
}

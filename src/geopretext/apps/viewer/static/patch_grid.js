/** A picture under a grid of patches that are shown or hidden: by mouse, touch or keyboard. */

import { h, svg } from "/static/dom.js";
import { paint } from "/static/panels.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** `onChange(visible)` is told all patches, row by row, after each change. */
export class PatchGrid {
  constructor({ label, onChange, announce }) {
    Object.assign(this, { onChange, announce, visible: [], side: 0, at: 0, drawn: "" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.cells = svg("svg", { class: "patches", "aria-hidden": "true" });
    this.element = h("div", { class: "frame patch-frame", tabindex: 0, role: "application", "aria-roledescription": "grid of patches", "aria-label": `${label}; arrows move, space toggles` }, this.canvas, this.cells);
    this.element.addEventListener("pointerdown", (event) => this.press(event));
    this.element.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) this.element.addEventListener(end, () => { this.painting = null; });
    this.element.addEventListener("click", (event) => { if (this.touched) this.toggle(this.placeOf(event)); });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** The picture, and how many patches it has along a side. */
  draw(layer, view, side) {
    paint(this.canvas, layer, view);
    if (side === this.side) return;
    this.side = side;
    this.at = 0;
    this.cells.setAttribute("viewBox", `0 0 ${side} ${side}`);
    const hatch = svg("pattern", { id: "hatch", width: 0.16, height: 0.16, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { class: "cover", width: 0.16, height: 0.16 }), svg("rect", { class: "stripe", width: 0.03, height: 0.16 }));
    this.rects = Array.from({ length: side * side }, (_, place) => svg("rect", { x: place % side, y: Math.floor(place / side), width: 1, height: 1, "data-patch": place, "vector-effect": "non-scaling-stroke" }));
    this.cells.replaceChildren(svg("defs", {}, hatch), ...this.rects);
  }

  /** No picture, until the next one: the tile cannot be shown. */
  clear() {
    this.canvas.width = 0;
  }

  show(visible) {
    this.visible = visible;
    if (!this.rects || visible.length !== this.rects.length) return;
    for (const [place, rect] of this.rects.entries()) {
      rect.setAttribute("class", `${visible[place] ? "shown" : "hidden-patch"}${place === this.at ? " at" : ""}`);
      // Not in the style sheet: there "#hatch" would be looked for in the sheet's own file.
      rect.setAttribute("fill", visible[place] ? "transparent" : "url(#hatch)");
    }
    if (this.rects[this.at]) this.cells.append(this.rects[this.at]); // its outline lies over those of its neighbours
  }

  placeOf(event) {
    const box = this.element.getBoundingClientRect();
    const cell = (offset, length) => Math.max(0, Math.min(this.side - 1, Math.floor((offset / length) * this.side)));
    return cell(event.clientY - box.top, box.height) * this.side + cell(event.clientX - box.left, box.width);
  }

  press(event) {
    // A finger may want to scroll: what it does is known at its end, by "click".
    this.touched = event.pointerType !== "mouse";
    if (this.touched || event.button !== 0 || !this.side) return;
    const place = this.placeOf(event);
    this.painting = !this.visible[place];
    this.set(place, this.painting);
  }

  drag(event) {
    if (this.painting === null || this.painting === undefined || event.buttons !== 1) return;
    const place = this.placeOf(event);
    if (this.visible[place] !== this.painting) this.set(place, this.painting);
  }

  toggle(place) {
    this.set(place, !this.visible[place]);
  }

  set(place, shown) {
    this.at = place;
    this.onChange(this.visible.map((each, number) => (number === place ? shown : each)));
    this.say();
  }

  onKey(event) {
    if (!this.side) return;
    if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      this.toggle(this.at);
      return;
    }
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const [row, column] = [Math.floor(this.at / this.side) + step[0], (this.at % this.side) + step[1]];
    if (row < 0 || column < 0 || row >= this.side || column >= this.side) return;
    this.at = row * this.side + column;
    this.show(this.visible);
    this.say();
  }

  say() {
    this.announce(`patch in row ${Math.floor(this.at / this.side) + 1}, column ${(this.at % this.side) + 1}: ${this.visible[this.at] ? "shown" : "hidden"}`);
  }
}

/** Patches as a short text for addresses: their number, then four patches a letter. */
export function patchesToText(visible) {
  const letters = [];
  for (let start = 0; start < visible.length; start += 4) {
    letters.push([0, 1, 2, 3].reduce((sum, bit) => sum + (visible[start + bit] ? 8 >> bit : 0), 0).toString(16));
  }
  return `${visible.length}-${letters.join("")}`;
}

/** Undo `patchesToText`; null if it is no such text. */
export function patchesFromText(text) {
  const match = /^(\d{1,4})-([0-9a-f]+)$/.exec(text ?? "");
  if (!match || match[2].length !== Math.ceil(Number(match[1]) / 4)) return null;
  return Array.from({ length: Number(match[1]) }, (_, place) => Boolean(Number.parseInt(match[2][place >> 2], 16) & (8 >> (place % 4))));
}

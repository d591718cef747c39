/** Filters over rows that know of each other: a row shows if none of them refuses it. */

import { CHOSEN, DIM, HIDDEN, SHOWN } from "/static/points.js";

/** Each filter is a bit; the bits that are set in `refused[row]` name the filters that refuse the row. */
export class Filters {
  constructor(rows) {
    this.rows = rows;
    this.refused = new Uint16Array(rows);
    this.bits = new Map();
  }

  /** The bit of a filter, given on first use. */
  bit(name) {
    if (!this.bits.has(name)) this.bits.set(name, 1 << this.bits.size);
    return this.bits.get(name);
  }

  /** Refuse rows by `accepts(row)`; null: refuse none. */
  set(name, accepts) {
    const { refused } = this;
    const bit = this.bit(name);
    for (let row = 0; row < refused.length; row++) {
      if (accepts === null || accepts(row)) refused[row] &= ~bit;
      else refused[row] |= bit;
    }
  }

  /** How many rows no filter refuses, but for those named, which are not asked. */
  count(...except) {
    const asked = ~except.reduce((bits, name) => bits | this.bit(name), 0);
    const { refused } = this;
    let count = 0;
    for (let row = 0; row < refused.length; row++) if (!(refused[row] & asked)) count++;
    return count;
  }

  accepts(row) {
    return this.refused[row] === 0;
  }

  /** Counts of `bins[row]` over rows that no filter but `name` refuses; 255: in no bin. */
  histogram(name, bins, count) {
    const asked = ~this.bit(name);
    const { refused } = this;
    const heights = new Uint32Array(256);
    for (let row = 0; row < bins.length; row++) if (!(refused[row] & asked)) heights[bins[row]]++;
    return heights.slice(0, count);
  }

  /** What of each row is drawn: rows beside a selection (`shape`, `region`) are dim, other refused ones are not there. */
  flags(chosen = [], highlighted = null) {
    const shape = this.bit("shape") | this.bit("region");
    const flags = new Uint8Array(this.rows);
    for (let row = 0; row < flags.length; row++) {
      const refused = this.refused[row];
      if (refused & ~shape) flags[row] = HIDDEN;
      else if (refused || (highlighted && !highlighted(row))) flags[row] = DIM;
      else flags[row] = SHOWN;
    }
    for (const row of chosen) if (row >= 0 && row < flags.length) flags[row] = CHOSEN;
    return flags;
  }
}

/** A test for points inside a selection: {kind: "box", points: [x0, y0, x1, y1]} or {kind: "lasso", points: [x, y, ...]}. */
export function insideOf(shape, positions) {
  const { points } = shape;
  const xs = points.filter((_, at) => at % 2 === 0);
  const ys = points.filter((_, at) => at % 2 === 1);
  const [west, east] = [Math.min(...xs), Math.max(...xs)];
  const [south, north] = [Math.min(...ys), Math.max(...ys)];
  const within = (x, y) => x >= west && x <= east && y >= south && y <= north;
  if (shape.kind === "box") return (row) => within(positions[2 * row], positions[2 * row + 1]);
  return (row) => {
    const [x, y] = [positions[2 * row], positions[2 * row + 1]];
    if (!within(x, y)) return false;
    let inside = false;
    for (let at = 0, before = xs.length - 1; at < xs.length; before = at++) {
      const crosses = ys[at] > y !== ys[before] > y;
      if (crosses && x < ((xs[before] - xs[at]) * (y - ys[at])) / (ys[before] - ys[at]) + xs[at]) inside = !inside;
    }
    return inside;
  };
}

/** A selection as part of an address, and back. */
export function shapeToText(shape) {
  return shape && `${shape.kind}:${shape.points.map((value) => Number(value.toPrecision(6))).join(",")}`;
}

export function shapeFromText(text) {
  const [kind, numbers = ""] = (text ?? "").split(":");
  const points = numbers.split(",").map(Number);
  const fits = kind === "box" ? points.length === 4 : kind === "lasso" && points.length >= 6 && points.length % 2 === 0;
  return fits && points.every(Number.isFinite) ? { kind, points } : null;
}

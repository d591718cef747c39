/**
 * A plane full of points to move over: drag, wheel, pinch and keys; click a point, or draw around many.
 *
 * Three canvases: what lies beneath (drawn by `drawGround`), the points, and marks on top of them.
 */

import { h, iconButton } from "/static/dom.js";
import { PointLayer } from "/static/points.js";

const CLICK = 5;
const REACH = { mouse: 12, touch: 24, pen: 16 };
const FARTHEST_IN = 40000;
/** While view or filters move, a frame that takes longer than this (ms) draws fewer of many points, and a shorter one more. */
const SLOW_FRAME = 45, FAST_FRAME = 22;
const MANY = 50000;
const MOST_LEFT_OUT = 16;

export class Plot {
  /**
   * @param label what it shows, for screen readers
   * @param extent [west, south, east, north] of all there is, in units of the positions
   * @param home [west, south, east, north] shown at first
   * @param small with tools for zooming only
   * @param on {ground(ctx, plot), pick(row), hover(row, x, y), shape(shape or null), moved(view or null: all)}
   */
  constructor({ label, extent, home = extent, theme, on, small = false }) {
    Object.assign(this, { extent, home, theme, on, mode: "pan", shape: null, drawing: null, rings: [], hovered: -1, every: 1, least: 1.8, moved: false });
    this.pointers = new Map();
    this.canvases = ["ground", "points", "marks"].map((name) => h("canvas", { class: `plot-${name}`, "aria-hidden": name !== "marks" }));
    const [, points, marks] = this.canvases;
    marks.tabIndex = 0;
    marks.setAttribute("role", "application");
    marks.setAttribute("aria-label", `${label}. Arrow keys move, plus and minus zoom, Home shows all, Enter picks the point nearest to the middle, Escape ends a selection.`);
    this.marks = marks;
    this.tip = h("div", { class: "plot-tip", hidden: true });
    this.root = h("div", { class: small ? "plot small" : "plot" }, ...this.canvases, this.tip, this.#tools());
    this.layer = new PointLayer(points, () => this.redraw());
    this.view = { x: 0, y: 0, scale: 1 };
    this.positions = new Float32Array(0);
    this.flags = new Uint8Array(0);
    this.#listen();
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(this.root);
  }

  #tools() {
    this.modes = Object.fromEntries(
      [["pan", "Move"], ["box", "Select in a box (or drag with Shift)"], ["lasso", "Select by drawing around"]].map(([mode, label]) => [
        mode, iconButton(mode, label, () => this.setMode(mode), { "aria-pressed": String(mode === "pan") }),
      ]),
    );
    return h("div", { class: "plot-tools" },
      h("div", { class: "plot-group plot-modes", role: "group", "aria-label": "What dragging does" }, Object.values(this.modes)),
      h("div", { class: "plot-group", role: "group", "aria-label": "Zoom" },
        iconButton("plus", "Zoom in", () => this.zoom(1.6)),
        iconButton("minus", "Zoom out", () => this.zoom(1 / 1.6)),
        iconButton("home", "Show all", () => this.showAll())));
  }

  setMode(mode) {
    this.mode = mode;
    for (const [name, button] of Object.entries(this.modes)) button.setAttribute("aria-pressed", String(name === mode));
    this.marks.dataset.mode = mode;
  }

  setPositions(positions) {
    this.positions = positions;
    this.layer.set("position", positions);
  }

  /** `least`: pixels across the smallest point. */
  setLooks(looks, palette, { least = 1.8 } = {}) {
    this.least = least;
    this.layer.set("look", looks);
    this.layer.set("palette", palette);
  }

  setFlags(flags) {
    this.flags = flags;
    this.layer.set("flag", flags);
    this.#thin();
    this.redraw();
  }

  /** Other positions have another extent, and are shown whole. */
  setExtent(extent, home = extent) {
    Object.assign(this, { extent, home });
    this.showAll();
  }

  /** Look at another part; until then all is shown, also in a window of another size. */
  setView(view) {
    this.moved = true;
    this.#look(view);
  }

  #look(view) {
    const lowest = 0.7 * this.#fit(this.extent).scale;
    const scale = Math.max(lowest, Math.min(FARTHEST_IN, view.scale));
    const [west, south, east, north] = this.extent;
    this.view = { x: Math.max(west, Math.min(east, view.x)), y: Math.max(south, Math.min(north, view.y)), scale };
    this.#thin();
    this.redraw();
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.on.moved?.(this.moved ? this.view : null), 250);
  }

  /** On a machine that draws slowly, leave points out until view and filters rest. */
  #thin() {
    clearTimeout(this.resting);
    if (this.flags.length < MANY) return;
    this.moving = true;
    this.resting = setTimeout(() => {
      this.moving = false;
      this.lastFrame = null;
      this.redraw();
    }, 200);
  }

  /** Of how many rows one is drawn in this frame. */
  #every(now) {
    if (!this.moving) return 1;
    const took = now - (this.lastFrame ?? now - SLOW_FRAME);
    this.lastFrame = now;
    if (took > SLOW_FRAME) this.every = Math.min(MOST_LEFT_OUT, this.every * 2);
    else if (took < FAST_FRAME) this.every = Math.max(1, this.every / 2);
    return this.every;
  }

  showAll() {
    this.moved = false;
    this.wanted = null;
    if (this.width) this.#look(this.#fit(this.home));
  }

  zoom(factor, [x, y] = [this.width / 2, this.height / 2]) {
    const [worldX, worldY] = this.toWorld(x, y);
    this.setView({ ...this.view, scale: this.view.scale * factor });
    const [nowX, nowY] = this.toWorld(x, y);
    this.setView({ ...this.view, x: this.view.x + worldX - nowX, y: this.view.y + worldY - nowY });
  }

  #fit([west, south, east, north]) {
    const air = 1.06;
    const scale = Math.min((this.width || 1) / ((east - west) * air), (this.height || 1) / ((north - south) * air));
    return { x: (west + east) / 2, y: (south + north) / 2, scale };
  }

  toWorld(x, y) {
    return [this.view.x + (x - this.width / 2) / this.view.scale, this.view.y - (y - this.height / 2) / this.view.scale];
  }

  toScreen(x, y) {
    return [this.width / 2 + (x - this.view.x) * this.view.scale, this.height / 2 - (y - this.view.y) * this.view.scale];
  }

  /** The point that shows nearest to a place on the screen, or -1. */
  nearest(x, y, reach = Infinity) {
    const [worldX, worldY] = this.toWorld(x, y);
    let best = -1;
    let least = (reach / this.view.scale) ** 2;
    const { positions, flags } = this;
    for (let row = 0; row < flags.length; row++) {
      if (flags[row] < 2) continue;
      const dx = positions[2 * row] - worldX;
      const dy = positions[2 * row + 1] - worldY;
      const square = dx * dx + dy * dy;
      if (square < least) {
        least = square;
        best = row;
      }
    }
    return best;
  }

  #listen() {
    const { marks } = this;
    marks.addEventListener("pointerdown", (event) => this.#down(event));
    marks.addEventListener("pointermove", (event) => this.#move(event));
    marks.addEventListener("pointerup", (event) => this.#up(event));
    marks.addEventListener("pointercancel", (event) => this.#up(event, true));
    marks.addEventListener("pointerleave", () => this.#hover(-1));
    marks.addEventListener("keydown", (event) => this.#key(event));
    marks.addEventListener("focus", () => this.redraw());
    marks.addEventListener("blur", () => this.redraw());
    marks.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), this.#at(event));
    }, { passive: false });
  }

  #at(event) {
    const { left, top } = this.marks.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  #down(event) {
    if (event.button > 0) return;
    this.marks.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#at(event));
    this.start = this.#at(event);
    this.#hover(-1);
    const mode = event.shiftKey ? "box" : this.mode;
    this.travel = 0;
    this.drawing = this.pointers.size === 1 && mode !== "pan" ? { kind: mode, points: this.toWorld(...this.start) } : null;
  }

  #move(event) {
    const now = this.#at(event);
    if (!this.pointers.has(event.pointerId)) {
      this.pending ??= requestAnimationFrame(() => {
        this.pending = null;
        this.#hover(this.nearest(...now, REACH[event.pointerType] ?? 12));
      });
      return;
    }
    const before = this.pointers.get(event.pointerId);
    this.travel += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].find(([id]) => id !== event.pointerId).slice(1);
      const distance = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
      this.zoom(distance(now) / distance(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      this.#shift((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else if (this.drawing) {
      const [x, y] = this.toWorld(...now);
      if (this.drawing.kind === "box") this.drawing.points.splice(2, 2, x, y);
      else this.drawing.points.push(x, y);
      this.redraw();
    } else if (this.travel > CLICK) {
      this.#shift(now[0] - before[0], now[1] - before[1]);
    }
    this.pointers.set(event.pointerId, now);
  }

  #shift(right, down) {
    this.setView({ ...this.view, x: this.view.x - right / this.view.scale, y: this.view.y + down / this.view.scale });
  }

  #up(event, cancelled = false) {
    const pinched = this.pointers.size > 1;
    if (!this.pointers.delete(event.pointerId)) return;
    const { drawing } = this;
    this.drawing = null;
    if (cancelled || pinched) return this.redraw();
    if (this.travel <= CLICK) {
      const row = this.nearest(...this.#at(event), REACH[event.pointerType] ?? 12);
      this.on.pick?.(row);
    } else if (drawing) {
      this.on.shape?.(thin(drawing));
    }
    this.redraw();
  }

  #hover(row) {
    if (row === this.hovered && row < 0) return;
    this.hovered = row;
    this.marks.classList.toggle("over", row >= 0);
    this.tip.hidden = row < 0;
    if (row >= 0) {
      this.tip.textContent = this.on.hover?.(row) ?? "";
      const [x, y] = this.toScreen(this.positions[2 * row], this.positions[2 * row + 1]);
      this.tip.style.left = `${Math.min(x + 12, this.width - this.tip.offsetWidth - 6)}px`;
      this.tip.style.top = `${Math.max(6, Math.min(y - 12 - this.tip.offsetHeight, this.height - 40))}px`;
    }
    this.redraw();
  }

  #key(event) {
    const step = 60;
    const actions = {
      ArrowLeft: () => this.#shift(step, 0), ArrowRight: () => this.#shift(-step, 0),
      ArrowUp: () => this.#shift(0, step), ArrowDown: () => this.#shift(0, -step),
      "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4),
      Home: () => this.showAll(), 0: () => this.showAll(),
      Enter: () => this.on.pick?.(this.nearest(this.width / 2, this.height / 2)),
      Escape: () => this.on.shape?.(null),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.root;
    if (!clientWidth || !clientHeight) return;
    const first = !this.width;
    [this.width, this.height] = [clientWidth, clientHeight];
    for (const canvas of this.canvases) {
      canvas.width = Math.round(clientWidth * devicePixelRatio);
      canvas.height = Math.round(clientHeight * devicePixelRatio);
    }
    if (first && this.wanted) this.setView(this.wanted);
    else if (!this.moved) this.view = this.#fit(this.home);
    this.redraw();
  }

  /** Show this view as soon as there is a size. */
  begin(view) {
    this.wanted = view;
    if (this.width && view) this.setView(view);
  }

  redraw() {
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      this.#draw(now);
    });
  }

  /** Pixels across a point: smaller the more of them show, larger from nearby. */
  get size() {
    const crowd = Math.sqrt((this.width * this.height) / Math.max(1, this.layer.shown)) * 0.42;
    const near = (this.view.scale / this.#fit(this.home).scale) ** 0.35;
    return Math.max(1.6, Math.min(18, Math.max(this.least, Math.min(10, crowd)) * Math.max(1, near)));
  }

  #draw(now) {
    if (!this.width || this.disposed) return;
    const style = getComputedStyle(document.documentElement);
    this.color = (name) => style.getPropertyValue(`--${name}`).trim();
    const [ground, , marks] = this.canvases.map((canvas, at) => (at === 1 ? null : canvas.getContext("2d")));
    for (const context of [ground, marks]) {
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
    }
    this.on.ground?.(ground, this);
    this.layer.draw(this.view, { size: this.size, rim: this.theme.name === "dark" ? [14, 20, 25] : [255, 255, 255], dim: this.theme.name === "dark" ? 0.2 : 0.16, every: this.#every(now) });
    this.#drawMarks(marks);
  }

  #drawMarks(context) {
    const shape = this.drawing ?? this.shape;
    context.strokeStyle = this.color("accent");
    context.lineWidth = 1.5;
    if (shape && shape.points.length >= 4) {
      const corners = shape.kind === "box"
        ? [[0, 1], [2, 1], [2, 3], [0, 3]].map(([x, y]) => this.toScreen(shape.points[x], shape.points[y]))
        : shape.points.flatMap((x, at) => (at % 2 ? [] : [this.toScreen(x, shape.points[at + 1])]));
      context.beginPath();
      for (const corner of corners) context.lineTo(...corner);
      context.closePath();
      context.setLineDash([5, 4]);
      context.stroke();
      context.setLineDash([]);
    }
    for (const row of [this.hovered, ...this.rings]) {
      if (row < 0 || row >= this.flags.length) continue;
      const [x, y] = this.toScreen(this.positions[2 * row], this.positions[2 * row + 1]);
      context.strokeStyle = this.color("ink");
      context.lineWidth = 2;
      context.beginPath();
      context.arc(x, y, this.size / 2 + 5, 0, 2 * Math.PI);
      context.stroke();
    }
    if (this.marks.matches(":focus-visible")) {
      const [x, y] = [this.width / 2, this.height / 2];
      context.strokeStyle = this.color("focus");
      context.lineWidth = 1.5;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 4 * dx, y + 4 * dy);
        context.lineTo(x + 11 * dx, y + 11 * dy);
      }
      context.stroke();
    }
  }

  dispose() {
    this.disposed = true;
    this.observer.disconnect();
    clearTimeout(this.telling);
    clearTimeout(this.resting);
    this.layer.dispose();
  }
}

/** What part is looked at, as part of an address, and back. */
export function viewToText(view) {
  return view && [view.x, view.y, view.scale].map((value) => Number(value.toPrecision(6))).join(",");
}

export function viewFromText(text) {
  const [x, y, scale, ...rest] = (text ?? "").split(",").map(Number);
  return !rest.length && [x, y, scale].every(Number.isFinite) && scale > 0 ? { x, y, scale } : null;
}

/** A lasso of at most 60 corners, so that it fits into an address. */
function thin(shape) {
  const corners = shape.points.length / 2;
  const step = Math.ceil(corners / 60);
  return { kind: shape.kind, points: shape.points.filter((_, at) => Math.floor(at / 2) % step === 0) };
}

/** Embeddings on a plane beside the map: what is alike lies together, and a clicked place finds its neighbours. */

import { job } from "/static/api.js";
import { choice, emptyPanel, errorPanel, h, iconButton, loading, number, position } from "/static/dom.js";
import { Filters, insideOf, shapeFromText, shapeToText } from "/static/filters.js";
import { Ground, GLOBE } from "/static/ground.js";
import { legend } from "/static/legend.js";
import { LEAST_SIZE, looksOf, palette, UNKNOWN_LOOK } from "/static/palette.js";
import { Plot, viewFromText, viewToText } from "/static/plot.js";
import { projectAll } from "/static/projection.js";
import { colorings, wordOf } from "/static/tiles.js";

export const title = "Embedding";

const FOUND = 12;
const UMAP_ABOUT = "UMAP keeps neighbours together; distances between groups mean nothing.";

export async function show(root, context) {
  const sources = await context.api("embeddings");
  if (!sources.length) {
    root.append(missing(context));
    return null;
  }
  const { state } = context;
  const source = meant(sources, state);
  const waiting = loading("Reading embeddings");
  root.append(h("div", { class: "page" }, waiting));
  const made = await job(`embeddings/${source.id}`, {
    signal: context.signal,
    onProgress: ({ what, done, total }) => {
      waiting.textContent = total ? `${what}: ${number(done)} of ${number(total)}` : what;
    },
  });
  const rows = await loadRows(context, source);
  const page = new EmbeddingPage(root, context, { sources, source, made, rows });
  await page.layOut(state.get("layout") === "umap" && made.umap ? "umap" : "pca");
  await page.restore();
  return page;
}

/** Of all embeddings those that the address means: a table says more than a bundle, and a bundle more than a store. */
export function meant(sources, state) {
  const named = sources.find((each) => each.id === state.get("source"));
  if (named) return named;
  const score = (source) => ["store", "bundle", "table"].reduce(
    (sum, key, at) => sum + (state.get(key) !== null && source[key] === state.get(key) ? 2 ** at : 0), 0);
  return sources.reduce((best, each) => (score(each) > score(best) ? each : best));
}

function missing({ opened }) {
  if (!opened.bundles.length) {
    const store = opened.stores[0]?.path ?? "tiles.zarr";
    return emptyPanel("No embeddings are open", "They are made by a bundle, and none is open. Train one, or open a table of embeddings.",
      `geopretext pretrain mp-mae-atto-56-8 --data ${store} --out runs/first`);
  }
  return emptyPanel("No tiles are open", "The bundle has no tiles to embed. Open the viewer with a store as well.",
    `geopretext view ${opened.name} --data tiles.zarr`);
}

async function loadRows(context, source) {
  const base = `embeddings/${source.id}/columns`;
  const described = await context.api(base);
  const names = ["tile", ...described.map((column) => column.name)];
  const values = await Promise.all(names.map((name) => context.bytes(`${base}/${name}`)));
  const [tile, ...rest] = values.map((each) => new Float32Array(each));
  return { tile, columns: Object.fromEntries(described.map((column, at) => [column.name, { ...column, values: rest[at] }])) };
}

/** Which inputs of an encoder of several the vectors were made from. */
function inputsText({ used, absent }) {
  return `Made from ${used.join(", ")}${absent.length ? `; without ${absent.join(", ")}` : ""}.`;
}

class EmbeddingPage {
  constructor(root, context, { sources, source, made, rows }) {
    Object.assign(this, { root, context, sources, source, made, rows });
    this.filters = new Filters(made.rows);
    this.like = [];
    this.unlike = [];
    this.found = [];
    this.planes = new Map();
    const { lat, lon } = rows.columns;
    this.places = lat && lon ? projectAll(lat.values, lon.values) : null;
    this.ground = new Ground();
    this.#build();
    this.unwatch = context.theme.watch(() => this.#paint());
    if (source.store) this.#loadLand();
  }

  #build() {
    const { context, rows, source } = this;
    const options = colorings(rows.columns);
    this.column = options.find((column) => column.name === context.state.get("color")) ?? options[0] ?? plain(this.made.rows);
    this.hidden = new Set((context.state.get("hide") ?? "").split(",").filter(Boolean).map(Number));
    const on = { pick: (row) => this.#pick(row), hover: (row) => `Tile ${rows.tile[row]} · ${wordOf(this.column, row)}` };
    this.plot = new Plot({
      label: `Plane of ${number(this.made.rows)} embeddings`, extent: [-1, -1, 1, 1], theme: context.theme,
      on: { ...on, ground: (canvas, plot) => this.#axes(canvas, plot), shape: (shape) => this.#select("shape", shape), moved: (view) => context.state.set({ at: viewToText(view) }) },
    });
    this.map = this.places && new Plot({
      label: "Map of the same tiles", extent: GLOBE, theme: context.theme, small: true,
      on: { ...on, ground: (canvas, plot) => this.ground.draw(canvas, plot), shape: (shape) => this.#select("region", shape), moved: (view) => context.state.set({ map: viewToText(view) }) },
    });
    this.map?.setPositions(this.places);
    this.map?.begin(viewFromText(context.state.get("map")));
    this.message = h("p", { class: "plane-note" });
    this.counted = h("p", { class: "counted" });
    this.clear = h("button", { class: "text-button", type: "button", text: "clear filters", on: { click: () => this.#clear() } });
    this.legendBox = h("div", {});
    this.neighbours = h("section", { class: "neighbours card", "aria-label": "Neighbours", hidden: true });
    this.layouts = Object.fromEntries([["pca", "PCA"], ["umap", "UMAP"]].map(([kind, label]) => [kind,
      h("button", { class: "button", type: "button", text: label, disabled: kind === "umap" && !this.made.umap, title: kind === "umap" && !this.made.umap ? 'pip install "geopretext[viewer]"' : "", on: { click: () => this.layOut(kind) } })]));
    const names = this.sources.map((each) => [each.id, each.name]);
    this.root.replaceChildren(
      h("div", { class: "plane" }, this.plot.root, this.message),
      h("aside", { class: "side", "aria-label": "Map, colours and neighbours" },
        h("div", { class: "side-head" }, this.counted, this.clear),
        names.length > 1 ? choice("Embeddings", names, source.id, (id) => this.#open(id)) : h("p", { class: "small quiet", text: source.name }),
        source.note ? h("p", { class: "small quiet", text: source.note }) : null,
        this.made.inputs ? h("p", { class: "small quiet inputs", text: inputsText(this.made.inputs) }) : null,
        h("div", { class: "row", role: "group", "aria-label": "Layout" }, Object.values(this.layouts),
          this.made.umap ? null : h("span", { class: "quiet small", text: "UMAP: umap-learn is not installed" })),
        this.map ? h("div", { class: "inset" }, h("span", { class: "inset-label small quiet", text: "Where they are" }), this.map.root) : null,
        this.neighbours,
        options.length ? choice("Colour by", options.map((column) => [column.name, column.label]), this.column.name, (name) => this.#color(name)) : null,
        this.legendBox));
  }

  #open(id) {
    const { table, bundle, store } = this.sources.find((each) => each.id === id);
    this.context.go("embedding", { source: id, table, bundle, store, tile: null });
  }

  async #loadLand() {
    try {
      this.ground.setLand((await this.context.api(`stores/${this.source.store}/land`)).rings);
      this.map?.redraw();
    } catch (error) {
      if (error.name !== "AbortError") this.context.announce(`No coastlines: ${error.message}`);
    }
  }

  /** Show a layout; it is computed if it has not been. */
  async layOut(kind) {
    const { context, source } = this;
    const base = `embeddings/${source.id}/layouts/${kind}`;
    this.wanted = kind;
    for (const [name, button] of Object.entries(this.layouts)) button.setAttribute("aria-pressed", String(name === kind));
    this.message.className = "plane-note busy";
    this.message.textContent = kind === "umap" ? "Laying out by UMAP" : "Computing principal components";
    try {
      if (!this.planes.has(kind)) {
        const done = await job(base, {
          signal: context.signal,
          onProgress: ({ seconds }) => { this.message.textContent = `Laying out, ${Math.round(seconds)} s. The first time takes longer.`; },
        });
        this.planes.set(kind, { ...done, points: new Float32Array(await context.bytes(`${base}/points`)) });
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      this.message.className = "plane-note";
      this.message.replaceChildren(errorPanel(error, { inline: true }));
      return;
    }
    if (this.wanted === kind) this.#showPlane(kind);
  }

  #showPlane(kind) {
    const first = !this.kind;
    this.kind = kind;
    this.plane = this.planes.get(kind);
    const { points, laid_out: laidOut, explained } = this.plane;
    this.context.state.set({ layout: kind === "pca" ? null : kind });
    const parts = [
      kind === "umap" ? UMAP_ABOUT : `Principal components: ${explained.map((share, axis) => `${["across", "up"][axis]} ${(100 * share).toFixed(1)} %`).join(", ")} of the variance.`,
      laidOut < this.made.rows ? `${number(laidOut)} of ${number(this.made.rows)} rows are laid out.` : "",
      this.made.tiles && this.made.rows < this.made.tiles ? `${number(this.made.rows)} of ${number(this.made.tiles)} tiles are embedded; geopretext embed makes a table of all.` : "",
    ];
    this.message.className = "plane-note";
    this.message.textContent = parts.filter(Boolean).join(" ");
    this.filters.set("known", laidOut < this.made.rows ? (row) => points[2 * row] === points[2 * row] : null);
    this.plot.setPositions(points);
    this.plot.setExtent(extentOf(points));
    // The address has a view of one layout, that which it was opened on.
    if (first) this.plot.begin(viewFromText(this.context.state.get("at")));
    this.#select("shape", shapeFromText(this.context.state.get("shape")));
    this.#applyHidden();
    this.#paint();
  }

  /** Selections and neighbours that the address names. */
  async restore() {
    const { state } = this.context;
    this.#select("region", this.places && shapeFromText(state.get("region")));
    const rows = (name) => (state.get(name) ?? "").split(",").filter(Boolean).map(Number).filter((row) => Number.isInteger(row) && row >= 0 && row < this.made.rows);
    this.like = rows("like");
    this.unlike = rows("unlike");
    const tile = state.get("tile");
    // Another page may have gone on to another tile.
    if (tile !== null && this.rows.tile[this.like[0]] !== Number(tile)) {
      this.unlike = [];
      this.like = [this.rows.tile.indexOf(Number(tile))].filter((row) => row >= 0);
      if (!this.like.length) return this.#showAbsent(tile);
    }
    if (this.like.length) await this.#find();
  }

  #axes(canvas, plot) {
    canvas.strokeStyle = plot.color("line");
    canvas.lineWidth = 1;
    if (this.kind !== "pca") return;
    const [x, y] = plot.toScreen(0, 0);
    canvas.beginPath();
    canvas.moveTo(0, y);
    canvas.lineTo(plot.width, y);
    canvas.moveTo(x, 0);
    canvas.lineTo(x, plot.height);
    canvas.stroke();
  }

  #color(name) {
    this.column = this.rows.columns[name];
    this.hidden.clear();
    this.context.state.set({ color: name, hide: null });
    this.#applyHidden();
    this.#paint();
  }

  #applyHidden() {
    const { hidden, column: { values, classes } } = this;
    this.filters.set("class", hidden.size && classes.length ? (row) => !hidden.has(values[row] === values[row] ? values[row] : UNKNOWN_LOOK) : null);
  }

  #paint() {
    const { theme } = this.context;
    for (const plot of this.#plots()) plot.setLooks(looksOf(this.column), palette(this.column, theme.name), { least: this.column.classes.length && plot === this.plot ? LEAST_SIZE : undefined });
    this.#drawLegend();
    this.#refresh();
  }

  #drawLegend() {
    const focused = this.legendBox.contains(document.activeElement) ? document.activeElement.dataset.code : null;
    const change = (update) => {
      update();
      this.context.state.set({ hide: [...this.hidden].join(",") || null });
      this.#applyHidden();
      this.#drawLegend();
      this.#refresh();
    };
    this.legendBox.replaceChildren(legend(this.column, {
      theme: this.context.theme.name, hidden: this.hidden,
      on: {
        toggle: (code) => change(() => { if (!this.hidden.delete(code)) this.hidden.add(code); }),
        only: (code) => change(() => { this.hidden = new Set([...this.column.classes.keys(), UNKNOWN_LOOK].filter((other) => other !== code)); }),
        highlight: (code) => this.#highlight(code),
      },
    }));
    if (focused) this.legendBox.querySelector(`[data-code="${focused}"]`)?.focus();
  }

  #highlight(code) {
    const { values } = this.column;
    const fits = code === null ? null : code === UNKNOWN_LOOK ? (row) => values[row] !== values[row] : (row) => values[row] === code;
    this.#flag(fits);
  }

  #plots() {
    return this.map ? [this.plot, this.map] : [this.plot];
  }

  #flag(highlighted = null) {
    const flags = this.filters.flags([...this.like, ...this.found], highlighted);
    for (const plot of this.#plots()) {
      plot.rings = this.like;
      plot.setFlags(flags);
    }
  }

  /** `shape` is drawn on the plane, `region` on the map; both say which rows are meant. */
  #select(name, shape) {
    const plot = name === "shape" ? this.plot : this.map;
    if (!plot) return;
    plot.shape = shape;
    this.filters.set(name, shape && insideOf(shape, plot.positions));
    this.context.state.set({ [name]: shapeToText(shape) });
    this.#refresh();
  }

  #clear() {
    this.hidden.clear();
    this.context.state.set({ hide: null });
    this.#applyHidden();
    this.#drawLegend();
    this.#select("shape", null);
    this.#select("region", null);
  }

  #refresh() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.#flag();
      const shown = this.filters.count();
      this.counted.replaceChildren(h("strong", { text: number(shown) }), shown === this.made.rows ? " rows" : ` of ${number(this.made.rows)} rows`);
      this.clear.hidden = !this.hidden.size && !this.plot.shape && !this.map?.shape;
      this.root.dataset.shown = shown;
    });
  }

  async #pick(row) {
    this.like = row < 0 ? [] : [row];
    this.unlike = [];
    await this.#find();
  }

  async #refine(list, row) {
    for (const name of ["like", "unlike"]) this[name] = this[name].filter((other) => other !== row);
    if (list) this[list].push(row);
    await this.#find();
    // The button that was pressed is gone: go on where its tile is now.
    const place = this.neighbours.querySelector(`[data-row="${row}"] button`) ?? this.neighbours.querySelector("button");
    (place ?? this.plot.marks).focus();
  }

  async #find() {
    const { like, unlike, context, source } = this;
    context.state.set({ like: like.join(",") || null, unlike: unlike.join(",") || null, tile: source.store && like.length ? this.rows.tile[like[0]] : null });
    if (!like.length) {
      this.found = [];
      this.neighbours.hidden = true;
      this.#refresh();
      return;
    }
    this.neighbours.hidden = false;
    this.neighbours.replaceChildren(h("h2", { text: "Most alike" }), loading());
    try {
      const told = await context.api(`embeddings/${source.id}/neighbours?like=${like.join(",")}&unlike=${unlike.join(",")}&count=${FOUND}`);
      if (this.like !== like || this.unlike !== unlike) return;
      this.found = told.rows;
      this.#showNeighbours(told);
    } catch (error) {
      if (error.name !== "AbortError") this.neighbours.replaceChildren(errorPanel(error, { inline: true }));
    }
    this.#refresh();
  }

  /** Of a tile that has no vector here, as most have not in a large store. */
  #showAbsent(tile) {
    const text = `Tile ${tile} is not among the ${number(this.made.rows)} that were embedded here. Click one that is.`;
    this.neighbours.hidden = false;
    this.neighbours.replaceChildren(h("h2", { text: "Most alike" }), h("p", { class: "quiet", text }));
    this.context.announce(text);
  }

  #showNeighbours({ rows, similarity, about }) {
    const close = iconButton("close", "End the search", () => { this.#pick(-1); this.plot.marks.focus(); });
    const example = (row, list) => this.#example(row, about[row], list);
    this.neighbours.replaceChildren(
      h("div", { class: "tile-card-head" }, h("h2", { text: "Most alike" }), close),
      h("div", { class: "examples" }, this.like.map((row) => example(row, "like")), this.unlike.map((row) => example(row, "unlike"))),
      h("p", { class: "quiet small", text: "Cosine of standardised vectors. Add more like it, or what it is not, to refine." }),
      h("ol", { class: "found" }, rows.map((row, at) => h("li", { dataset: { row } },
        this.#picture(row, about[row]),
        h("span", { class: "small", text: similarity[at].toFixed(2) }),
        h("span", { class: "refine" },
          iconButton("plus", `Tile ${about[row].tile}: more like this`, () => this.#refine("like", row)),
          iconButton("minus", `Tile ${about[row].tile}: not like this`, () => this.#refine("unlike", row)))))),
    );
    this.context.announce(`${rows.length} neighbours found`);
  }

  #example(row, told, list) {
    return h("figure", { class: `example ${list}`, dataset: { row } }, this.#picture(row, told),
      h("figcaption", { class: "small" }, list === "like" ? "like" : "not like",
        iconButton("close", `Take tile ${told.tile} off`, () => this.#refine(null, row))));
  }

  #picture(row, told) {
    const { store } = this.source;
    const where = told.lat === null ? "" : position(told.lat, told.lon);
    const label = `Tile ${told.tile}, ${where}`;
    const inner = store
      ? h("img", { src: `/api/stores/${store}/tiles/${told.tile}/thumbnail.png`, alt: label, title: label, width: 64, height: 64, loading: "lazy" })
      : h("span", { class: "small", text: label });
    return store ? h("a", { href: this.context.link("tile", { store, tile: told.tile }) }, inner) : inner;
  }

  dispose() {
    this.unwatch();
    cancelAnimationFrame(this.pending);
    for (const plot of this.#plots()) plot.dispose();
  }
}

/** A column for rows of which nothing is known. */
function plain(rows) {
  return { name: "none", label: "Rows", unit: "", classes: ["row"], range: [0, 0], values: new Float32Array(rows) };
}

function extentOf(points) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let at = 0; at < points.length; at += 2) {
    const [x, y] = [points[at], points[at + 1]];
    if (x !== x) continue;
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  const air = 0.5e-6 + 0.02 * Math.max(box[2] - box[0], box[3] - box[1]);
  return [box[0] - air, box[1] - air, box[2] + air, box[3] + air];
}

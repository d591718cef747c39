/** The map of all tiles, with linked histograms, selections, and a card of the tile that was clicked. */

import { showCard } from "/static/card.js";
import { choice, emptyPanel, h, loading, number } from "/static/dom.js";
import { Filters, insideOf, shapeFromText, shapeToText } from "/static/filters.js";
import { Ground, GLOBE } from "/static/ground.js";
import { Histogram } from "/static/histogram.js";
import { legend } from "/static/legend.js";
import { LEAST_SIZE, looksOf, palette, UNKNOWN_LOOK } from "/static/palette.js";
import { Plot, viewFromText, viewToText } from "/static/plot.js";
import { projectAll } from "/static/projection.js";
import { chosenStore, colorings, loadTiles, wordOf } from "/static/tiles.js";

export const title = "Earth";

const HISTOGRAMS = ["lat", "month", "date", "absent"];

export async function show(root, context) {
  const store = chosenStore(context);
  if (!store) {
    root.append(emptyPanel("No tiles are open", "The map shows the tiles of a store.", "geopretext view tiles.zarr"));
    return null;
  }
  root.append(loading("Reading where the tiles are"));
  const tiles = await loadTiles(context, store.id);
  if (!tiles.columns.lat || !tiles.columns.lon) {
    root.replaceChildren(emptyPanel("Nothing to put on a map", `${store.name} has ${tiles.tiles ? "tiles, but does not say where they are" : "no tiles yet"}.`, `geopretext inspect ${store.path}`));
    return null;
  }
  return new EarthPage(root, context, store, tiles);
}

class EarthPage {
  constructor(root, context, store, tiles) {
    Object.assign(this, { root, context, store, tiles });
    this.rows = tiles.tiles + tiles.places;
    this.filters = new Filters(this.rows);
    this.positions = projectAll(tiles.columns.lat.values, tiles.columns.lon.values);
    this.filters.set("known", (row) => this.positions[2 * row] === this.positions[2 * row]);
    this.ground = new Ground();
    this.#build();
    this.#restore();
    this.unwatch = context.theme.watch(() => this.#paint());
    // Before the map, which would end a selection.
    root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.card.hidden) return;
      event.stopPropagation();
      this.#close();
    }, { capture: true });
    this.#loadLand();
  }

  #build() {
    const { context } = this;
    this.plot = new Plot({
      label: `Map of ${number(this.tiles.tiles)} tiles`, extent: GLOBE, home: this.#home(), theme: context.theme,
      on: {
        ground: (canvas, plot) => this.ground.draw(canvas, plot),
        pick: (row) => this.#pick(row),
        hover: (row) => `${row < this.tiles.tiles ? `Tile ${row}` : "Place"} · ${wordOf(this.column, row)}`,
        shape: (shape) => this.#select(shape),
        moved: (view) => context.state.set({ at: viewToText(view) }),
      },
    });
    this.card = h("section", { class: "tile-card card", hidden: true, "aria-label": "The tile that was picked" });
    this.credit = h("p", { class: "credit", text: "Drawing coastlines" });
    this.counted = h("p", { class: "counted" });
    this.clear = h("button", { class: "text-button", type: "button", text: "clear filters", on: { click: () => this.#clear() } });
    this.legendBox = h("div", {});
    this.histograms = HISTOGRAMS.filter((name) => this.tiles.columns[name]).map((name) => [name, new Histogram(this.tiles.columns[name], (histogram) => this.#brush(name, histogram))]);
    const { stores } = context.opened;
    const picker = stores.length > 1 ? choice("Store", stores.map((each) => [each.id, each.name]), this.store.id, (id) => context.go("earth", { store: id, tile: null })) : null;
    const options = colorings(this.tiles.columns);
    const wanted = context.state.get("color");
    this.column = options.find((column) => column.name === wanted) ?? options[0];
    this.root.replaceChildren(
      h("div", { class: "map" }, this.plot.root, this.card, this.credit),
      h("aside", { class: "side", "aria-label": "Colours and filters" },
        h("div", { class: "side-head" }, this.counted, this.clear), picker,
        choice("Colour by", options.map((column) => [column.name, column.label]), this.column.name, (name) => this.#color(name)),
        this.legendBox,
        h("div", { class: "stack", "aria-label": "Filters" }, this.histograms.map(([, histogram]) => histogram.root))),
    );
    this.plot.setPositions(this.positions);
  }

  /** The region of the tiles if it is small, else the globe. */
  #home() {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (let at = 0; at < this.positions.length; at += 2) {
      const [x, y] = [this.positions[at], this.positions[at + 1]];
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x > box[2]) box[2] = x;
      if (y > box[3]) box[3] = y;
    }
    const [width, height] = [box[2] - box[0], box[3] - box[1]];
    if (!(Math.max(width, height) < 0.8)) return GLOBE;
    const air = Math.max(0.01, 0.1 * Math.max(width, height));
    return [box[0] - air, box[1] - air, box[2] + air, box[3] + air];
  }

  #restore() {
    const { state } = this.context;
    this.hidden = new Set((state.get("hide") ?? "").split(",").filter(Boolean).map(Number));
    this.shape = shapeFromText(state.get("shape"));
    for (const [name, histogram] of this.histograms) {
      histogram.fromText(state.get(`only_${name}`));
      this.filters.set(name, histogram.isAll ? null : (row) => histogram.accepts(row));
    }
    this.plot.begin(viewFromText(state.get("at")));
    this.filters.set("shape", this.shape && insideOf(this.shape, this.positions));
    this.#applyHidden();
    this.#paint();
    const tile = Number(state.get("tile") ?? -1);
    if (state.get("tile") !== null && tile >= 0 && tile < this.tiles.tiles) this.#pick(tile);
  }

  async #loadLand() {
    try {
      const land = await this.context.api(`stores/${this.store.id}/land`);
      this.ground.setLand(land.rings);
      this.credit.textContent = land.source;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.credit.textContent = `no coastlines: ${error.what ?? error}`;
    }
    this.credit.dataset.ready = "";
    this.plot.redraw();
  }

  #color(name) {
    this.column = this.tiles.columns[name];
    this.hidden.clear();
    this.context.state.set({ color: name, hide: null });
    this.#applyHidden();
    this.#paint();
  }

  #applyHidden() {
    const { hidden, column } = this;
    const { values } = column;
    this.filters.set("class", hidden.size && column.classes.length
      ? (row) => !hidden.has(values[row] === values[row] ? values[row] : UNKNOWN_LOOK) : null);
    // Places without a tile are what a build has to show for its failures, and nothing else.
    this.filters.set("place", this.tiles.places && column.name !== "status" ? (row) => row < this.tiles.tiles : null);
  }

  /** Colours, legend, and everything that depends on the filters. */
  #paint() {
    const { theme } = this.context;
    this.plot.setLooks(looksOf(this.column), palette(this.column, theme.name), { least: this.column.classes.length ? LEAST_SIZE : undefined });
    this.#drawLegend();
    this.#refresh();
  }

  #drawLegend() {
    const scrolled = this.legendBox.firstElementChild?.scrollTop ?? 0;
    const focused = this.legendBox.contains(document.activeElement) ? document.activeElement.dataset.code : null;
    this.legendBox.replaceChildren(legend(this.column, {
      theme: this.context.theme.name, hidden: this.hidden,
      on: {
        toggle: (code) => this.#toggle(code),
        only: (code) => this.#only(code),
        highlight: (code) => this.#highlight(code),
      },
    }));
    this.legendBox.firstElementChild.scrollTop = scrolled;
    if (focused) this.legendBox.querySelector(`[data-code="${focused}"]`)?.focus();
  }

  #toggle(code) {
    if (!this.hidden.delete(code)) this.hidden.add(code);
    this.#keepHidden();
  }

  #only(code) {
    this.hidden = new Set([...this.column.classes.keys(), UNKNOWN_LOOK].filter((other) => other !== code));
    this.#keepHidden();
  }

  #keepHidden() {
    this.context.state.set({ hide: [...this.hidden].join(",") || null });
    this.#applyHidden();
    this.#drawLegend();
    this.#refresh();
  }

  #highlight(code) {
    if (code === null) return this.plot.setFlags(this.filters.flags(this.plot.rings));
    const { values } = this.column;
    const fits = code === UNKNOWN_LOOK ? (row) => values[row] !== values[row] : (row) => values[row] === code;
    this.plot.setFlags(this.filters.flags(this.plot.rings, fits));
  }

  #brush(name, histogram) {
    this.filters.set(name, histogram.isAll ? null : (row) => histogram.accepts(row));
    this.context.state.set({ [`only_${name}`]: histogram.toText() });
    this.#refresh();
  }

  #select(shape) {
    this.shape = shape;
    this.filters.set("shape", shape && insideOf(shape, this.positions));
    this.context.state.set({ shape: shapeToText(shape) });
    this.#refresh();
    this.context.announce(this.counted.textContent);
  }

  #clear() {
    this.hidden.clear();
    for (const [, histogram] of this.histograms) if (!histogram.isAll) histogram.setBins(0, histogram.count - 1);
    this.#select(null);
    this.#keepHidden();
  }

  /** Once a frame at most, however fast a slider moves. */
  #refresh() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.#refreshNow();
    });
  }

  #refreshNow() {
    const { filters } = this;
    this.plot.shape = this.shape;
    this.plot.setFlags(filters.flags(this.plot.rings));
    for (const [name, histogram] of this.histograms) histogram.draw(filters.histogram(name, histogram.bins, histogram.count));
    const all = filters.count("class", "shape", ...HISTOGRAMS);
    const shown = filters.count();
    const what = this.tiles.places && this.column.name === "status" ? "places" : "tiles";
    this.counted.replaceChildren(h("strong", { text: number(shown) }), shown === all ? ` ${what}` : ` of ${number(all)} ${what}`);
    this.clear.hidden = !this.shape && !this.hidden.size && this.histograms.every(([, histogram]) => histogram.isAll);
    this.root.dataset.shown = shown;
  }

  #pick(row) {
    this.plot.rings = row < 0 ? [] : [row];
    this.context.state.set({ tile: row >= 0 && row < this.tiles.tiles ? row : null });
    this.plot.setFlags(this.filters.flags(this.plot.rings));
    if (row < 0) {
      this.card.hidden = true;
      return;
    }
    showCard(this.card, this.context, { store: this.store.id, row, onClose: () => this.#close() });
  }

  #close() {
    this.#pick(-1);
    this.plot.marks.focus();
  }

  dispose() {
    this.unwatch();
    cancelAnimationFrame(this.pending);
    this.plot.dispose();
  }
}


/**
 * One tile: every map side by side, series of images date by date, one cursor in all of them, the spectrum and the course
 * of time under it, and all that is known of it.
 */

import { bytes } from "/static/api.js";
import { lineChart } from "/static/chart.js";
import { choice, emptyPanel, errorPanel, facts, h, loading, position } from "/static/dom.js";
import { compact, crosshair, Cursor, frame, isObserved, legend, makeView, paint, parseViews, reading, UNSEEN, viewChoices, writeViews } from "/static/panels.js";
import { readPacket } from "/static/packet.js";
import { average, dateOf, dayOf, Moment, profile, seriesLayer, stepper } from "/static/series.js";
import { tileChoice } from "/static/tile_choice.js";

export const title = "Tile";

const ROLES = { pretext: "", side: "side product", label: "label" };
const OWN = "own";
const KEYS = { p: "previous", n: "next", r: "random" };
const STEPS = { "[": -1, "]": 1 };

export async function show(root, context) {
  const { opened, state } = context;
  if (!opened.stores.length) {
    root.append(emptyPanel("No tiles are open", "This page shows every modality of a tile. Open a tile store, or a folder that holds one.", "geopretext view tiles.zarr"));
    return {};
  }
  const page = new TilePage(context);
  root.append(page.element);
  await page.load(page.store, Number(state.get("tile", "0")) || 0);
  return {};
}

class TilePage {
  constructor(context) {
    this.context = context;
    const { opened, state } = context;
    this.store = opened.stores.find((store) => store.id === state.get("store")) ?? opened.stores[0];
    this.stretch = state.get("stretch", "tile");
    this.views = parseViews(state.get("views", ""));
    this.stale = new AbortController();
    this.choice = tileChoice({
      go: (tile) => this.load(this.store, tile),
      find: async (text) => (await context.api(`stores/${this.store.id}/find?text=${encodeURIComponent(text)}`)).tile,
    });
    const stores = opened.stores.length > 1
      ? choice("Store", opened.stores.map((store) => [store.id, store.name]), this.store.id, (id) => this.load(opened.stores.find((store) => store.id === id), 0), { id: "store" }) : null;
    const stretch = choice("Stretch", [["tile", "2–98 % of this tile"], ["store", "2–98 % of the store"]], this.stretch, (value) => {
      this.stretch = value;
      state.set({ stretch: value === "tile" ? null : value });
      for (const panel of this.panels) panel.redraw();
    }, { id: "stretch" });
    this.heading = h("h1", { text: "Tile" });
    this.about = h("p", { class: "quiet" });
    this.content = h("div", { class: "tile-content" });
    this.panels = [];
    this.element = h("div", { class: "page tile-page" },
      h("div", { class: "tile-head" }, h("div", { class: "tile-title" }, this.heading, this.about), stores, stretch, this.choice.element),
      this.content);
    for (const [key, id] of Object.entries(KEYS)) {
      const button = this.choice.element.querySelector(`#${id}`);
      button.title = `${button.title || button.textContent} (key ${key})`;
      button.setAttribute("aria-keyshortcuts", key);
    }
    document.addEventListener("keydown", (event) => this.onKey(event), { signal: context.signal });
  }

  onKey(event) {
    if (event.target.closest?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const button = KEYS[event.key];
    if (button) this.element.querySelector(`#${button}`).click();
    if (STEPS[event.key]) this.moment?.step(STEPS[event.key]);
  }

  /** Show a tile; an answer that comes after another tile was asked for is dropped. */
  async load(store, number) {
    this.stale.abort();
    this.stale = new AbortController();
    const mine = this.stale;
    const { context } = this;
    this.choice.expect({ number, count: store.tiles });
    this.element.setAttribute("aria-busy", "true");
    const waiting = setTimeout(() => { if (!this.tile) this.content.replaceChildren(loading("Reading the tile")); }, 150);
    try {
      const signal = AbortSignal.any([mine.signal, context.signal]);
      const { header, arrays } = readPacket(await bytes(`stores/${store.id}/tiles/${number}`, { signal }));
      if (mine !== this.stale) return;
      const kept = this.tile && this.tile.size === header.tile.size && this.store === store;
      this.store = store;
      this.tile = header.tile;
      context.state.set({ store: store.id, tile: header.tile.number });
      this.render(header, arrays, kept);
      context.announce(`Tile ${header.tile.number}, ${header.tile.id}`);
    } catch (error) {
      if (error.name === "AbortError") return;
      // The page is at this tile all the same: reloaded, it asks for it again.
      this.store = store;
      this.tile = null;
      context.state.set({ store: store.id, tile: number });
      this.heading.textContent = `Tile ${number.toLocaleString("en")}`;
      this.about.textContent = "";
      this.content.replaceChildren(errorPanel(error));
      this.choice.show({ number, count: store.tiles });
    } finally {
      clearTimeout(waiting);
      if (mine === this.stale) this.element.removeAttribute("aria-busy");
    }
  }

  render({ tile, maps, series, vectors }, arrays, kept) {
    const { state, announce } = this.context;
    this.choice.show(tile);
    this.heading.textContent = tile.id;
    this.about.textContent = [tile.lat === null ? "" : position(tile.lat, tile.lon), date(tile.time)].filter(Boolean).join(" · ");
    const before = kept ? this.cursor?.held : null;
    const focused = document.activeElement?.closest(".panel .frame")?.closest(".panel").dataset.modality;
    this.cursor = new Cursor({
      height: tile.size, width: tile.size,
      row: before ? before.row : number(state.get("row")), column: before ? before.column : number(state.get("column")),
    });
    this.cursor.holders.add((at) => state.set({ row: at.row, column: at.column }));
    const dated = series.map((map) => seriesLayer(map, tile.dates[map.name], arrays[map.name]));
    const shown = kept && this.moment?.day ? this.moment.day : dayOf(state.get("date", "") || tile.time);
    this.moment = new Moment(dated, shown);
    this.layers = [...maps.map((map) => ({ map, ...arrays[map.name] })), ...dated];
    this.profiles = new Map();
    this.panels = this.layers.map((layer) => this.panel(layer));
    for (const [place, layer] of this.layers.entries()) {
      if (layer.days?.length) this.profiles.set(layer.map.name, profile(layer, this.moment, this.panels[place].bands));
    }
    const table = new ReadingTable(this.layers, tile);
    const spectrum = makeSpectrum(this.layers, tile);
    this.content.replaceChildren(
      h("div", { class: `panels${this.layers.length > 4 ? "" : " few"}` }, this.panels.map((panel) => panel.element)),
      h("aside", { class: "tile-side" },
        spectrum?.element, [...this.profiles.values()].map((each) => each.element), table.element,
        h("details", { class: "card", open: true }, h("summary", {}, h("h2", { text: "This tile" })), this.tileFacts(tile)),
        h("details", { class: "card", open: true }, h("summary", {}, h("h2", { text: "Vectors" })), vectorTable(vectors)),
        h("details", { class: "card" }, h("summary", {}, h("h2", { text: "Made of" })), sources(tile.sources)),
        h("details", { class: "card" }, h("summary", {}, h("h2", { text: "Save" })), saves(this.store, tile, [...maps, ...series]))));
    const read = (at) => {
      for (const panel of this.panels) panel.read(at);
      table.read(at);
      spectrum?.read(at);
    };
    this.cursor.watch((at) => {
      read(at);
      for (const each of this.profiles.values()) each.read(at);
    });
    let first = true;
    this.moment.watch((day) => {
      if (first || day === null) { first = false; return; } // what is drawn already
      for (const panel of this.panels) panel.repaint();
      read(this.cursor.at);
      for (const each of this.profiles.values()) each.draw();
      state.set({ date: dateOf(day) });
    });
    this.say = (at) => announce(table.spoken(at));
    if (focused) this.panels.find((panel) => panel.element.dataset.modality === focused)?.element.querySelector(".frame").focus({ preventScroll: true });
  }

  panel(layer) {
    const { map } = layer;
    const name = map.title;
    const { element, canvas } = frame(`${name}; arrow keys move the cursor`, { tabindex: 0, role: "application", "aria-roledescription": "map" });
    crosshair(element, this.cursor, (at) => { clearTimeout(this.speaking); this.speaking = setTimeout(() => this.say(at), 400); });
    const observed = isObserved(layer);
    if (!observed) element.append(h("span", { class: "unseen", text: "not observed at this tile" }));
    const words = h("p", { class: "panel-reading", "aria-hidden": "true" });
    const key = h("div", { class: "panel-legend" });
    const choices = viewChoices(layer);
    let view = makeView(layer, this.views.get(map.name) ?? choices[0][0], this.stretch);
    const draw = () => {
      paint(canvas, layer, view);
      key.replaceChildren(observed ? legend([layer], view) : "");
    };
    const own = this.ownBands(layer, () => view, (id) => set(id));
    const select = choices.length > 1 ? h("select", { "aria-label": `What of ${name} is drawn`, on: { change: () => {
      own.hidden = select.value !== OWN;
      if (select.value !== OWN) set(select.value);
    } } }, choices.map(([id, text]) => h("option", { value: id, text })), map.bands.length > 2 ? h("option", { value: OWN, text: "own combination" }) : null) : null;
    const mark = () => {
      if (!select) return;
      const known = choices.some(([id]) => id === view.id);
      select.value = known ? view.id : OWN;
      own.hidden = known;
    };
    const set = (id) => {
      view = makeView(layer, id, this.stretch);
      if (view.id === choices[0][0]) this.views.delete(map.name);
      else this.views.set(map.name, view.id);
      this.context.state.set({ views: writeViews(this.views) });
      draw();
      panel.read(this.cursor.at);
      this.profiles.get(map.name)?.draw();
    };
    const panel = {
      element: h("figure", { class: "panel", dataset: { modality: map.name } },
        h("figcaption", {}, h("span", { class: "panel-title", text: name, title: map.source || null }), ROLES[map.role] ? h("span", { class: "quiet", text: ROLES[map.role] }) : null),
        h("div", { class: "panel-body" }, element, layer.days ? stepper(layer, this.moment) : null, words, select, select ? own : null, key)),
      redraw: () => { view = makeView(layer, view.id, this.stretch); draw(); },
      repaint: () => { if (layer.days) paint(canvas, layer, view); },
      bands: () => view.bands,
      read: (at) => {
        const pixel = at ? at.row * this.tile.size + at.column : null;
        const bands = view.kind === "classes" ? [0] : view.bands;
        const told = pixel === null || !observed ? [] : bands.map((band) => reading(layer, band, pixel));
        const missing = told.length && told.every((each) => each.missing);
        words.textContent = missing ? UNSEEN : told.map(({ text, unit }) => (view.kind === "band" ? `${text} ${unit}` : text)).join(" · ") || "\u00a0";
      },
    };
    draw();
    mark();
    return panel;
  }

  /** Three choices of a band for red, green and blue. */
  ownBands(layer, current, set) {
    const { bands, title: name } = layer.map;
    const start = () => (current().bands.length === 3 ? current().bands : [0, 1, 2]);
    const selects = ["red", "green", "blue"].map((colour, place) => h("select", { "aria-label": `Band shown in ${colour} of ${name}`, on: { change: () => set(selects.map((each) => each.value).join(",")) } },
      bands.map((band) => h("option", { value: band.name, text: band.name }))));
    const row = h("div", { class: "own-bands", hidden: true }, selects.map((select, place) => h("label", {}, h("span", { class: "quiet", text: "RGB"[place] }), select)));
    new MutationObserver(() => { if (!row.hidden) selects.forEach((select, place) => { select.value = bands[start()[place]]?.name ?? bands[0].name; }); }).observe(row, { attributeFilter: ["hidden"] });
    return row;
  }

  tileFacts(tile) {
    const [a, , c, , , f] = tile.transform ?? [];
    return facts([
      ["id", h("span", { class: "mono", text: tile.id })],
      ["place", tile.lat === null ? "unknown" : h("a", { href: this.context.link("earth", { store: this.store.id, tile: tile.number }), text: position(tile.lat, tile.lon) })],
      ["date", date(tile.time) || "unknown"],
      ...Object.entries(tile.levels).map(([name, level]) => [`level of ${name}`, level ?? "unknown"]),
      ...Object.entries(tile.dates).map(([name, dates]) => [`images of ${name}`, dates.length ? `${dates.length}, ${dates[0]} to ${dates.at(-1)}` : "none"]),
      ["biome", tile.biome ?? "unknown"],
      ["ecoregion", tile.ecoregion ?? "unknown"],
      ["split", tile.split ?? "none"],
      ["size", `${tile.size} × ${tile.size} px${tile.transform ? `, ${compact(Math.abs(a))} ${tile.crs === 4326 ? "°" : "m"} each` : ""}`],
      ["grid", [tile.crs ? `EPSG:${tile.crs}` : "CRS unknown", tile.transform ? `upper left ${Math.round(1e5 * c) / 1e5}, ${Math.round(1e5 * f) / 1e5}` : "place in it unknown"].join(", ")],
      ["see also", h("a", { href: this.context.link("reconstruct", { store: this.store.id, tile: tile.number }), text: "Reconstruct it" })],
    ]);
  }
}

/* ---------------------------------------------------------------- values under the cursor */

class ReadingTable {
  constructor(layers, tile) {
    this.layers = layers;
    this.size = tile.size;
    this.where = h("p", { class: "quiet small" });
    this.cells = [];
    this.dates = layers.filter((layer) => layer.days?.length).map((layer) => ({ layer, words: h("span", { class: "quiet unit" }) }));
    const groups = layers.map((layer) => h("tbody", { dataset: { modality: layer.map.name } },
      h("tr", {}, h("th", { colspan: 3, scope: "rowgroup" }, layer.map.title, " ", h("span", { class: "quiet unit", text: sharedUnit(layer.map) }), " ", this.dates.find((each) => each.layer === layer)?.words ?? null)),
      layer.map.bands.map((band, place) => {
        const value = h("td", { class: "value" });
        const unit = h("td", { class: "quiet unit" });
        this.cells.push({ layer, place, value, unit: sharedUnit(layer.map) ? null : unit });
        return h("tr", { dataset: { band: band.name } }, h("th", { scope: "row", text: band.name, title: band.title || null }), value, unit);
      })));
    this.element = h("section", { class: "card readings" }, h("h2", { text: "Under the cursor" }), this.where,
      h("div", { class: "reading-box", tabindex: 0 }, h("table", {}, h("thead", { class: "visually-hidden" }, h("tr", {}, ["band", "value", "unit"].map((text) => h("th", { scope: "col", text })))), groups)));
    this.transform = tile.transform;
    this.crs = tile.crs;
  }

  read(at) {
    for (const { layer, words } of this.dates) words.textContent = dateOf(layer.days[layer.place]);
    if (!at) {
      this.where.textContent = "Move over a map, or focus one and use the arrow keys; a click holds the cursor there.";
      for (const { value, unit } of this.cells) { value.textContent = ""; unit?.replaceChildren(); }
      return;
    }
    const [a, b, c, d, e, f] = this.transform ?? [];
    const [x, y] = [at.column + 0.5, at.row + 0.5];
    const ground = this.transform && this.crs && this.crs !== 4326 ? ` · ${Math.round(a * x + b * y + c)} E ${Math.round(d * x + e * y + f)} N` : "";
    this.where.textContent = `row ${at.row}, column ${at.column}${ground}`;
    const pixel = at.row * this.size + at.column;
    for (const { layer, place, value, unit } of this.cells) {
      const told = reading(layer, place, pixel);
      value.classList.toggle("missing", Boolean(told.missing));
      value.textContent = told.text;
      if (told.color) {
        const swatch = h("span", { class: "swatch" });
        swatch.style.background = told.color;
        value.prepend(swatch);
      }
      unit?.replaceChildren(told.unit);
    }
  }

  /** The same in few words, for those who do not see it. */
  spoken(at) {
    const pixel = at.row * this.size + at.column;
    const values = this.layers.map((layer) => `${layer.map.title} ${layer.map.bands.slice(0, 3).map((band, place) => `${layer.map.bands.length > 1 ? band.name : ""} ${reading(layer, place, pixel).text}`).join(", ")}`);
    return `row ${at.row}, column ${at.column}: ${values.slice(0, 4).join("; ")}`;
  }
}

/** The unit of all bands, where there are several of one unit: it is said once. */
function sharedUnit({ bands }) {
  return bands.length > 2 && bands.every((band) => band.unit === bands[0].unit) ? bands[0].unit : "";
}

/* ---------------------------------------------------------------- spectrum */

/** Values of the first modality whose bands have a wavelength, at the cursor and on average; null if there is none. */
function makeSpectrum(layers, tile) {
  const layer = layers.find(({ map }) => map.bands.filter((band) => band.wavelength).length > 2);
  if (!layer) return null;
  const size = layer.shape[1] * layer.shape[2];
  const bands = layer.map.bands.map((band, place) => ({ ...band, place })).filter((band) => band.wavelength).sort((one, other) => one.wavelength - other.wavelength);
  const x = bands.map((band) => band.wavelength);
  let [mean, averaged] = [null, null];
  const names = new Map(bands.map((band) => [band.wavelength, band.name]));
  const { unit } = bands[0];
  const chart = lineChart({
    label: `Spectrum of ${layer.map.title}`, height: 200, legend: true,
    x: { label: "wavelength, nm", read: (value) => `${names.get(value) ?? ""} ${value} nm` },
    y: { label: unit, zero: true }, read: (value) => compact(value),
  });
  const level = tile.levels[layer.map.name];
  const element = h("section", { class: "card spectrum" }, h("h2", { text: `Spectrum${level ? `, ${level}` : ""}` }), chart.element);
  return {
    element,
    read(at) {
      if (averaged !== layer.values) { // the first time, or another date
        mean = bands.map(({ place }) => average(layer.values.subarray(place * size, (place + 1) * size)));
        averaged = layer.values;
      }
      const average_ = { name: "mean of the tile", hue: 3, dash: "2 3", x, y: mean };
      const here = at ? [{ name: "cursor", hue: 1, dash: "", x, y: bands.map(({ place }) => layer.values[place * size + at.row * tile.size + at.column]), points: true }] : [];
      // A band without a value at all (B10 of L2A) would tear the line.
      const known = x.map((_, place) => Number.isFinite(mean[place]));
      const only = (each) => ({ ...each, x: each.x.filter((_, place) => known[place]), y: each.y.filter((_, place) => known[place]) });
      chart.draw([...here, average_].map(only));
    },
  };
}

/* ---------------------------------------------------------------- what else is known */

function vectorTable(vectors) {
  if (!vectors.length) return h("p", { class: "quiet", text: "This store has no vectors." });
  return h("table", { class: "vectors" }, vectors.map((group) => h("tbody", { dataset: { modality: group.name } },
    group.rows.length > 1 ? h("tr", {}, h("th", { colspan: 2, scope: "rowgroup", text: group.title, title: group.source || null })) : null,
    group.rows.map((row) => h("tr", {}, h("th", { scope: "row", text: row.quantity }), h("td", { text: row.value }))))));
}

/** What the store recorded of each modality: item ids, dates, files, corrections; nested as it is. */
function sources(value) {
  if (value === null) return h("p", { class: "quiet", text: "Nothing was recorded." });
  if (Array.isArray(value)) {
    return value.length === 1 ? sources(value[0]) : h("ul", { class: "sources" }, value.map((each) => h("li", {}, sources(each))));
  }
  if (typeof value === "object") return facts(Object.entries(value).map(([name, inner]) => [name, sources(inner)]));
  return h("span", { class: "mono", text: String(value) });
}

function saves(store, tile, maps) {
  const link = (form, text, modality = "") => h("a", { class: "button", download: true, href: `/api/stores/${store.id}/tiles/${tile.number}/save.${form}${modality ? `?modality=${modality}` : ""}`, text });
  return h("div", { class: "stack" },
    h("div", { class: "row" }, link("json", "All that is known (JSON)"), link("npz", "All numbers (NPZ)")),
    h("table", { class: "saves" }, h("tbody", {}, maps.map((map) => h("tr", {}, h("th", { scope: "row", text: map.title }), h("td", {}, link("tif", "GeoTIFF", map.name)), h("td", {}, link("csv", "CSV", map.name)))))));
}

/* ---------------------------------------------------------------- addresses and words */

function number(text) {
  return text === null || text === "" ? null : Number(text);
}

function date(time) {
  if (!time) return "";
  return new Date(`${time}Z`).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
}

/** What pretrained networks believe of a tile of which they see some patches; the patches are chosen here. */

import { api, bytes } from "/static/api.js";
import { choice, emptyPanel, errorPanel, h } from "/static/dom.js";
import { compact, frame, lackedBands, legend, makeView, paint, parseViews, sameView, sharedChoices, viewChoices, writeViews } from "/static/panels.js";
import { readPacket } from "/static/packet.js";
import { PatchGrid, patchesFromText, patchesToText } from "/static/patch_grid.js";
import { tileChoice } from "/static/tile_choice.js";

export const title = "Reconstruct";

const PATIENCE = 120;
const NONE = "none";

export async function show(root, context) {
  const { opened } = context;
  if (!opened.stores.length || !opened.bundles.length) {
    const lacks = opened.bundles.length ? "No tiles are open" : opened.stores.length ? "No bundle is open" : "No tiles and no bundle are open";
    root.append(emptyPanel(lacks, "This page hides patches of a tile and shows what a pretrained network believes is there. It needs a tile store, and a bundle that pretraining wrote.", "geopretext view tiles.zarr --bundle runs/first/bundle"));
    return {};
  }
  const page = new ReconstructPage(context);
  root.append(page.element);
  await page.start();
  return { dispose: () => page.dispose() };
}

class ReconstructPage {
  constructor(context) {
    this.context = context;
    const { opened, state } = context;
    this.store = opened.stores.find((store) => store.id === state.get("store")) ?? opened.stores[0];
    this.tile = Number(state.get("tile", "0")) || 0;
    const first = opened.bundles.find((bundle) => bundle.id === state.get("bundle")) ?? opened.bundles[0];
    const second = opened.bundles.find((bundle) => bundle.id === state.get("beside"));
    this.sides = [new Side("A", first), new Side("B", second ?? null)];
    this.ratio = number(state.get("ratio"));
    this.seed = Number(state.get("seed", "0")) || 0;
    /** patches that were chosen by hand; null: chance chooses */
    this.chosen = patchesFromText(state.get("patches"));
    this.views = parseViews(state.get("views", ""));
    /** names of inputs that networks of several are not given */
    this.without = new Set(state.get("without", "").split(",").filter(Boolean));
    this.turn = 0;
    this.build();
  }

  build() {
    const { opened, api: ask } = this.context;
    const names = opened.bundles.map((bundle) => [bundle.id, bundle.name]);
    const bundle = (side, options, id) => choice(side.letter === "A" ? "Network" : "Compare with", options, side.bundle?.id ?? NONE, (value) => {
      side.bundle = opened.bundles.find((each) => each.id === value) ?? null;
      this.ask();
    }, { id });
    this.tiles = tileChoice({ go: (tile) => { this.tile = tile; this.ask(); }, find: async (text) => (await ask(`stores/${this.store.id}/find?text=${encodeURIComponent(text)}`)).tile });
    this.grid = new PatchGrid({ label: "Patches that the network sees", onChange: (visible) => this.choose(visible), announce: this.context.announce });
    this.share = h("output", { class: "share", for: "ratio" });
    this.slider = h("input", { type: "range", id: "ratio", min: 0, max: 100, step: 1, "aria-label": "Share of the patches that is hidden", on: { input: () => this.chance(Number(this.slider.value) / 100) } });
    const button = (text, id, press) => h("button", { class: "button", type: "button", id, text, on: { click: press } });
    const stores = opened.stores.length > 1 ? choice("Store", opened.stores.map((store) => [store.id, store.name]), this.store.id, (id) => {
      this.store = opened.stores.find((store) => store.id === id);
      this.tile = 0;
      this.ask();
    }, { id: "store" }) : null;
    this.inputs = h("div", { class: "row", role: "group", "aria-label": "Inputs", id: "inputs", hidden: true });
    this.problem = h("div", {});
    this.status = h("span", { class: "status small", role: "status" });
    this.results = h("div", { class: "results" });
    this.tiles.expect({ number: this.tile, count: this.store.tiles });
    this.element = h("div", { class: "page reconstruct-page" },
      h("div", { class: "tile-head" }, h("div", { class: "tile-title" }, h("h1", { text: "Reconstruct" }), this.about = h("p", { class: "quiet" })), stores, bundle(this.sides[0], names, "bundle-a"), bundle(this.sides[1], [[NONE, "no other"], ...names], "bundle-b"), this.tiles.element),
      h("div", { class: "reconstruct-content" },
        h("aside", { class: "card mask-card" }, h("h2", { text: "What the network sees" }), this.grid.element,
          h("p", { class: "quiet small", text: "Click or drag over patches; with the keyboard, arrows move and space toggles." }),
          h("label", { class: "field" }, h("span", {}, "Hidden ", this.share), this.slider),
          h("div", { class: "row" },
            button("Random", "patches-random", () => { this.seed += 1; this.chance(this.ratio); }),
            button("Show all", "patches-all", () => this.choose(this.grid.visible.map(() => true))),
            button("Hide all", "patches-none", () => this.choose(this.grid.visible.map(() => false))),
            button("Invert", "patches-invert", () => this.choose(this.grid.visible.map((shown) => !shown)))),
          this.inputs, this.status, this.problem),
        this.results));
  }

  dispose() {
    clearTimeout(this.timer);
    this.stale?.abort();
  }

  async start() {
    await this.compute();
  }

  /** Patches by chance, so many of them hidden (null: as many as in pretraining). */
  chance(ratio) {
    this.chosen = null;
    this.ratio = ratio;
    this.ask(PATIENCE);
  }

  /** Patches by hand. */
  choose(visible) {
    this.chosen = visible;
    this.grid.show(visible);
    this.tell(visible);
    this.ask(PATIENCE);
  }

  tell(visible) {
    const hidden = visible.filter((shown) => !shown).length;
    this.share.textContent = `${hidden} of ${visible.length} patches (${Math.round((100 * hidden) / visible.length)} %)`;
    this.slider.value = String(Math.round((100 * hidden) / visible.length));
  }

  ask(wait = 0) {
    clearTimeout(this.timer);
    this.tiles.expect({ number: this.tile, count: this.store.tiles });
    this.element.setAttribute("aria-busy", "true");
    this.timer = setTimeout(() => this.compute(), wait);
  }

  remember() {
    this.context.state.set({
      store: this.store.id, tile: this.tile, bundle: this.sides[0].bundle.id, beside: this.sides[1].bundle?.id ?? null,
      ratio: this.chosen || this.ratio === null ? null : this.ratio, seed: this.chosen || !this.seed ? null : this.seed,
      patches: this.chosen ? patchesToText(this.chosen) : null, views: writeViews(this.views),
      without: this.without.size ? [...this.without].join(",") : null,
    });
  }

  /** Ask for all sides; answers to earlier questions are dropped. */
  async compute() {
    const mine = ++this.turn;
    this.stale?.abort();
    this.stale = new AbortController();
    const signal = AbortSignal.any([this.stale.signal, this.context.signal]);
    this.remember();
    this.problem.replaceChildren();
    if (this.chosen && !this.chosen.includes(true)) {
      this.settle();
      this.tiles.show({ number: this.tile, count: this.store.tiles });
      this.results.replaceChildren(emptyPanel("Nothing is visible", "The network needs at least one patch to predict from: click one, or press Random.", "", { inline: true }));
      return;
    }
    const sides = this.sides.filter((side) => side.bundle);
    const waiting = setTimeout(() => {
      this.status.textContent = sides.some((side) => !side.used.has(side.bundle.id)) ? "Loading the network, which takes some seconds the first time" : "Predicting";
      this.results.classList.add("waiting");
    }, 200);
    await Promise.all(sides.map((side) => side.describe(signal).catch(() => {})));
    this.offer(sides);
    const chance = await this.patches(sides, signal);
    await Promise.all(sides.map((side) => side.predict(this.store, this.tile, { ...chance, without: this.without }, signal)));
    clearTimeout(waiting);
    if (mine !== this.turn || this.context.signal.aborted) return;
    this.render();
    this.settle();
  }

  /** A button for each input of networks that take any of theirs. */
  offer(sides) {
    const names = [...new Set(sides.flatMap((side) => (side.pretext?.any_input ? side.pretext.inputs : [])))];
    this.inputs.hidden = !names.length;
    const toggle = (name) => h("button", { class: "button", type: "button", id: `input-${name}`, text: name, "aria-pressed": String(!this.without.has(name)), on: { click: () => {
      if (!this.without.delete(name)) this.without.add(name);
      if (names.every((each) => this.without.has(each))) this.without.delete(name); // something must be seen
      this.ask();
    } } });
    const focused = document.activeElement?.id;
    this.inputs.replaceChildren(h("span", { class: "small", text: "Inputs" }), ...names.map(toggle));
    [...this.inputs.children].find((each) => each.id && each.id === focused)?.focus();
  }

  settle() {
    this.status.textContent = "";
    this.results.classList.remove("waiting");
    this.element.setAttribute("aria-busy", "false");
  }

  /** What is asked for: the patches chosen by hand, or by chance on the coarsest grid of all networks. */
  async patches(sides, signal) {
    if (this.chosen) return { visible: this.chosen };
    const known = sides.filter((side) => side.pretext);
    if (known.length < 2) return { ratio: this.ratio, seed: this.seed };
    const coarsest = known.reduce((one, other) => (other.pretext.patch > one.pretext.patch ? other : one));
    await coarsest.predict(this.store, this.tile, { ratio: this.ratio, seed: this.seed, without: this.without }, signal);
    return coarsest.answer ? { visible: [...coarsest.answer.header.visible].map((letter) => letter === "1") } : { ratio: this.ratio, seed: this.seed };
  }

  /* ---------------------------------------------------------------- what comes */

  render() {
    const sides = this.sides.filter((side) => side.bundle);
    const good = sides.filter((side) => side.answer);
    this.problem.replaceChildren(...sides.filter((side) => side.error).map((side) => errorPanel({ ...side.error, what: `${side.bundle.name}: ${side.error.what ?? side.error.message}` }, { inline: true })));
    if (!good.length) {
      this.results.replaceChildren(emptyPanel("No prediction", "The networks that are chosen cannot reconstruct this tile; the reason stands beside it.", "", { inline: true }));
      this.tiles.show({ number: this.tile, count: this.store.tiles });
      this.about.textContent = "";
      this.grid.clear();
      return;
    }
    const coarse = good.reduce((one, other) => (other.answer.header.side < one.answer.header.side ? other : one)).answer;
    const { tile, side, visible } = coarse.header;
    this.tiles.show(tile);
    const given = good.filter((side) => side.pretext?.any_input).map((side) => `${good.length > 1 ? `${side.bundle.name} ` : ""}sees ${side.answer.header.inputs.used.join(", ")}`);
    this.about.textContent = [tile.place, ...given].join("; ");
    const shown = this.chosen && this.chosen.length === visible.length ? this.chosen : [...visible].map((letter) => letter === "1");
    const input = { map: coarse.header.input, ...coarse.arrays.input };
    this.grid.draw(input, makeView(input, viewChoices(input)[0][0]), side);
    this.grid.show(shown);
    this.tell(shown);
    this.results.replaceChildren(...this.cards(good), this.summary(good), ...this.vectors(good));
    const loss = good.map((each) => `${each.bundle.name}: ${each.answer.header.targets.filter((target) => target.loss !== null).length} losses`).join(", ");
    this.context.announce(`Reconstructed tile ${tile.number}. ${loss}`);
  }

  targets(sides) {
    const found = new Map();
    for (const side of sides) for (const target of side.answer.header.targets) if (!found.has(target.name)) found.set(target.name, target);
    return [...found.values()];
  }

  summary(sides) {
    const rows = this.targets(sides).map((target) => {
      const each = sides.map((side) => side.target(target.name));
      const losses = each.map((one) => one?.loss ?? null);
      const best = comparable(sides, target.name) ? Math.min(...losses) : NaN;
      const cells = each.flatMap((one, place) => [
        h("td", { class: "value", dataset: { loss: `${sides[place].letter}/${target.name}` } }, losses[place] === null ? h("span", { class: "quiet", text: !one ? "not predicted" : sides[place].pretext?.known_loss ? "nothing to compare" : "not known" }) : h("span", { class: losses[place] === best ? "best" : "", text: `${compact(losses[place])}${losses[place] === best ? " ◂" : ""}` })),
        h("td", { class: "value", text: one ? physical(one) : "" }),
      ]);
      return h("tr", {}, h("th", { scope: "row" }, target.title, h("small", { text: target.loss_is })), cells);
    });
    const heads = sides.flatMap((side) => [h("th", { scope: "col", text: `loss${sides.length > 1 ? ` of ${side.bundle.name}` : ""}` }), h("th", { scope: "col", text: "error in its unit" })]);
    const unknown = sides.filter((side) => side.pretext && !side.pretext.known_loss);
    return h("section", { class: "card wide" }, h("h2", { text: "Losses on this tile" }),
      h("p", { class: "quiet small" }, "As pretraining computes them, before weighting; hidden patches only, where it was trained so.", sides.length > 1 ? " ◂ marks the smaller loss, where both compare the same numbers in the same way." : "", unknown.length ? ` ${unknown.map((side) => side.bundle.name).join(", ")} ${unknown.length > 1 ? "do" : "does"} not record a recipe of MP-MAE, so that the loss is not known.` : ""),
      h("div", { class: "table-box summary-box", tabindex: 0 }, h("table", { class: "losses" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "modality" }), heads)), h("tbody", {}, rows))));
  }

  cards(sides) {
    return this.targets(sides).filter((target) => target.kind.endsWith("map")).map((target) => this.card(target, sides.filter((side) => side.target(target.name))));
  }

  card(target, sides) {
    const { name } = target;
    const truths = sides.map((side) => side.layer(name, "truth"));
    const choices = sharedChoices(truths);
    const chosen = () => (choices.some(([id]) => id === this.views.get(name)) ? this.views.get(name) : choices[0][0]);
    const maps = h("div", { class: "trio" });
    const draw = () => maps.replaceChildren(...this.trio(name, sides, chosen()));
    const classes = target.classes.length ? legend([truths[0], ...sides.map((side) => side.layer(name, "prediction"))], { kind: "classes" }, { most: 12 }) : null;
    const select = choices.length > 1 ? h("select", { "aria-label": `What of ${target.title} is drawn`, on: { change: () => {
      if (select.value === choices[0][0]) this.views.delete(name);
      else this.views.set(name, select.value);
      this.remember();
      draw();
    } } }, choices.map(([id, text]) => h("option", { value: id, text }))) : null;
    if (select) select.value = chosen();
    draw();
    const targets = sides.map((side) => side.target(name));
    const notes = [
      targets.some(({ restored }) => restored) ? "each patch has the brightness and contrast of the truth: only its pattern is predicted, and nothing (hatched) where no truth was observed" : "",
      targets.every(({ everywhere }) => everywhere) ? "" : "grey: shown to the network, not predicted",
    ].filter(Boolean).join("; ");
    return h("section", { class: `card target ${sides.length > 1 ? "wide" : ""}`, dataset: { target: name } },
      h("div", { class: "row target-head" }, h("h2", { text: target.title }), select),
      h("p", { class: "small scores" }, sides.map((side) => h("span", {}, sides.length > 1 ? h("span", { class: "quiet", text: `${side.bundle.name} ` }) : null, scores(side.target(name))))),
      maps, classes ? h("div", { class: "panel-legend" }, classes) : null, notes ? h("p", { class: "quiet small", text: notes }) : null);
  }

  /** The truth, then a prediction and its error for each side; bands are found by name, as each network has its own. */
  trio(name, sides, id) {
    const able = sides.filter((side) => !lackedBands(side.layer(name, "truth"), id).length);
    const truth = able[0].layer(name, "truth");
    const view = makeView(truth, id);
    const errors = new Map(able.map((side) => [side, side.errors(name, view)]));
    const worst = Math.max(...[...errors.values()].map((each) => each.worst ?? 0), 1e-6);
    const of = (side) => (sides.length > 1 ? ` of ${side.bundle.name}` : "");
    const parts = sides.flatMap((side) => {
      if (!errors.has(side)) {
        const lacked = lackedBands(side.layer(name, "truth"), id).join(", ");
        return [absent(`prediction${of(side)}`, `does not predict ${lacked}`), absent(`error${of(side)}`, "nothing to compare")];
      }
      const { layer: wrong, hidden, worst: known } = errors.get(side);
      const shown = hidden.map((each) => 1 - each);
      const isInput = side.answer.header.inputs.used.includes(name);
      const believed = side.layer(name, "prediction");
      // Beside the patches that it was shown the prediction of the input is easier to judge.
      const prediction = isInput ? mixed(side.layer(name, "truth"), believed, hidden) : believed;
      const scale = view.kind === "classes" ? { kind: "verdict", bands: [] } : { kind: "band", bands: [0], low: 0, high: worst, colours: "error" };
      return [
        picture(`prediction${of(side)}`, prediction, sameView(prediction, view), { cover: isInput ? null : shown }),
        picture(`error${of(side)}`, wrong, scale, { cover: shown, legend: known === null ? null : legend([wrong], scale), note: known === null ? "nothing to compare" : share(wrong, hidden, view) }),
      ];
    });
    return [picture("truth", truth, view, { legend: view.kind === "classes" ? null : legend([truth], view) }), ...parts];
  }

  vectors(sides) {
    const targets = this.targets(sides).filter((target) => !target.kind.endsWith("map"));
    if (!targets.length) return [];
    const heads = sides.flatMap((side) => [h("th", { scope: "col", text: sides.length > 1 ? `${side.bundle.name}` : "prediction" }), h("th", { scope: "col", text: "error" })]);
    const body = targets.flatMap((target) => {
      const each = sides.map((side) => side.target(target.name));
      const first = each.find(Boolean);
      return first.rows.map((row, place) => h("tr", {}, h("th", { scope: "row", text: row.quantity }), h("td", { text: row.truth }), each.flatMap((one) => [h("td", { text: one?.rows[place].prediction ?? "" }), h("td", { class: "quiet", text: one?.rows[place].error ?? "" })])));
    });
    return [h("section", { class: "card wide" }, h("h2", { text: "Vectors" }), h("div", { class: "table-box summary-box", tabindex: 0 }, h("table", { class: "losses" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "quantity" }), h("th", { scope: "col", text: "truth" }), heads)), h("tbody", {}, body))))];
  }
}

/** One network and its last answer. */
class Side {
  constructor(letter, bundle) {
    Object.assign(this, { letter, bundle, pretext: null, answer: null, error: null, used: new Set() });
  }

  async describe(signal) {
    if (this.describes === this.bundle.id) return;
    this.pretext = null;
    this.error = null;
    this.pretext = await api(`bundles/${this.bundle.id}/pretext`, { signal });
    this.describes = this.bundle.id;
    this.used.add(this.bundle.id);
  }

  async predict(store, tile, { visible = null, ratio = null, seed = 0, without = new Set() }, signal) {
    const query = new URLSearchParams(visible ? { visible: visible.map(Number).join("") } : { seed, ...(ratio === null ? {} : { ratio }) });
    const given = this.pretext?.any_input ? this.pretext.inputs.filter((name) => !without.has(name)) : [];
    if (given.length && given.length < this.pretext.inputs.length) query.set("inputs", given.join(","));
    try {
      const buffer = await bytes(`bundles/${this.bundle.id}/reconstruct/${store.id}/${tile}?${query}`, { signal });
      this.answer = readPacket(buffer);
      this.error = null;
      this.used.add(this.bundle.id);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.answer = null;
      this.error = error;
    }
  }

  target(name) {
    return this.answer.header.targets.find((target) => target.name === name);
  }

  layer(name, what) {
    return { map: this.target(name), ...this.answer.arrays[`${name}/${what}`] };
  }

  /** `{layer, hidden, worst}`: the error of what a view shows, the pixels that count, and nearly the largest of them. */
  errors(name, view) {
    const truth = this.layer(name, "truth");
    const layer = errorLayer(truth, this.layer(name, "prediction"), sameView(truth, view));
    const hidden = this.hidden(this.target(name).everywhere);
    return { layer, hidden, worst: nearlyLargest(layer.values.filter((value, pixel) => hidden[pixel] && !Number.isNaN(value))) };
  }

  /** 1 for each pixel that counts: hidden, or every one. */
  hidden(everywhere) {
    const { side, patch, visible } = this.answer.header;
    const width = side * patch;
    return Uint8Array.from({ length: width * width }, (_, pixel) => {
      const place = Math.floor(Math.floor(pixel / width) / patch) * side + Math.floor((pixel % width) / patch);
      return everywhere || visible[place] === "0" ? 1 : 0;
    });
  }
}

/** Whether two networks' losses of a target can be told apart by size: they compare the same numbers in the same way. */
function comparable(sides, name) {
  const each = sides.map((side) => side.target(name));
  return each.length > 1 && each.every((one) => one && one.loss !== null && one.compared !== null && one.compared === each[0].compared);
}

/* ---------------------------------------------------------------- pictures */

function picture(label, layer, view, { cover = null, legend: key = null, note = "" } = {}) {
  const { element, canvas } = frame(label);
  paint(canvas, layer, view, cover);
  return h("figure", { class: "part", dataset: { part: label.split(" ")[0] } }, h("figcaption", {}, label, note ? h("span", { class: "quiet", text: ` ${note}` }) : null), element, key ? h("div", { class: "panel-legend" }, key) : null);
}

/** In place of a picture that there is not. */
function absent(label, why) {
  const { element } = frame(`${label}: ${why}`);
  element.append(h("span", { class: "unseen", text: why }));
  return h("figure", { class: "part", dataset: { part: label.split(" ")[0] } }, h("figcaption", {}, label), element);
}

function mixed(truth, prediction, hidden) {
  const size = hidden.length;
  const values = Float32Array.from(prediction.values, (value, place) => (hidden[place % size] || Number.isNaN(truth.values[place]) ? value : truth.values[place]));
  return { ...prediction, values };
}

/** Absolute error of what a view shows (the mean over three bands), or where the class is wrong. */
function errorLayer(truth, prediction, view) {
  const [, height, width] = truth.shape;
  const size = height * width;
  const bands = view.kind === "classes" ? [0] : view.bands;
  const values = Float32Array.from({ length: size }, (_, pixel) => {
    let sum = 0;
    for (const band of bands) {
      const [true_, believed] = [truth.values[band * size + pixel], prediction.values[band * size + pixel]];
      sum += view.kind === "classes" ? (Number.isNaN(true_) ? NaN : Number(true_ !== believed)) : Math.abs(believed - true_);
    }
    return sum / bands.length;
  });
  const { unit } = truth.map.bands[bands[0]];
  return { map: { ...truth.map, classes: [], composites: [], bands: [{ name: "error", unit }] }, values, shape: [1, height, width] };
}

/** Their 98th percentile; null if there are none. */
function nearlyLargest(values) {
  values.sort();
  return values.length ? values[Math.floor(0.98 * (values.length - 1))] : null;
}

function share(wrong, hidden, view) {
  if (view.kind !== "classes") return "";
  let [right, all] = [0, 0];
  for (const [pixel, value] of wrong.values.entries()) {
    if (!hidden[pixel] || Number.isNaN(value)) continue;
    all += 1;
    right += 1 - value;
  }
  return all ? `${Math.round((100 * right) / all)} % right` : "";
}

/** Loss and error in a few words. */
function scores(target) {
  return [target.loss === null ? "" : `loss ${compact(target.loss)}`, physical(target) && `error ${physical(target).replace(" wrong", "")}`].filter(Boolean).join(" · ") || "nothing to compare";
}

/** The error in the modality's own unit, in a few words: of the only band, or the range over all. */
function physical(target) {
  if (!target.errors.length) return target.rows.length === 1 ? target.rows[0].error : "";
  const known = target.errors.filter(({ error }) => error !== null);
  if (!known.length) return "";
  if (target.classes.length) return `${Math.round(100 * known[0].error)} % wrong`;
  const groups = new Map();
  for (const { unit, error } of known) groups.set(unit, [...(groups.get(unit) ?? []), error]);
  return [...groups].map(([unit, errors]) => {
    const [low, high] = [Math.min(...errors), Math.max(...errors)].map((value) => String(Number(value.toPrecision(3))));
    return `${low === high ? low : `${low} to ${high}`} ${unit}`;
  }).join("; ");
}

function number(text) {
  return text === null || text === "" ? null : Number(text);
}

/** What was opened, and where to go from here. */

import { emptyPanel, errorPanel, facts, h, number } from "/static/dom.js";

export const title = "Overview";

const NAMES = { earth: "Earth", tile: "Tiles", reconstruct: "Reconstruct", embedding: "Embedding", training: "Training" };

export async function show(root, context) {
  const { opened } = context;
  const report = opened.reports.find((each) => each.id === context.state.get("report"));
  if (report) {
    root.append(h("div", { class: "page" },
      h("div", { class: "row" }, h("a", { class: "button", href: context.link("overview"), text: "Back" }), h("h1", { text: `Report of ${report.name}` })),
      h("iframe", { class: "report", src: `/reports/${report.id}`, title: `Report of ${report.name}`, sandbox: "allow-popups" })));
    return;
  }
  const cards = [
    ...opened.stores.map((store) => storeCard(store, context)),
    ...opened.runs.map((run) => runCard(run, context)),
    ...opened.bundles.filter((bundle) => !opened.runs.some((run) => run.bundle === bundle.id)).map((bundle) => card(
      "Bundle", bundle.name, "A trained encoder.", [["Embedding", context.link("embedding", { bundle: bundle.id, table: null })]])),
    ...opened.tables.map((table) => card(
      "Embedding table", table.name, "One vector a tile.", [["Embedding", context.link("embedding", { table: table.id, bundle: null, store: null, tile: null })]])),
    ...opened.reports.map((each) => card(
      "Report", each.name, "A page with scores and pictures.", [["Read", context.link("overview", { report: each.id })]])),
    ...opened.broken.map((each) => h("article", { class: "card broken" },
      h("span", { class: "tag", text: each.kind }), h("h2", { text: each.name }), errorPanel(each.error, { inline: true }))),
  ];
  root.append(h("div", { class: "page" },
    h("div", {}, h("h1", { text: "What is open" }), h("p", { class: "quiet mono", text: opened.name })),
    opened.notes.map((note) => h("p", { class: "quiet small", text: note })),
    h("div", { class: "overview" }, cards),
    opened.stores.length || opened.broken.length ? null : emptyPanel(
      "No tiles are open", "Maps, tiles and reconstructions need a tile store.", "geopretext view tiles.zarr", { inline: true })));
}

function card(kind, name, about, links) {
  return h("article", { class: "card" },
    h("span", { class: "tag", text: kind }), h("h2", { text: name }),
    typeof about === "string" ? h("p", { class: "quiet", text: about }) : about,
    h("div", { class: "row" }, links.map(([text, href]) => h("a", { class: "button", href, text }))));
}

function storeCard(store, context) {
  const planet = store.planet === "earth" ? "the Earth" : `a synthetic Earth (seed ${store.planet.split("-")[1]})`;
  const about = facts([
    ["tiles", number(store.tiles)],
    ["size", `${store.tile_size} × ${store.tile_size} px`],
    ["of", planet],
    ["modalities", h("details", {}, h("summary", { text: number(store.modalities.length) }), store.modalities.join(", "))],
  ]);
  const pages = ["earth", "tile", ...(context.opened.bundles.length ? ["reconstruct", "embedding"] : [])];
  return card("Store", store.name, about, pages.map((page) => [NAMES[page], context.link(page, { store: store.id, table: null, tile: null })]));
}

function runCard(run, context) {
  const shared = { run: run.id, store: run.store, bundle: run.bundle, table: null };
  const pages = ["training", ...(run.bundle && run.store ? ["reconstruct", "embedding"] : [])];
  const about = run.bundle ? "A pretraining and its bundle." : "A pretraining that has no bundle yet.";
  return card("Run", run.name, about, pages.map((page) => [NAMES[page], context.link(page, shared)]));
}

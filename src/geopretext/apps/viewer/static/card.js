/** A card that says what one tile or place is. */

import { errorPanel, facts, h, iconButton, loading, position } from "/static/dom.js";

/** Fill `root` with the card of a row of a store; `onClose` empties it. */
export async function showCard(root, context, { store, row, onClose, extra = [] }) {
  const wanted = String(row);
  root.dataset.row = wanted;
  root.hidden = false;
  root.replaceChildren(loading());
  let told;
  try {
    told = await context.api(`stores/${store}/rows/${row}`);
  } catch (error) {
    if (error.name !== "AbortError" && root.dataset.row === wanted) root.replaceChildren(errorPanel(error, { inline: true }));
    return;
  }
  if (root.dataset.row !== wanted) return;
  const isTile = told.tile !== null;
  root.replaceChildren(
    h("div", { class: "tile-card-head" },
      h("h2", { text: isTile ? `Tile ${told.tile}` : "Place without a tile" }),
      iconButton("close", "Close", onClose)),
    h("div", { class: "tile-card-body" },
      isTile ? h("img", { class: "thumbnail", src: `/api/stores/${store}/tiles/${told.tile}/thumbnail.png`, alt: `Tile ${told.tile} in natural colours`, width: 112, height: 112 }) : null,
      facts(lines(told).filter(([, value]) => value))),
    isTile || extra.length ? h("div", { class: "row" },
      isTile ? h("a", { class: "button primary", href: context.link("tile", { store, tile: told.tile }), text: "All modalities" }) : null,
      extra) : null,
  );
  context.announce(`${told.name}, ${told.biome ?? "unknown biome"}`);
}

function lines(told) {
  return [
    ["id", told.name],
    ["where", told.lat === null ? "unknown" : position(told.lat, told.lon)],
    ["when", told.date],
    ["biome", told.biome],
    ["ecoregion", told.ecoregion],
    ["split", told.split],
    ["level", told.levels && Object.values(told.levels).join(", ")],
    ["images", told.images && Object.entries(told.images).map(([name, count]) => `${count} of ${name}`).join(", ")],
    ["absent", told.absent?.join(", ")],
    ["status", told.status],
    ["reason", told.reason],
    ["detail", told.detail],
  ];
}

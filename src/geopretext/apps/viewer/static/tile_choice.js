/** Which tile: previous, next, random, or by number or id. Pages that look at one tile at a time share it. */

import { h, iconButton } from "/static/dom.js";

/**
 * A bar of buttons. `go(number)` is called with the tile to show; `find(text)` resolves to a number.
 * Returns `{element, expect(tile), show(tile)}`; `tile` is as the server describes it. Next and previous count from the
 * tile that was asked for last, which `expect` tells, whether it is shown yet or not.
 */
export function tileChoice({ go, find }) {
  let current = { number: 0, count: 1 };
  // From a number that there is not, the nearest end.
  const step = (by) => go(current.number < current.count ? (current.number + by + current.count) % current.count : by > 0 ? 0 : current.count - 1);
  const random = () => {
    // Never the tile that is shown already.
    const other = Math.floor(Math.random() * Math.max(1, current.count - 1));
    go(other >= current.number && current.count > 1 ? other + 1 : other);
  };
  const entry = h("input", { type: "text", id: "tile-entry", inputmode: "text", autocomplete: "off", spellcheck: "false", "aria-label": "Number or id of a tile", "aria-describedby": "tile-problem", placeholder: "number or id" });
  const problem = h("p", { class: "small bad", id: "tile-problem", role: "status" });
  const form = h("form", { class: "row tile-form", on: { submit: async (event) => {
    event.preventDefault();
    problem.textContent = "";
    try {
      go(await find(entry.value));
      entry.value = "";
    } catch (error) {
      if (error.name === "AbortError") return;
      problem.textContent = [error.what ?? error.message, error.hint].filter(Boolean).join("; ");
    }
  } } }, entry, h("button", { class: "button", type: "submit", text: "Go" }));
  const count = h("span", { class: "tile-count" });
  const element = h("div", { class: "tile-choice" },
    h("div", { class: "row" },
      iconButton("previous", "Previous tile", () => step(-1), { id: "previous" }),
      count,
      iconButton("next", "Next tile", () => step(1), { id: "next" }),
      h("button", { class: "button", type: "button", id: "random", text: "Random", on: { click: random } }),
      form),
    problem);
  return {
    element,
    expect({ number, count: all }) {
      current = { number, count: Math.max(1, all) };
    },
    show(tile) {
      current = { number: tile.number, count: Math.max(1, tile.count) };
      count.replaceChildren("tile ", h("strong", { text: tile.number.toLocaleString("en") }), h("span", { class: "quiet", text: ` of ${tile.count.toLocaleString("en")}` }));
      problem.textContent = "";
    },
  };
}

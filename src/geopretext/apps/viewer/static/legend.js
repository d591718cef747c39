/** What colours and shapes mean; classes can be switched off and on, and looked at alone. */

import { h, number, svg } from "/static/dom.js";
import { valueText } from "/static/tiles.js";
import { classColor, classShape, ramp, SHAPES, UNKNOWN_LOOK } from "/static/palette.js";

const OUTLINES = {
  disc: "M8 2.500a5.500 5.500 0 1 0 0 11a5.500 5.500 0 0 0 0-11z",
  square: "M3 3h10v10H3z",
  triangle: "M8 2L14 13H2z",
  diamond: "M8 1.500L14.500 8L8 14.500L1.500 8z",
  cross: "M3 5.500L5.500 3L8 5.500L10.500 3L13 5.500L10.500 8L13 10.500L10.500 13L8 10.500L5.500 13L3 10.500L5.500 8z",
  plus: "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z",
  ring: "M8 2a6 6 0 1 0 0 12a6 6 0 0 0 0-12zM8 5.500a2.500 2.500 0 1 1 0 5a2.500 2.500 0 0 1 0-5z",
};

/** The symbol of a class. */
export function symbol(code, theme) {
  return svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" },
    svg("path", { d: OUTLINES[SHAPES[classShape(code)]], fill: classColor(code, theme), "fill-rule": "evenodd" }));
}

/**
 * @param column of classes or of a quantity
 * @param hidden Set of codes that are switched off; `UNKNOWN_LOOK` stands for rows without a class
 * @param on {toggle(code), only(code), highlight(code or null)}
 */
export function legend(column, { theme, hidden, on }) {
  return column.classes.length ? classLegend(column, theme, hidden, on) : quantityLegend(column, theme);
}

/** How many rows are of each class; those without one under `UNKNOWN_LOOK`. */
export function classCounts(column) {
  const counts = new Map();
  for (const value of column.values) {
    const code = value !== value ? UNKNOWN_LOOK : value;
    counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  return counts;
}

function classLegend(column, theme, hidden, on) {
  const counts = [...classCounts(column)].sort(([a, m], [b, n]) => (a === UNKNOWN_LOOK) - (b === UNKNOWN_LOOK) || n - m);
  const list = h("ul", { class: "legend", "aria-label": `${column.label}: switch classes off and on` }, counts.map(([code, count]) => {
    const name = code === UNKNOWN_LOOK ? "unknown" : column.classes[code];
    return h("li", {}, h("button", {
      type: "button", class: "legend-entry", "aria-pressed": String(!hidden.has(code)), dataset: { code },
      title: `${name}. Click: off or on; double click: this one only.`,
      on: {
        click: () => on.toggle(code), dblclick: () => on.only(code),
        pointerenter: () => on.highlight(code), pointerleave: () => on.highlight(null),
        focus: (event) => { if (event.target.matches(":focus-visible")) on.highlight(code); }, blur: () => on.highlight(null),
      },
    }, symbol(code, theme), h("span", { class: "legend-name", text: name }), h("span", { class: "legend-count", text: number(count) })));
  }));
  const hint = () => list.classList.toggle("more", list.scrollHeight - list.clientHeight - list.scrollTop > 4);
  list.addEventListener("scroll", hint);
  requestAnimationFrame(hint);
  return list;
}

function quantityLegend(column, theme) {
  const [low, high] = column.range;
  const bar = h("canvas", { class: "ramp", width: 128, height: 1, "aria-hidden": "true" });
  const context = bar.getContext("2d");
  for (let x = 0; x < 128; x++) {
    context.fillStyle = `rgb(${ramp(x / 127, theme).join(",")})`;
    context.fillRect(x, 0, 1, 1);
  }
  const unknown = column.values.some((value) => value !== value);
  return h("div", { class: "quantity" }, bar,
    h("div", { class: "row quantity-ends" }, h("span", { text: valueText(column, low) }), h("span", { text: valueText(column, high) })),
    unknown ? h("div", { class: "row small" }, symbol(UNKNOWN_LOOK, theme), h("span", { text: "unknown" })) : null);
}

/** Building blocks of pages. All text goes in as text: nothing here parses HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `properties` are attributes; `class`, `text`, `on` (event name -> listener) and `dataset` as they say;
 * false, null and undefined leave an attribute away.
 */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const ICONS = {
  overview: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  earth: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M3 12h18M12 3c-5 5-5 13 0 18M12 3c5 5 5 13 0 18",
  tile: "M4 4h16v16H4zM4 10h16M10 4v16",
  reconstruct: "M4 4h6v6H4zM14 14h6v6h-6zM14 4h6v6h-6zM5 19l5-5M6 14h4v4",
  embedding: "M6 7h.01M10 16h.01M15 6h.01M18 12h.01M8 11h.01M14 17h.01M13 11h.01M5 18h.01M19 18h.01",
  training: "M4 4v16h16M7 8c3 7 6 8 12 8",
  dark: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.500 10.500z",
  light: "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.400 1.400M17.600 17.600L19 19M5 19l1.400-1.400M17.600 6.400L19 5",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  home: "M4 11l8-7l8 7M6 10v10h12V10",
  pan: "M12 3v18M3 12h18M12 3l-3 3M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3",
  box: "M5 5h14v14H5z",
  lasso: "M12 4c5 0 8 2.500 8 6s-3 6-8 6s-8-2.500-8-6s3-6 8-6M8 16c0 3-1 4-3 4",
  close: "M6 6l12 12M18 6L6 18",
  previous: "M15 5l-7 7l7 7",
  next: "M9 5l7 7l-7 7",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
};

/** One of our line icons; buttons that show one carry a label of their own. */
export function icon(name, size = 20) {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true" },
    svg("path", {
      d: ICONS[name], fill: "none", stroke: "currentColor",
      "stroke-width": name === "embedding" ? 3 : 1.7, "stroke-linecap": "round", "stroke-linejoin": "round",
    }),
  );
}

/** A button with an icon and a label that is read aloud and shown on hover. */
export function iconButton(name, label, onClick, properties = {}) {
  return h("button", { class: "icon-button", type: "button", "aria-label": label, title: label, on: { click: onClick }, ...properties }, icon(name));
}

/** A labelled choice; `options` are [value, label] pairs. */
export function choice(label, options, value, onChange, properties = {}) {
  const select = h(
    "select",
    { on: { change: () => onChange(select.value) }, ...properties },
    options.map(([key, text]) => h("option", { value: key, text })),
  );
  select.value = value;
  return h("label", { class: "field" }, h("span", { text: label }), select);
}

/** Names and values. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, value)]));
}

export function loading(text = "Loading") {
  return h("div", { class: "loading", text });
}

/** What went wrong, as the server says it: what, where, hint. */
export function errorPanel(error, { inline = false } = {}) {
  return h(
    "section",
    { class: `notice error${inline ? " inline" : ""}`, role: "alert" },
    h("h2", { text: "This cannot be shown" }),
    h("p", { text: error.what ?? String(error.message ?? error) }),
    error.where ? h("p", { class: "mono quiet", text: error.where }) : null,
    error.hint ? h("p", { text: error.hint }) : null,
  );
}

/** What is missing, and the command that makes it. */
export function emptyPanel(title, text, command = "", { inline = false } = {}) {
  return h(
    "section",
    { class: `notice empty${inline ? " inline" : ""}` },
    h("h2", { text: title }),
    h("p", { class: "quiet", text }),
    command ? commandLine(command) : null,
  );
}

/** A command line that can be copied. */
export function commandLine(command) {
  const button = iconButton("copy", "Copy the command", async () => {
    await navigator.clipboard.writeText(command);
    button.setAttribute("aria-label", "Copied");
    button.title = "Copied";
  });
  return h("div", { class: "command" }, h("code", { text: command }), button);
}

/** 12,345; with digits where they matter. */
export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "unknown";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** 12.34° N, 5.60° W */
export function position(lat, lon) {
  const side = (value, plus, minus) => `${Math.abs(value).toFixed(3)}° ${value < 0 ? minus : plus}`;
  return `${side(lat, "N", "S")}, ${side(lon, "E", "W")}`;
}

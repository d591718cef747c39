/**
 * The frame: navigation, theme, the address, and what every page is handed.
 *
 * A page is a module `page_NAME.js` with `title` and `async show(root, context)`, which may return `{dispose()}`.
 * `context`:
 *   api(path), bytes(path)  requests below /api/; they end when the page is left
 *   opened                  what the viewer was opened on (`/api/opened`)
 *   state                   get(name, fallback), set({name: value or null}): the part of the address after `?`, so that
 *                           a link restores the view
 *   announce(text)          says it to screen readers
 *   theme                   name ("light" or "dark"), watch(callback) -> function that ends it
 *   link(page, state)       an address; go(page, state) goes there
 *   signal                  aborted when the page is left
 */

import { api, bytes, silent } from "/static/api.js";
import { errorPanel, h, icon, loading } from "/static/dom.js";

const PAGES = [
  ["overview", "Overview"],
  ["earth", "Earth"],
  ["tile", "Tile"],
  ["reconstruct", "Reconstruct"],
  ["embedding", "Embedding"],
  ["training", "Training"],
];
/** What the pages share, and therefore stays in the address when another page is chosen. */
const OPENED = ["store", "bundle", "table", "run"];
const SHARED = [...OPENED, "tile"];

const main = document.getElementById("main");
let leave = () => {};
let opened = null;
let turn = 0;
/** What the address of each page was when it was last looked at. */
const last = new Map();

function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: path, parameters: new URLSearchParams(query) };
}

function address(name, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return `#/${name}${query.size ? `?${query}` : ""}`;
}

/** Where a page is gone on with: as it was left, unless something else was chosen since that it must show. */
function resumed(page) {
  const [before, now] = [last.get(page) ?? {}, shared()];
  const same = OPENED.every((key) => !(key in before && key in now) || before[key] === now[key]);
  return same ? { ...before, ...now } : now;
}

function shared() {
  const { parameters } = parse();
  return Object.fromEntries(SHARED.filter((key) => parameters.has(key)).map((key) => [key, parameters.get(key)]));
}

const state = {
  get: (name, fallback = null) => parse().parameters.get(name) ?? fallback,
  set(changes) {
    const { name, parameters } = parse();
    const next = { ...Object.fromEntries(parameters), ...changes };
    history.replaceState(null, "", address(name, next));
    nameLinks();
  },
};

const theme = {
  listeners: new Set(),
  name: "light",
  watch(listener) {
    theme.listeners.add(listener);
    return () => theme.listeners.delete(listener);
  },
};

/** The theme that was chosen on an earlier visit; a browser may keep no such things, and refuse to be asked. */
function remembered() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function remember(chosen) {
  try {
    if (chosen) localStorage.setItem("theme", chosen);
    else localStorage.removeItem("theme");
  } catch {
    // It lasts as long as this page then.
  }
}

function chooseTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  let chosen = remembered();
  const apply = () => {
    theme.name = chosen ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme.name;
    const other = theme.name === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `Use ${other} colours`);
    button.title = `Use ${other} colours`;
    button.replaceChildren(icon(other));
    for (const listener of theme.listeners) listener(theme.name);
  };
  dark.addEventListener("change", apply);
  button.addEventListener("click", () => {
    const other = theme.name === "dark" ? "light" : "dark";
    // Back to what the system says is back to following it.
    chosen = other === (dark.matches ? "dark" : "light") ? null : other;
    remember(chosen);
    apply();
  });
  apply();
}

function nameLinks() {
  const { name: here, parameters } = parse();
  last.set(here, Object.fromEntries(parameters));
  for (const link of document.querySelectorAll("#pages a")) {
    link.href = address(link.dataset.page, link.dataset.page === here ? last.get(here) : resumed(link.dataset.page));
    if (link.dataset.page === here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function announce(text) {
  document.getElementById("announcer").textContent = text;
}

function makeContext(signal) {
  return {
    api: (path) => api(path, { signal }),
    bytes: (path) => bytes(path, { signal }),
    opened, state, announce, theme, signal,
    link: (page, parameters = {}) => address(page, { ...shared(), ...parameters }),
    go: (page, parameters = {}) => { location.hash = address(page, { ...shared(), ...parameters }); },
  };
}

/** The module of a page. A browser may keep that one could not be had, so another try has another address. */
const tries = new Map();

async function load(name) {
  const count = tries.get(name) ?? 0;
  try {
    return await import(`/static/page_${name}.js${count ? `?try=${count}` : ""}`);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    tries.set(name, count + 1);
    throw silent();
  }
}

/** Whoever reads by keyboard or ear goes on where the new page begins. */
function focusPage(root) {
  if (root.contains(document.activeElement)) return;
  const heading = root.querySelector("h1");
  if (heading) heading.tabIndex = -1;
  (heading ?? main).focus({ preventScroll: true });
}

async function showPage() {
  const { name } = parse();
  if (!PAGES.some(([page]) => page === name)) {
    history.replaceState(null, "", address(opened.stores.length ? "earth" : "overview", shared()));
    return showPage();
  }
  const mine = ++turn;
  leave();
  const ended = new AbortController();
  leave = () => ended.abort();
  nameLinks();
  main.setAttribute("aria-busy", "true");
  main.dataset.page = name;
  main.replaceChildren(loading());
  try {
    const page = await load(name);
    if (mine !== turn) return;
    document.title = `${page.title} · geopretext`;
    const root = h("div", { class: `root root-${name}` });
    const shown = page.show(root, makeContext(ended.signal));
    main.replaceChildren(root);
    const handle = await shown;
    ended.signal.addEventListener("abort", () => handle?.dispose?.());
    if (mine !== turn) handle?.dispose?.();
    else {
      if (mine > 1) focusPage(root);
      announce(`${page.title} page`);
    }
  } catch (error) {
    if (mine !== turn || error.name === "AbortError") return;
    if (!error.what) console.error(error);
    main.replaceChildren(errorPanel(error));
  } finally {
    if (mine === turn) main.setAttribute("aria-busy", "false");
  }
}

async function start() {
  chooseTheme();
  main.replaceChildren(loading("Opening"));
  document.getElementById("skip").addEventListener("click", () => main.focus());
  try {
    opened = await api("opened");
  } catch (error) {
    main.replaceChildren(errorPanel(error));
    return;
  }
  document.getElementById("opened").textContent = opened.name;
  document.getElementById("opened").title = opened.name;
  document.getElementById("pages").append(
    ...PAGES.map(([page, label]) => h("a", { dataset: { page } }, icon(page), h("span", { text: label }))),
  );
  addEventListener("hashchange", showPage);
  await showPage();
}

start();

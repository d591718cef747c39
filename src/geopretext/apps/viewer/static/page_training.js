/** Curves of runs, while they train: several runs over each other, each task by itself. */

import { key, lineChart, smooth, tick } from "/static/chart.js";
import { choice, emptyPanel, errorPanel, h } from "/static/dom.js";

export const title = "Training";

const SOON = 2000;
const LATER = 10_000;
const AXES = [["step", "step"], ["epoch", "epoch"], ["tiles", "tiles seen"], ["seconds", "hours"]];

export async function show(root, context) {
  const { opened, signal } = context;
  if (!opened.runs.length) {
    root.append(emptyPanel("No run is open", "Open the folder of a pretraining, or one that holds several, to see its curves; they grow while it trains.", "geopretext view runs/first"));
    return {};
  }
  const page = new Curves(context);
  root.append(page.element);
  await page.refresh(page.runs);
  page.draw();
  let timer = null;
  const again = async () => {
    const due = page.runs.filter((run) => run.due <= Date.now());
    if (!document.hidden && due.length && (await page.refresh(due))) page.draw();
    if (!signal.aborted) timer = setTimeout(again, SOON / 2);
  };
  timer = setTimeout(again, SOON);
  return { dispose: () => clearTimeout(timer) };
}

class Curves {
  constructor(context) {
    this.context = context;
    const { opened, state } = context;
    const wanted = state.get("runs")?.split(",") ?? [state.get("run") ?? opened.runs[0].id];
    const some = opened.runs.some((run) => wanted.includes(run.id));
    this.runs = opened.runs.map((run, place) => ({
      ...run, hue: (place % 8) + 1, chosen: some ? wanted.includes(run.id) : place === 0,
      columns: {}, version: "", offset: 0, due: 0, told: null, problem: null,
    }));
    this.settings = { axis: state.get("axis", "step"), log: state.get("log") === "1", smoothing: Number(state.get("smooth", "0.6")) };
    this.charts = new Map();
    this.list = h("div", { class: "run-list" });
    this.curves = h("div", { class: "curves" });
    this.config = h("details", { class: "card" }, h("summary", {}, h("strong", { text: "Configuration" })));
    this.config.addEventListener("toggle", () => { if (this.config.open) this.showConfig(); });
    this.element = h("div", { class: "page training" }, h("h1", { text: "Training" }), this.list, this.controls(), this.curves, this.config);
  }

  get shown() {
    return this.runs.filter((run) => run.chosen && run.columns.step?.length);
  }

  controls() {
    const { settings } = this;
    const axis = choice("Along", AXES, settings.axis, (value) => this.change({ axis: value }), { id: "axis" });
    const log = h("label", { class: "check" }, h("input", { type: "checkbox", id: "log", checked: settings.log, on: { change: (event) => this.change({ log: event.target.checked }) } }), "Logarithmic losses");
    const amount = h("span", {});
    const name = () => { amount.textContent = settings.smoothing ? `Smoothing ${settings.smoothing.toFixed(2)}` : "No smoothing"; };
    const slider = h("input", { type: "range", id: "smooth", min: 0, max: 0.99, step: 0.01, value: String(settings.smoothing), on: { input: (event) => { settings.smoothing = Number(event.target.value); name(); this.change({}); } } });
    name();
    return h("div", { class: "curve-controls" }, axis, h("label", { class: "field" }, amount, slider), log);
  }

  change(changes) {
    Object.assign(this.settings, changes);
    const { axis, log, smoothing } = this.settings;
    this.context.state.set({ axis: axis === "step" ? null : axis, log: log ? "1" : null, smooth: smoothing === 0.6 ? null : smoothing, runs: this.runs.filter((run) => run.chosen).map((run) => run.id).join(",") });
    this.draw();
  }

  /** Ask for the rows that are new; true if anything changed. */
  async refresh(runs) {
    const changed = await Promise.all(runs.map((run) => this.refreshOne(run)));
    this.showRuns();
    return changed.some(Boolean);
  }

  async refreshOne(run) {
    try {
      const told = await this.context.api(`runs/${run.id}/metrics?version=${encodeURIComponent(run.version)}&offset=${run.offset}`);
      const grew = told.restart || Object.values(told.columns)[0]?.length > 0;
      for (const [name, values] of Object.entries(told.columns)) {
        const numbers = values.map((value) => value ?? NaN);
        run.columns[name] = told.restart ? numbers : [...(run.columns[name] ?? []), ...numbers];
      }
      Object.assign(run, { version: told.version, offset: told.offset, told, problem: null, due: Date.now() + (told.state === "running" ? SOON : LATER) });
      return grew;
    } catch (error) {
      if (error.name === "AbortError") return false;
      Object.assign(run, { problem: error, due: Date.now() + LATER });
      return false;
    }
  }

  /* ---------------------------------------------------------------- runs */

  showRuns() {
    if (this.cards) return this.cards.forEach((update) => update());
    this.cards = this.runs.map((run) => {
      const state = h("span", { class: "state" });
      const about = h("dl", { class: "facts" });
      const box = h("input", { type: "checkbox", checked: run.chosen, "aria-label": `Show ${run.name}`, on: { change: (event) => { run.chosen = event.target.checked; this.change({}); if (this.config.open) this.showConfig(); } } });
      const card = h("article", { class: "card run", dataset: { run: run.id } }, box,
        h("h2", {}, h("span", {}, key(run), " "), run.name), state, about);
      this.list.append(card);
      let before = "";
      return () => {
        const now = run.problem ? "stopped" : run.told.state;
        state.className = `state ${now}`;
        state.textContent = run.problem ? "cannot be read" : now;
        about.replaceChildren(...(run.problem ? [h("dt", { text: "why" }), h("dd", { text: run.problem.what })] : runFacts(run).flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })])));
        if (before && before !== now) this.context.announce(`${run.name} is ${now}`);
        before = now;
      };
    });
    this.cards.forEach((update) => update());
    return undefined;
  }

  /* ---------------------------------------------------------------- curves */

  draw() {
    const runs = this.shown;
    const names = [...new Set(runs.flatMap((run) => Object.keys(run.columns)))];
    const losses = names.filter((name) => name.startsWith("loss/"));
    const weights = names.filter((name) => name.startsWith("weight/"));
    const groups = [
      ["", [["loss", "Loss, all tasks weighted", "wide"]]],
      [losses.length ? "Loss of each task" : "", losses.map((name) => [name, name.slice(5)])],
      ["How it runs", [["learning_rate", "Learning rate"], ["tiles_per_second", "Tiles per second"], ["gradient_norm", "Norm of the gradients"]].filter(([name]) => names.includes(name))],
      [weights.length ? "Weight of each task" : "", weights.map((name) => [name, name.slice(7)])],
    ];
    const wanted = JSON.stringify([runs.length > 0, groups]);
    if (wanted !== this.built) {
      this.built = wanted;
      this.charts.clear();
      this.unlike = null;
      this.curves.replaceChildren(...(runs.length ? groups.flatMap(([heading, charts]) => this.group(heading, charts)) : [h("p", { class: "quiet wide", text: this.runs.some((run) => run.chosen) ? "No rows yet: the first one comes after a few steps." : "No run is chosen: tick one above." })]));
    }
    if (this.unlike) this.unlike.hidden = !tasksDiffer(runs);
    for (const [name, chart] of this.charts) this.drawOne(name, chart, runs);
  }

  group(heading, charts) {
    return [heading && charts.length ? h("h2", { text: heading }) : null, ...charts.map(([name, label, kind]) => {
      const chart = lineChart({
        label, height: kind ? 260 : 190, x: { label: "" }, y: { label: "" },
        onPoint: (x) => { for (const other of this.charts.values()) if (other !== chart) other.point(x); },
      });
      this.charts.set(name, chart);
      const note = name === "loss" ? this.unlike = h("p", { class: "quiet small", hidden: true, text: "These runs learn different tasks: their weighted sums are not comparable, the losses of single tasks below are." }) : null;
      return h("section", { class: `card ${kind ?? ""}`, dataset: { curve: name } }, h("h3", { text: label }), note, chart.element);
    })].filter(Boolean);
  }

  drawOne(name, chart, runs) {
    const { axis, log, smoothing } = this.settings;
    const factor = axis === "seconds" ? 1 / 3600 : 1;
    const series = runs.filter((run) => run.columns[name]).map((run) => {
      const raw = run.columns[name];
      const plain = ["learning_rate"].includes(name) || name.startsWith("weight/");
      const y = plain ? raw : smooth(raw, smoothing);
      return { name: run.name, hue: run.hue, x: run.columns[axis].map((value) => value * factor), y, raw: y === raw ? null : raw };
    });
    const label = AXES.find(([key_]) => key_ === axis)[1];
    chart.draw(series, { legend: runs.length > 1, x: { label, read: (value) => `${label} ${tick(value)}` }, y: { label: "", log: log && name.startsWith("loss") } });
  }

  /* ---------------------------------------------------------------- configuration */

  async showConfig() {
    const runs = this.runs.filter((run) => run.chosen);
    const mine = this.configTurn = (this.configTurn ?? 0) + 1;
    const replace = (element) => {
      this.config.querySelector(".table-box")?.remove();
      this.config.querySelector(".notice")?.remove();
      this.config.append(element);
    };
    if (!runs.length) return replace(h("p", { class: "notice inline quiet", text: "No run is chosen." }));
    try {
      const fields = await Promise.all(runs.map(async (run) => (await this.context.api(`runs/${run.id}/config`)).fields));
      if (mine !== this.configTurn) return undefined;
      const names = [...new Set(fields.flatMap((each) => Object.keys(each)))];
      const rows = names.map((name) => {
        const values = fields.map((each) => each[name] ?? "");
        const differs = new Set(values).size > 1;
        return h("tr", {}, h("th", { scope: "row", class: "mono", text: differs ? `${name} ≠` : name, title: differs ? "differs between the runs" : null }), values.map((value) => h("td", { class: differs ? "differs" : "", text: value })));
      });
      return replace(h("div", { class: "table-box config-box", tabindex: 0 }, h("table", { class: "config-table" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "field" }), runs.map((run) => h("th", { scope: "col", text: run.name })))), h("tbody", {}, rows))));
    } catch (error) {
      return error.name === "AbortError" || mine !== this.configTurn ? undefined : replace(errorPanel(error, { inline: true }));
    }
  }
}

/** Whether the loss of one run is a sum of other tasks than that of another. */
function tasksDiffer(runs) {
  return new Set(runs.map((run) => Object.keys(run.columns).filter((name) => name.startsWith("loss/")).sort().join())).size > 1;
}

function runFacts(run) {
  const last = (name) => run.columns[name]?.at(-1);
  return [
    ["step", Number.isFinite(last("step")) ? `${tick(last("step"))}, epoch ${tick(last("epoch"))}` : "none yet"],
    ["loss", Number.isFinite(last("loss")) ? tick(last("loss")) : "none yet"],
    ["trained for", duration(last("seconds"))],
    ["last row", `${duration(run.told.age)} ago`],
  ];
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "nothing yet";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86_400)} days`;
}

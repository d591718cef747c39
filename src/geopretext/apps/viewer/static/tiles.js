/** Columns of the tiles of a store, fetched once and kept while the viewer is open. */

const kept = new Map();

/** {tiles, places, columns: {name: {name, label, unit, classes, range, values: Float32Array}}} */
export function loadTiles(context, store) {
  if (!kept.has(store)) {
    const loading = fetchTiles(context, store);
    kept.set(store, loading);
    loading.catch(() => kept.delete(store));
  }
  return kept.get(store);
}

async function fetchTiles(context, store) {
  const table = await context.api(`stores/${store}/columns`);
  const values = await Promise.all(table.columns.map((column) => context.bytes(`stores/${store}/columns/${column.name}`)));
  const columns = Object.fromEntries(table.columns.map((column, at) => [column.name, { ...column, values: new Float32Array(values[at]) }]));
  return { tiles: table.tiles, places: table.places, columns };
}

/** The store that the address names, or the first one. */
export function chosenStore(context) {
  const { opened, state } = context;
  return opened.stores.find((store) => store.id === state.get("store")) ?? opened.stores[0] ?? null;
}

/** Columns that points can be coloured by: of classes only those that can be told apart. */
export function colorings(columns) {
  return Object.values(columns).filter((column) => column.classes.length <= 60 && !["lat", "lon"].includes(column.name));
}

const SECONDS_A_YEAR = 365.2425 * 86400;
/** Years of columns have 24 bits: an hour, more or less. */
const HALF_STEP = 40 * 60;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function dateOf(year) {
  return new Date(1000 * ((year - 1970) * SECONDS_A_YEAR + HALF_STEP));
}

function digitsOf({ range: [low, high] }) {
  return high - low >= 10 ? 0 : high - low >= 1 ? 1 : 2;
}

/** A number of a quantity as people write it: Jan 2017, 79° S, 19 %. */
export function valueText(column, value) {
  if (column.unit === "year") {
    const date = dateOf(value);
    return `${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  }
  const digits = digitsOf(column);
  if (column.name === "lat" || column.name === "lon") {
    const size = Math.abs(value).toFixed(digits);
    const [plus, minus] = column.name === "lat" ? "NS" : "EW";
    return `${size}°${Number(size) === 0 ? "" : ` ${value < 0 ? minus : plus}`}`;
  }
  return `${value.toFixed(digits)}${column.unit ? ` ${column.unit}` : ""}`;
}

/** From one to another: Jan 2017 – Dec 2020, 79° S – 82° N, 0–19 %. */
export function rangeText(column, low, high) {
  const [from, to] = [valueText(column, low), valueText(column, high)];
  if (from === to) return from;
  if (column.unit !== "%") return `${from} – ${to}`;
  return `${from.slice(0, -2)}–${to}`;
}

/** What a column says of a row. */
export function wordOf(column, row) {
  const value = column.values[row];
  if (value !== value) return "unknown";
  if (column.classes.length) return column.classes[value];
  if (column.unit === "year") return `${dateOf(value).getUTCDate()} ${valueText(column, value)}`;
  return `${value.toFixed(1)}${column.unit ? ` ${column.unit}` : ""}`;
}

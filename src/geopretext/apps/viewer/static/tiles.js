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

/** What a column says of a row. */
export function wordOf(column, row) {
  const value = column.values[row];
  if (value !== value) return "unknown";
  if (column.classes.length) return column.classes[value];
  return `${value.toFixed(column.unit === "year" ? 2 : 1)}${column.unit && column.unit !== "year" ? ` ${column.unit}` : ""}`;
}

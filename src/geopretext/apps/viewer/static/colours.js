/**
 * Colours of quantities. All maps of colours grow steadily in lightness, so that they can be read without colour vision
 * and in grey. viridis and magma: van der Walt and Smith 2015; relief is our own.
 */

const STOPS = {
  viridis: [
    "#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c", "#1fa088",
    "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725",
  ],
  error: [
    "#fcfdbf", "#fde0a1", "#fec287", "#fea571", "#fb8761", "#f4695c", "#e55064", "#cf4070", "#b5367a", "#9b2e7f",
    "#812581", "#681c81", "#4f127b", "#341069", "#1c1044", "#090720", "#000004",
  ],
  relief: ["#123a3a", "#1f5a4c", "#4b7d4f", "#8f9e5e", "#c9b781", "#e6d5b8", "#ffffff"],
  grey: ["#000000", "#ffffff"],
};

const tables = new Map();

/** 256 colours, red green blue side by side. */
export function table(name) {
  if (!tables.has(name)) {
    const stops = (STOPS[name] ?? STOPS.viridis).map(rgb);
    const colours = new Uint8ClampedArray(256 * 3);
    for (let step = 0; step < 256; step += 1) {
      const place = (step / 255) * (stops.length - 1);
      const low = Math.min(stops.length - 2, Math.floor(place));
      for (let part = 0; part < 3; part += 1) {
        colours[3 * step + part] = Math.round(stops[low][part] + (place - low) * (stops[low + 1][part] - stops[low][part]));
      }
    }
    tables.set(name, colours);
  }
  return tables.get(name);
}

/** The same from left to right, as CSS. */
export function gradient(name) {
  return `linear-gradient(90deg, ${(STOPS[name] ?? STOPS.viridis).join(", ")})`;
}

/** `#rrggbb` as three numbers. */
export function rgb(text) {
  return [1, 3, 5].map((start) => Number.parseInt(text.slice(start, start + 2), 16));
}

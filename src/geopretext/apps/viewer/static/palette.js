/**
 * Colours that are told apart without full colour vision, and shapes that say the same again.
 * Classes: fourteen colours a theme, as many as there are biomes, found by search: as far as possible from each other and
 * from grey (0.17 in OKLab, Ottosson 2020, or more), and a third of that without red or green cones (Machado et al. 2009);
 * each class has a shape too. Quantities: cividis (Nunez et al. 2018), whose lightness rises all the way.
 */

export const SHAPES = ["disc", "square", "triangle", "diamond", "cross", "plus", "ring"];

const CLASSES = {
  light: [
    "#0077dd", "#ee7700", "#771100", "#cc77ff", "#0011bb", "#556600", "#7700ff",
    "#660088", "#44aa22", "#114455", "#cc0000", "#bb00bb", "#885577", "#ff4488",
  ],
  dark: [
    "#88bbff", "#ffff44", "#008800", "#ff0088", "#ff9966", "#9955cc", "#ffddff",
    "#22ee00", "#cc5522", "#55eecc", "#ee00ff", "#ff88dd", "#99aa22", "#0088ff",
  ],
};
const UNKNOWN = { light: "#8b959c", dark: "#7c8891" };
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8779", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
/** What of it is used: on black the darkest blue would not be seen, on white the palest yellow. */
const SPAN = { light: [0, 0.68], dark: [0.14, 1] };
/** Pixels across a point of a class: smaller ones have no shape and hardly a colour. */
export const LEAST_SIZE = 6.5;

export const UNKNOWN_LOOK = 255;

function parse(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

/** Colour of a quantity at 0..1, as [r, g, b]. */
export function ramp(share, theme) {
  const [from, to] = SPAN[theme];
  const at = (from + Math.max(0, Math.min(1, share)) * (to - from)) * (CIVIDIS.length - 1);
  const low = Math.min(CIVIDIS.length - 2, Math.floor(at));
  const [a, b] = [parse(CIVIDIS[low]), parse(CIVIDIS[low + 1])];
  return a.map((value, channel) => Math.round(value + (b[channel] - value) * (at - low)));
}

export function classColor(code, theme) {
  return code === UNKNOWN_LOOK ? UNKNOWN[theme] : CLASSES[theme][code % CLASSES[theme].length];
}

/** No two of the first 98 classes share both colour and shape. */
export function classShape(code) {
  return code === UNKNOWN_LOOK ? SHAPES.indexOf("ring") : (code + Math.floor(code / CLASSES.light.length)) % SHAPES.length;
}

/** 256 looks: red, green, blue, shape. */
export function palette(column, theme) {
  const looks = new Uint8Array(256 * 4);
  for (let look = 0; look < 256; look++) {
    const color = look === UNKNOWN_LOOK || column.classes.length ? parse(classColor(look, theme)) : ramp(look / 254, theme);
    looks.set([...color, column.classes.length || look === UNKNOWN_LOOK ? classShape(look) : 0], 4 * look);
  }
  return looks;
}

/** Which of the 256 looks each row has. */
export function looksOf(column) {
  const { values, classes } = column;
  const [low, high] = column.range;
  const looks = new Uint8Array(values.length);
  const scale = high > low ? 254 / (high - low) : 0;
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (value !== value) looks[row] = UNKNOWN_LOOK;
    else looks[row] = classes.length ? value % UNKNOWN_LOOK : Math.round((value - low) * scale);
  }
  return looks;
}

/**
 * Colours that are told apart without full colour vision, and shapes that say the same again.
 * Classes: the colours of Okabe and Ito (2008), lightened or darkened for the theme, each class with a shape. Quantities:
 * cividis (Nunez et al. 2018), whose lightness rises all the way.
 */

export const SHAPES = ["disc", "square", "triangle", "diamond", "cross", "plus", "ring"];

const CLASSES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#b8860b", "#cc79a7", "#4a3aa7", "#56b4e9", "#7f3c00"],
  dark: ["#4aa8e8", "#ff8c42", "#2fd0a0", "#f0e442", "#f5a3cf", "#a99bff", "#a8dcff", "#d69a62"],
};
const UNKNOWN = { light: "#8b959c", dark: "#7c8891" };
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8779", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
/** On black the darkest blue would not be seen. */
const FROM = { light: 0, dark: 0.14 };

export const UNKNOWN_LOOK = 255;

function parse(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

/** Colour of a quantity at 0..1, as [r, g, b]. */
export function ramp(share, theme) {
  const at = (FROM[theme] + Math.max(0, Math.min(1, share)) * (1 - FROM[theme])) * (CIVIDIS.length - 1);
  const low = Math.min(CIVIDIS.length - 2, Math.floor(at));
  const [a, b] = [parse(CIVIDIS[low]), parse(CIVIDIS[low + 1])];
  return a.map((value, channel) => Math.round(value + (b[channel] - value) * (at - low)));
}

export function classColor(code, theme) {
  return code === UNKNOWN_LOOK ? UNKNOWN[theme] : CLASSES[theme][code % CLASSES[theme].length];
}

/** No two of the first 56 classes share both colour and shape. */
export function classShape(code) {
  return code === UNKNOWN_LOOK ? SHAPES.indexOf("ring") : code % SHAPES.length;
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

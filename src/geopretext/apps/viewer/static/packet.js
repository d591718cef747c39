/** Answers of the server that hold numbers: a JSON header and float32 arrays (see `packet.py`). */

/** `{header, arrays: {name: {shape, values}}}`; values are NaN where nothing was observed. */
export function readPacket(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  let start = 4 + length;
  for (const [name, shape] of Object.entries(header.arrays)) {
    const count = shape.reduce((product, side) => product * side, 1);
    arrays[name] = { shape, values: new Float32Array(buffer, start, count) };
    start += 4 * count;
  }
  return { header, arrays };
}

/** The Equal Earth projection (Savric, Patterson and Jenny 2018): equal areas have equal sizes. Degrees <-> map units. */

const [A1, A2, A3, A4] = [1.340264, -0.081106, 0.000893, 0.003796];
const ROOT = Math.sqrt(3);
const RAD = Math.PI / 180;

/** Half the width and the height of the whole map. */
export const HALF_WIDTH = 2.7066297;
export const HALF_HEIGHT = 1.3173628;

export function project(lat, lon) {
  const theta = Math.asin((ROOT / 2) * Math.sin(lat * RAD));
  const square = theta * theta;
  const sixth = square * square * square;
  const slope = A1 + 3 * A2 * square + sixth * (7 * A3 + 9 * A4 * square);
  return [
    (2 * lon * RAD * Math.cos(theta)) / (ROOT * slope),
    theta * (A1 + A2 * square + sixth * (A3 + A4 * square)),
  ];
}

/** [lat, lon], or null beside the map. */
export function unproject(x, y) {
  if (Math.abs(y) > HALF_HEIGHT) return null;
  let theta = y;
  for (let turn = 0; turn < 12; turn++) {
    const square = theta * theta;
    const sixth = square * square * square;
    const slope = A1 + 3 * A2 * square + sixth * (7 * A3 + 9 * A4 * square);
    const change = (theta * (A1 + A2 * square + sixth * (A3 + A4 * square)) - y) / slope;
    theta -= change;
    if (Math.abs(change) < 1e-9) break;
  }
  const square = theta * theta;
  const slope = A1 + 3 * A2 * square + square ** 3 * (7 * A3 + 9 * A4 * square);
  const lon = (x * ROOT * slope) / (2 * Math.cos(theta)) / RAD;
  if (Math.abs(lon) > 180) return null;
  return [Math.asin(Math.max(-1, Math.min(1, (2 / ROOT) * Math.sin(theta)))) / RAD, lon];
}

/** x y x y ... of many points; NaN where a position is unknown. */
export function projectAll(lat, lon) {
  const points = new Float32Array(2 * lat.length);
  for (let row = 0; row < lat.length; row++) {
    const [x, y] = project(lat[row], ((((lon[row] + 180) % 360) + 360) % 360) - 180);
    points[2 * row] = x;
    points[2 * row + 1] = y;
  }
  return points;
}

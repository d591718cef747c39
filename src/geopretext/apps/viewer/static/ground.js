/** The map beneath the points: sea, land, graticule, tropics and polar circles. */

import { HALF_HEIGHT, HALF_WIDTH, project } from "/static/projection.js";

export const GLOBE = [-HALF_WIDTH, -HALF_HEIGHT, HALF_WIDTH, HALF_HEIGHT];
const CIRCLES = [66.56, 23.44, -23.44, -66.56];

function line(path, points) {
  points.forEach(([lat, lon], at) => path[at ? "lineTo" : "moveTo"](...project(lat, lon)));
}

const span = (from, to, step) => Array.from({ length: Math.round((to - from) / step) + 1 }, (_, at) => from + at * step);

function rimPath() {
  const path = new Path2D();
  line(path, [...span(-90, 90, 2).map((lat) => [lat, -180]), ...span(-90, 90, 2).map((lat) => [-lat, 180])]);
  path.closePath();
  return path;
}

function graticule(step) {
  const path = new Path2D();
  for (const lat of span(-90 + step, 90 - step, step)) line(path, [[lat, -180], [lat, 180]]);
  for (const lon of span(-180 + step, 180 - step, step)) line(path, span(-90, 90, 2).map((lat) => [lat, lon]));
  return path;
}

function landPath(rings) {
  const path = new Path2D();
  for (const ring of rings) {
    for (let at = 0; at < ring.length; at += 2) path[at ? "lineTo" : "moveTo"](...project(ring[at + 1], ring[at]));
    path.closePath();
  }
  return path;
}

export class Ground {
  constructor() {
    this.rim = rimPath();
    this.lines = new Map();
    this.circles = new Path2D();
    for (const lat of CIRCLES) line(this.circles, [[lat, -180], [lat, 180]]);
    this.land = null;
  }

  /** `rings`: flat lists of longitude, latitude. */
  setLand(rings) {
    this.land = landPath(rings);
  }

  draw(context, plot) {
    const { view, width, height } = plot;
    const thin = 1 / view.scale;
    const step = view.scale < 1200 ? 30 : view.scale < 5000 ? 10 : 5;
    if (!this.lines.has(step)) this.lines.set(step, graticule(step));
    context.save();
    context.translate(width / 2 - view.x * view.scale, height / 2 + view.y * view.scale);
    context.scale(view.scale, -view.scale);
    context.lineJoin = "round";
    context.fillStyle = plot.color("sea");
    context.fill(this.rim);
    if (this.land) {
      context.fillStyle = plot.color("land");
      context.fill(this.land, "evenodd");
    }
    context.lineWidth = 0.8 * thin;
    context.strokeStyle = plot.color("graticule");
    context.stroke(this.lines.get(step));
    context.setLineDash([4 * thin, 4 * thin]);
    context.stroke(this.circles);
    context.setLineDash([]);
    if (this.land) {
      context.strokeStyle = plot.color("coast");
      context.lineWidth = 0.6 * thin;
      context.stroke(this.land);
    }
    context.strokeStyle = plot.color("coast");
    context.lineWidth = thin;
    context.stroke(this.rim);
    context.restore();
    this.#label(context, plot, step);
  }

  #label(context, plot, step) {
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = plot.color("quiet");
    context.textBaseline = "middle";
    for (const lat of span(-90 + step, 90 - step, step)) {
      const [x, y] = plot.toScreen(...project(lat, -180));
      if (y < 10 || y > plot.height - 10) continue;
      const text = `${Math.abs(lat)}°${lat > 0 ? " N" : lat < 0 ? " S" : ""}`;
      const wide = context.measureText(text).width;
      // Beside the map, or at the edge of the window when that is inside the map; where points are it could not be read.
      if (x > 0 && x < wide + 10) continue;
      context.fillText(text, Math.max(6, Math.min(x - wide - 6, plot.width - 40)), y);
    }
  }
}

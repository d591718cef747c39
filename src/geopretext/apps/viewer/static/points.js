/** Many points on the graphics card (WebGL 2): where they are is sent once, how they look and whether they show by byte. */

const VERTEX = `#version 300 es
in vec2 position;
in uint look;
in uint flag;
uniform vec2 center, scale;
uniform float size;
uniform uint drawn;
uniform sampler2D palette;
flat out vec3 color;
flat out int shape;
flat out float pixels;
void main() {
  vec4 entry = texelFetch(palette, ivec2(int(look), 0), 0);
  color = entry.rgb;
  shape = int(entry.a * 255.0 + 0.5);
  pixels = flag == 3u ? size + 4.0 : size;
  gl_PointSize = pixels;
  gl_Position = flag == drawn ? vec4((position - center) * scale, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
flat in vec3 color;
flat in int shape;
flat in float pixels;
uniform float opacity;
uniform vec3 rim;
out vec4 drawn;
float distanceTo(vec2 p) {
  vec2 a = abs(p);
  if (shape == 0) return length(p) - 0.95;
  if (shape == 1) return max(a.x, a.y) - 0.8;
  if (shape == 2) return max(a.x * 0.87 + p.y * 0.5, -p.y) - 0.5;
  if (shape == 3) return a.x + a.y - 0.98;
  if (shape == 4) return max(min(abs(p.x - p.y), abs(p.x + p.y)) - 0.4, max(a.x, a.y) - 0.8);
  if (shape == 5) return max(min(a.x, a.y) - 0.3, max(a.x, a.y) - 0.95);
  return abs(length(p) - 0.68) - 0.26;
}
void main() {
  // Too small to have a shape: dots, and then whole pixels.
  if (pixels < 6.0) {
    float cover = pixels < 3.0 ? 1.0 : clamp((1.0 - length(gl_PointCoord * 2.0 - 1.0)) * pixels * 0.5 + 0.5, 0.0, 1.0);
    drawn = vec4(color, 1.0) * cover * opacity;
    return;
  }
  // The rim lies around the shape, so that thin shapes keep their colour.
  float edge = min(1.2, 0.11 * pixels);
  float unit = 2.0 / (pixels - 2.0 * edge);
  vec2 p = (gl_PointCoord * 2.0 - 1.0) * pixels / (pixels - 2.0 * edge);
  p.y = -p.y;
  float d = distanceTo(p);
  float inside = 1.0 - smoothstep(edge * unit, (edge + 0.8) * unit, d);
  if (inside <= 0.0) discard;
  drawn = vec4(mix(color, rim, smoothstep(-0.3 * unit, 0.5 * unit, d)), 1.0) * inside * opacity;
}`;

/** What a row's flag may be. */
export const HIDDEN = 0, DIM = 1, SHOWN = 2, CHOSEN = 3;

export class PointLayer {
  /** `onRestored`: called when the card has lost what was drawn, and may be asked again. */
  constructor(canvas, onRestored) {
    this.canvas = canvas;
    this.count = this.shown = 0;
    this.given = {};
    const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    if (!gl) {
      throw Object.assign(new Error(), {
        what: "This browser cannot draw points: WebGL 2 is switched off or missing.",
        hint: "Switch on hardware acceleration in the browser's settings, or use another browser.",
      });
    }
    this.gl = gl;
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.#prepare();
      onRestored();
    });
    this.#prepare();
  }

  #prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.uniform = Object.fromEntries(
      ["center", "scale", "size", "drawn", "palette", "opacity", "rim"].map((name) => [name, gl.getUniformLocation(program, name)]),
    );
    this.buffers = {};
    for (const name of ["position", "look", "flag"]) {
      this.buffers[name] = { buffer: gl.createBuffer(), at: gl.getAttribLocation(program, name) };
      gl.enableVertexAttribArray(this.buffers[name].at);
    }
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    for (const [name, array] of Object.entries(this.given)) this.set(name, array);
  }

  /** `position`: Float32Array x y x y ...; `look`, `flag`: Uint8Array; `palette`: 256 x (r, g, b, shape). */
  set(name, array) {
    const { gl } = this;
    this.given[name] = array;
    if (name === "palette") {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, array);
      return;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name].buffer);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.DYNAMIC_DRAW);
    if (name !== "flag") return;
    this.count = array.length;
    const counts = [0, 0, 0, 0];
    for (let row = 0; row < array.length; row++) counts[array[row]]++;
    this.shown = counts[SHOWN] + counts[CHOSEN];
    this.flags = [DIM, SHOWN, CHOSEN].filter((flag) => counts[flag]);
  }

  /** Let the card see every `every`-th row only. */
  #stride(every) {
    const { gl, buffers: { position, look, flag } } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, position.buffer);
    gl.vertexAttribPointer(position.at, 2, gl.FLOAT, false, 8 * every, 0);
    // A stride has at most 255 bytes, which is far more than is ever left out.
    for (const { buffer, at } of [look, flag]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.vertexAttribIPointer(at, 1, gl.UNSIGNED_BYTE, every, 0);
    }
  }

  /**
   * Draw: dim points first, chosen ones last. `view`: {x, y, scale} of the middle and pixels a map unit; `every`: of so
   * many rows one is drawn, at most 16.
   */
  draw(view, { size, rim, dim = 0.16, every = 1 }) {
    const { gl, uniform, canvas } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count) return;
    const ratio = canvas.width / canvas.clientWidth;
    gl.uniform2f(uniform.center, view.x, view.y);
    gl.uniform2f(uniform.scale, (2 * view.scale) / canvas.clientWidth, (2 * view.scale) / canvas.clientHeight);
    gl.uniform1f(uniform.size, size * ratio);
    gl.uniform3f(uniform.rim, ...rim.map((channel) => channel / 255));
    this.#stride(every);
    for (const flag of this.flags) {
      gl.uniform1ui(uniform.drawn, flag);
      gl.uniform1f(uniform.opacity, flag === DIM ? dim : 0.92);
      gl.drawArrays(gl.POINTS, 0, Math.floor(this.count / every));
    }
  }

  dispose() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

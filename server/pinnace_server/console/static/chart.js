// @ts-check
/**
 * Draws live line charts on a canvas from the JSON in `data-series`, which the server made and a refresh replaces. The words
 * and the table beside it come from the server too: this only draws.
 * @typedef {{name: string, dashed?: boolean, points: [number, number | null][]}} Line a null is a gap, and is drawn as one
 * @typedef {{unit: string, from: number, to: number, lines: Line[], marks: {at: number, label: string}[],
 *   limit?: {value: number, label: string}}} Series times are seconds since 1970
 */

const PAD = { top: 18, right: 12, bottom: 22, left: 46 };
const GRID_LINES = 4;
const TIME_LABELS_PX = 90;
const LIMIT_SHOWN_TO = 2;

/** @type {WeakMap<Element, {text: string, hover: number | null}>} */
const drawn = new WeakMap();

/** The next round step (1, 2 or 5 × 10ⁿ) that cuts `span` into at most `parts`. @param {number} span @param {number} parts */
function roundStep(span, parts) {
  const raw = span / parts || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5, 10].find((step) => step * power >= raw) ?? 10);
}

/** @param {Series} series */
function valueRange(series) {
  const values = series.lines.flatMap((line) => line.points.map(([, value]) => value)).filter((value) => value !== null);
  const largest = Math.max(...values, 0);
  // A limit far above would press the lines flat; the words below the chart name it all the same.
  if (series.limit && (!largest || series.limit.value <= LIMIT_SHOWN_TO * largest)) values.push(series.limit.value);
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const step = roundStep(Math.max(high - low, high * 0.1, 1e-6), GRID_LINES - 1);
  return { low: Math.max(0, Math.floor(low / step) * step), high: Math.ceil((high + step / 10) / step) * step, step };
}

/** @param {number} seconds */
const clock = (seconds) => {
  const at = new Date(seconds * 1000).toISOString();
  return localStorage.getItem("pinnace-times") === "local" ? new Date(seconds * 1000).toTimeString().slice(0, 8) : at.slice(11, 19);
};

/** @param {number} value */
const short = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.?0+$/, (zeros) => (zeros.includes(".") ? "" : zeros));

/** @param {Element} figure the colours come from the legend, so that the style sheet is their only place */
const palette = (figure) => ({
  line: [...figure.querySelectorAll(".legend [data-line]")].map((item) => getComputedStyle(item).color),
  text: getComputedStyle(/** @type {Element} */ (figure.querySelector(".legend"))).color,
  grid: getComputedStyle(/** @type {Element} */ (figure.querySelector(".chart"))).borderTopColor,
});

/** @param {HTMLElement} chart */
function draw(chart) {
  const figure = chart.closest("figure");
  const memory = drawn.get(chart);
  if (!figure || !memory) return;
  /** @type {Series} */
  const series = JSON.parse(memory.text);
  const canvas = chart.querySelector("canvas") ?? chart.appendChild(document.createElement("canvas"));
  canvas.setAttribute("aria-hidden", "true");
  const { width, height } = chart.getBoundingClientRect();
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  if (!pen || !width) return;
  pen.scale(ratio, ratio);
  pen.font = `11px ${getComputedStyle(chart).fontFamily}`;
  const colours = palette(figure);
  const range = valueRange(series);
  const x = (/** @type {number} */ at) => PAD.left + ((at - series.from) / (series.to - series.from)) * (width - PAD.left - PAD.right);
  const y = (/** @type {number} */ value) => height - PAD.bottom - ((value - range.low) / (range.high - range.low)) * (height - PAD.top - PAD.bottom);
  drawGrid(pen, { series, range, colours, x, y, width, height });
  drawMarks(pen, { series, range, colours, x, y, width, height });
  series.lines.forEach((line, place) => drawLine(pen, line, colours.line[place] ?? colours.text, x, y));
  if (memory.hover !== null) drawHover(pen, chart, series, colours, memory.hover, x, y, height);
  else chart.querySelector("output")?.remove();
}

/** @param {CanvasRenderingContext2D} pen @param {any} on the plane: series, range, colours, x, y, width, height */
function drawGrid(pen, { series, range, colours, x, y, width, height }) {
  pen.strokeStyle = colours.grid;
  pen.fillStyle = colours.text;
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (let value = range.low; value <= range.high + range.step / 2; value += range.step) {
    const level = Math.round(y(value)) + 0.5;
    pen.beginPath();
    pen.moveTo(PAD.left, level);
    pen.lineTo(width - PAD.right, level);
    pen.stroke();
    pen.fillText(short(value), PAD.left - 6, level);
  }
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  const parts = Math.max(1, Math.floor((width - PAD.left) / TIME_LABELS_PX));
  const steps = [1, 5, 15, 30, 60, 300, 600, 900, 1800, 3600, 10800, 21600, 86400];
  const step = steps.find((size) => (series.to - series.from) / size <= parts) ?? 86400;
  for (let at = Math.ceil(series.from / step) * step; at <= series.to; at += step) {
    if (x(at) > PAD.left + 16 && x(at) < width - 24) pen.fillText(step < 60 ? clock(at) : clock(at).slice(0, 5), x(at), height - 6);
  }
}

/** @param {CanvasRenderingContext2D} pen @param {any} on */
function drawMarks(pen, { series, range, colours, x, y, width, height }) {
  pen.strokeStyle = colours.text;
  pen.fillStyle = colours.text;
  pen.setLineDash([3, 3]);
  let written = Infinity; // newest first: where two labels would overlap, the older one gives way
  for (const { at, label } of [...series.marks].sort((a, b) => b.at - a.at)) {
    if (at < series.from || at > series.to) continue;
    pen.beginPath();
    pen.moveTo(x(at), PAD.top);
    pen.lineTo(x(at), height - PAD.bottom);
    pen.stroke();
    const wide = pen.measureText(label).width + 8;
    const start = x(at) > width / 2 ? x(at) - wide : x(at);
    if (start + wide > written) continue;
    written = start;
    pen.textAlign = "left";
    pen.fillText(label, start + 4, PAD.top - 5);
  }
  if (series.limit && series.limit.value <= range.high) {
    pen.beginPath();
    pen.moveTo(PAD.left, y(series.limit.value));
    pen.lineTo(width - PAD.right, y(series.limit.value));
    pen.stroke();
    pen.textAlign = "right";
    pen.fillText(series.limit.label, width - PAD.right, y(series.limit.value) - 5);
  }
  pen.setLineDash([]);
}

/**
 * @param {CanvasRenderingContext2D} pen @param {Line} line @param {string} colour
 * @param {(at: number) => number} x @param {(value: number) => number} y
 */
function drawLine(pen, line, colour, x, y) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1.75;
  pen.lineJoin = "round";
  pen.setLineDash(line.dashed ? [5, 4] : []);
  pen.beginPath();
  line.points.forEach(([at, value], place) => {
    if (value === null) return;
    const [before, after] = [line.points[place - 1]?.[1] ?? null, line.points[place + 1]?.[1] ?? null];
    if (before === null) pen.moveTo(x(at), y(value));
    else pen.lineTo(x(at), y(value));
    // A point between two gaps is no line: without a dot it would not be seen at all.
    if (before === null && after === null) pen.fillRect(x(at) - 1.5, y(value) - 1.5, 3, 3);
  });
  pen.stroke();
  pen.setLineDash([]);
}

/**
 * @param {CanvasRenderingContext2D} pen @param {HTMLElement} chart @param {Series} series @param {ReturnType<palette>} colours
 * @param {number} at @param {(at: number) => number} x @param {(value: number) => number} y @param {number} height
 */
function drawHover(pen, chart, series, colours, at, x, y, height) {
  const points = series.lines[0]?.points ?? [];
  const nearest = points.reduce((best, [time], place) => (Math.abs(time - at) < Math.abs((points[best]?.[0] ?? 0) - at) ? place : best), 0);
  const time = points[nearest]?.[0];
  if (time === undefined) return;
  pen.strokeStyle = colours.text;
  pen.beginPath();
  pen.moveTo(x(time), PAD.top);
  pen.lineTo(x(time), height - PAD.bottom);
  pen.stroke();
  const words = [clock(time)];
  series.lines.forEach((line, place) => {
    const value = line.points[nearest]?.[1] ?? null;
    words.push(`${line.name}  ${value === null ? "no report" : `${short(value)} ${series.unit}`}`);
    if (value === null) return;
    pen.fillStyle = colours.line[place] ?? colours.text;
    pen.beginPath();
    pen.arc(x(time), y(value), 3, 0, 7);
    pen.fill();
  });
  const output = chart.querySelector("output") ?? chart.appendChild(document.createElement("output"));
  output.textContent = words.join("\n");
  // Beside the line, on the side that has room; set through the object model, which the policy allows.
  const room = chart.clientWidth - x(time);
  output.style.left = room > 140 ? `${x(time) + 8}px` : "auto";
  output.style.right = room > 140 ? "auto" : `${room + 8}px`;
}

/** @param {HTMLElement} chart */
function begin(chart) {
  drawn.set(chart, { text: "", hover: null });
  new ResizeObserver(() => draw(chart)).observe(chart);
  chart.addEventListener("pointermove", (event) => {
    const memory = drawn.get(chart);
    if (!memory) return;
    const box = chart.getBoundingClientRect();
    const share = (event.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
    const { from, to } = /** @type {Series} */ (JSON.parse(memory.text));
    memory.hover = from + share * (to - from);
    draw(chart);
  });
  chart.addEventListener("pointerleave", () => {
    const memory = drawn.get(chart);
    if (memory) memory.hover = null;
    draw(chart);
  });
}

/** Draw every chart of the page; those whose data did not change are drawn again too, since the theme may have. */
export function drawCharts() {
  for (const chart of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-chart]"))) {
    if (!drawn.has(chart)) begin(chart);
    const memory = drawn.get(chart);
    if (!memory || !chart.dataset.series) continue;
    memory.text = chart.dataset.series;
    draw(chart);
  }
}

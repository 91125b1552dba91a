// A chart in screen pixels, redrawn when its width or its content changes.
const FRAME = { left: 58, right: 16, top: 14, bottom: 46 };

// A linear or logarithmic scale over values, with round ticks.
function scale(values, start, end, { log = false, unit = false, pad = 0.06 } = {}) {
  const into = (value) => (log ? Math.log10(value) : value);
  const all = values.length ? values.map(into) : [0, 1];
  let [low, high] = all.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const room = high > low ? (high - low) * pad : Math.abs(high) * 0.1 || 1;
  [low, high] = unit ? [-0.03, 1.03] : [low - room, high + room];
  const at = (value) => start + ((into(value) - low) / (high - low)) * (end - start);
  const ticks = () => {
    const raw = (high - low) / Math.max(2, Math.abs(end - start) / 70);
    const size = 10 ** Math.floor(Math.log10(raw));
    let step = [1, 2, 2.5, 5, 10].map((m) => m * size).find((s) => s >= raw * 0.999);
    if (log) step = Math.max(1, Math.ceil(step));
    const marks = [];
    for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i++) marks.push(log ? 10 ** (i * step) : i * step);
    return marks.map((mark) => [at(mark), Math.abs(mark) >= 1e5 ? mark.toExponential(0) : String(+mark.toPrecision(3))]);
  };
  return { at, ticks, holds: (value) => value != null && (at(value) - start) * (at(value) - end) <= 0 };
}

function axes(width, height, x, y, xLabel, yLabel) {
  const { left, right, top, bottom } = FRAME;
  const text = (at, attributes, said) => drawn("text", { class: "tick", ...at, ...attributes }, said);
  const parts = [];
  for (const [at, said] of y.ticks()) {
    parts.push(drawn("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
    parts.push(text({ x: left - 8, y: at + 4 }, { "text-anchor": "end" }, said));
  }
  for (const [at, said] of x.ticks()) {
    parts.push(drawn("line", { class: "grid", x1: at, x2: at, y1: top, y2: height - bottom }));
    parts.push(text({ x: at, y: height - bottom + 18 }, { "text-anchor": "middle" }, said));
  }
  const middle = { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" };
  parts.push(drawn("text", { class: "label", ...middle }, xLabel));
  const turned = `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`;
  parts.push(drawn("text", { class: "label", transform: turned, "text-anchor": "middle" }, yLabel));
  return parts;
}

// chart.show(spec) draws {xLabel, yLabel, x, y (options of scale), lines: [{name, cls, points: [[x, y, half, where]]}],
// marks: [{x, y, ex, ey, cls, tag, where, what}], guides: {x, y}, step: [[x, y]], digits}.
function chart(figure) {
  const svg = figure.querySelector("svg");
  let spec = null, read = { free: true, lines: [] };
  const clear = reader(figure, () => read);
  const draw = () => {
    if (!spec || !svg.clientWidth) return;
    const width = svg.clientWidth, height = Math.round(Math.max(260, Math.min(440, width * 0.6)));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    const { lines = [], marks = [], guides = {} } = spec;
    const ends = (middle, half) => [middle - (half ?? 0), middle + (half ?? 0)];
    const xs = [...lines.flatMap((l) => l.points.map((p) => p[0])), ...marks.flatMap((m) => ends(m.x, m.ex))];
    const ys = [...lines.flatMap((l) => l.points.flatMap((p) => ends(p[1], p[2]))), ...marks.flatMap((m) => ends(m.y, m.ey))];
    const x = scale(xs, FRAME.left, width - FRAME.right, spec.x), y = scale(ys, height - FRAME.bottom, FRAME.top, spec.y);
    const inner = { top: FRAME.top, bottom: height - FRAME.bottom };
    const parts = axes(width, height, x, y, spec.xLabel, spec.yLabel);
    if (x.holds(guides.x)) parts.push(drawn("line", { class: "chance", x1: x.at(guides.x), x2: x.at(guides.x), y1: inner.top, y2: inner.bottom }));
    if (y.holds(guides.y)) parts.push(drawn("line", { class: "chance", x1: FRAME.left, x2: width - FRAME.right, y1: y.at(guides.y), y2: y.at(guides.y) }));
    if (spec.step?.length) parts.push(drawn("path", { class: "line front-line", d: path(spec.step.map(([a, b]) => [x.at(a), y.at(b)])) }));
    parts.push(...lines.flatMap((line) => drawLine(line, x, y)), ...marks.flatMap((mark) => drawMark(mark, x, y)));
    svg.replaceChildren(...parts, drawn("g", { class: "cursor" }));
    read = { ...inner, free: lines.length === 0, lines: lines.length ? lines.map((l) => readLine(l, x, y)) : [
      { name: "", points: marks.map((m) => [x.at(m.x), y.at(m.y), m.where, m.what]).sort((a, b) => a[0] - b[0]) }] };
  };
  new ResizeObserver(draw).observe(svg);
  return { show: (next) => { clear(); spec = next; draw(); } };
}

const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
const bar = (x, y1, y2) => drawn("path", { class: "bar", d: `M${x} ${y1}V${y2}` });

function drawLine({ cls, points }, x, y) {
  const parts = [drawn("path", { class: `line ${cls}`, d: path(points.map((p) => [x.at(p[0]), y.at(p[1])])) })];
  for (const [a, b, half] of points) {
    if (half) parts.push(bar(x.at(a), y.at(b - half), y.at(b + half)));
    if (points.length <= 30) parts.push(drawn("circle", { class: `dot ${cls}`, cx: x.at(a), cy: y.at(b), r: 3 }));
  }
  return parts;
}

const readLine = ({ name, points }, x, y) => ({
  name, points: points.map(([a, b, , where]) => [x.at(a), y.at(b), where, String(+b.toPrecision(4))]),
});

function drawMark({ x: a, y: b, ex, ey, cls, tag }, x, y) {
  const [cx, cy] = [x.at(a), y.at(b)];
  const parts = [];
  if (ey) parts.push(bar(cx, y.at(b - ey), y.at(b + ey)));
  if (ex) parts.push(drawn("path", { class: "bar", d: `M${x.at(a - ex)} ${cy}H${x.at(a + ex)}` }));
  parts.push(drawn("circle", { class: `mark ${cls}`, cx, cy, r: 6 }));
  if (tag) parts.push(drawn("text", { class: "tag", x: cx + 9, y: cy - 8 }, tag));
  return parts;
}

// A piece of a line, or a dot, in its colour.
function sign(cls, round = false) {
  const shape = round ? drawn("circle", { class: `mark ${cls}`, cx: 6, cy: 6, r: 5 }) : drawn("path", { class: `line ${cls}`, d: "M1 6H25" });
  return drawn("svg", { width: round ? 12 : 26, height: 12, "aria-hidden": "true" }, shape);
}

// The list of names and colours below a chart.
const keys = (figure, entries) =>
  figure.querySelector(".keys").replaceChildren(...entries.map(([name, cls, round]) => html("li", {}, sign(cls, round), ` ${name}`)));

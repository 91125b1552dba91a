"use strict";
// Reads out a chart: the pointer or the arrow keys pick a point, which is marked and described.
// find() gives {free, lines: [{name, points: [[x, y, where, what], ...]}], top, bottom}, in the units of the drawing.
function reader(figure, find) {
  const svg = figure.querySelector("svg");
  const readout = figure.querySelector(".readout");
  const tip = figure.querySelector(".tip");
  const nearest = (points, distance) => points.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  let place = -1;

  const svgElement = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const stops = ({ free, lines }) => {
    const all = lines.flatMap((line) => line.points);
    return free ? all : [...new Map(all.map((p) => [p[0], p])).values()].sort((a, b) => a[0] - b[0]);
  };
  const point = (stop, text) => {
    const [box, inner, outer] = [svg.viewBox.baseVal, svg.getBoundingClientRect(), figure.getBoundingClientRect()];
    tip.textContent = text;
    tip.hidden = false;
    const room = figure.clientWidth - tip.offsetWidth - 8;
    const left = inner.left - outer.left + (stop[0] / box.width) * inner.width - tip.offsetWidth / 2;
    const above = inner.top - outer.top + (stop[1] / box.height) * inner.height - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(8, Math.min(room, left))}px`;
    tip.style.top = `${above < 0 ? above + tip.offsetHeight + 28 : above}px`;
  };
  const show = (stop) => {
    const chart = find();
    place = stops(chart).indexOf(stop);
    const lines = chart.lines.filter((line) => line.points.length);
    const met = chart.free ? [stop] : lines.map((line) => nearest(line.points, (p) => Math.abs(p[0] - stop[0])));
    const dots = met.map(([x, y]) => svgElement("circle", { cx: x, cy: y, r: 4.5 }));
    const ends = { y1: chart.top ?? 12, y2: chart.bottom ?? 246 };
    const rule = chart.free ? [] : [svgElement("line", { x1: stop[0], x2: stop[0], ...ends })];
    figure.querySelector(".cursor").replaceChildren(...rule, ...dots);
    const values = chart.free ? [stop[3]] : lines.map((line, i) => `${line.name} ${met[i][3]}`);
    readout.textContent = `${stop[2]}: ${values.join(", ")}`;
    if (tip) point(stop, [stop[2], ...values].join("\n"));
  };
  const clear = () => {
    figure.querySelector(".cursor")?.replaceChildren();
    readout.textContent = "";
    if (tip) tip.hidden = true;
    place = -1;
  };

  svg.addEventListener("pointermove", (event) => {
    const chart = find();
    const known = stops(chart);
    if (!known.length) return;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    show(nearest(known, (p) => (chart.free ? Math.hypot(p[0] - at.x, p[1] - at.y) : Math.abs(p[0] - at.x))));
  });
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("blur", clear);
  svg.addEventListener("focus", () => {
    const [first] = stops(find());
    if (first && svg.matches(":focus-visible")) show(first);
  });
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") clear();
    const known = stops(find());
    if (move === undefined || !known.length) return;
    event.preventDefault();
    show(known[Math.max(0, Math.min(known.length - 1, place + move))]);
  });
  return clear;
}

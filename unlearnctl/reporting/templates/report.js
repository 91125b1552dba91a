"use strict";
// Positions and labels come ready from the page; this only finds the nearest point and shows it.
(() => {
  const charts = JSON.parse(document.getElementById("points").textContent);
  const svgElement = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const nearest = (points, distance) => points.reduce((a, b) => (distance(b) < distance(a) ? b : a));

  function reader(figure) {
    const { free, lines } = charts[figure.dataset.chart];
    const svg = figure.querySelector("svg");
    const cursor = figure.querySelector(".cursor");
    const readout = figure.querySelector(".readout");
    const all = lines.flatMap((line) => line.points);
    const stops = free ? all : [...new Map(all.map((p) => [p[0], p])).values()].sort((a, b) => a[0] - b[0]);
    let place = -1;

    const show = (stop) => {
      place = stops.indexOf(stop);
      const met = free ? [stop] : lines.map((line) => nearest(line.points, (p) => Math.abs(p[0] - stop[0])));
      const dots = met.map(([x, y]) => svgElement("circle", { cx: x, cy: y, r: 4.5 }));
      const rule = free ? [] : [svgElement("line", { x1: stop[0], x2: stop[0], y1: 12, y2: 246 })];
      cursor.replaceChildren(...rule, ...dots);
      const values = free ? stop[3] : lines.map((line, i) => `${line.name} ${met[i][3]}`).join(", ");
      readout.textContent = `${stop[2]}: ${values}`;
    };
    const clear = () => { cursor.replaceChildren(); readout.textContent = ""; place = -1; };

    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      show(nearest(stops, (p) => (free ? Math.hypot(p[0] - at.x, p[1] - at.y) : Math.abs(p[0] - at.x))));
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") clear();
      if (move === undefined) return;
      event.preventDefault();
      show(stops[Math.max(0, Math.min(stops.length - 1, place + move))]);
    });
  }

  async function copy(button, code) {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // no clipboard here: leave it selected for Ctrl-C
      button.textContent = "Selected";
      return;
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  document.querySelectorAll("[data-chart]").forEach(reader);
  document.querySelectorAll(".copyable").forEach((box) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", () => copy(button, box.querySelector("code")));
    box.append(button);
  });
})();

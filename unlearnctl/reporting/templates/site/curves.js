// Curves over steps for the chosen runs, and probe accuracy by layer.
const PICKED = 6;

function curvesOfRuns() {
  const plot = chart(byId("curves-chart")), picks = byId("curves-runs");
  const having = DATA.runs.flatMap((run, place) => (Object.keys(run.curves).length ? [place] : []));
  const names = [...new Set(having.flatMap((place) => Object.keys(DATA.runs[place].curves)))];
  let what = names[0];
  const boxes = having.map((place, i) => {
    const box = html("input", { type: "checkbox", value: place });
    box.checked = i < PICKED;
    box.addEventListener("change", () => draw());
    picks.append(html("label", {}, box, sign(style(i)), ` ${numbered(place)}`));
    return box;
  });
  const draw = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => Number(box.value)).filter((place) => DATA.runs[place].curves[what]);
    const lines = chosen.map((place) => ({
      name: String(place + 1), cls: style(having.indexOf(place)),
      points: DATA.runs[place].curves[what].map(([x, y]) => [x, y, null, `step ${+x.toPrecision(6)}`]),
    }));
    const values = lines.flatMap((line) => line.points.map((point) => point[1]));
    const least = Math.min(...values), log = least > 0 && Math.max(...values) > 100 * least;
    plot.show({ xLabel: "optimiser step", yLabel: log ? `${what} (log scale)` : what, x: { pad: 0.02 }, y: { log }, lines });
  };
  choose(byId("curves-what"), names.map((name) => [name, name]), (name) => { what = name; draw(); });
}

const style = (place) => `s${place % SERIES} dash${Math.min(3, Math.floor(place / SERIES))}`;

function probesByLayer() {
  const figure = byId("probes-chart");
  const lines = DATA.probes.flatMap(({ name, rows }, place) => [
    { name, cls: `s${place % SERIES}`, points: rows.map(([layer, accuracy, half]) => [layer, accuracy, half, `layer ${layer}`]) },
    { name: "shuffled labels", cls: `s${place % SERIES} dash2`, points: rows.map(([layer, , , control]) => [layer, control, null, `layer ${layer}`]) },
  ]);
  chart(figure).show({ xLabel: "layer", yLabel: "held-out accuracy", x: { pad: 0.04 }, y: { unit: true }, lines, guides: { y: 0.5 } });
  keys(figure, DATA.probes.map(({ name, n }, place) => [`${name} (${n} texts)`, `s${place % SERIES}`]));
}

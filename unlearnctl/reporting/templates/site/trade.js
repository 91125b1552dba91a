// Runs as points of two scores that the reader chooses, with their front.
function tradeOff() {
  const figure = byId("trade-chart"), plot = chart(figure);
  const state = { x: DATA.start[0], y: DATA.start[1], colour: Object.keys(DATA.runs[0].settings)[0] ?? "" };
  const draw = () => {
    const [x, y] = [DATA.axes[state.x], DATA.axes[state.y]];
    const places = [...visible].filter((p) => value(p, state.x) !== null && value(p, state.y) !== null);
    const [groups, cls] = colours(state.colour);
    const front = unbeaten(places, state.x, state.y);
    const marks = places.map((place) => ({
      x: value(place, state.x), y: value(place, state.y), ex: DATA.runs[place].values[state.x][3], ey: DATA.runs[place].values[state.y][3],
      cls: `${cls(place)}${front.includes(place) ? "" : " beaten"}`, tag: String(place + 1), where: numbered(place),
      what: `${said(place, state.x)}\n${said(place, state.y)}`,
    }));
    plot.show({
      xLabel: label(x), yLabel: label(y), x: { unit: inUnit(x, state.x), pad: 0.12 }, y: { unit: inUnit(y, state.y), pad: 0.12 },
      marks: [...origins(places, state.x, state.y), ...marks], guides: { x: x.chance, y: y.chance },
      step: places.length > 1 ? front.map((p) => [value(p, state.x), value(p, state.y)]) : [],
    });
    keys(figure, groups.map((group, i) => [group, `s${i % SERIES}`, true]));
  };
  const options = DATA.axes.map((axis, place) => [place, axis.name]);
  choose(byId("trade-colour"), [...Object.keys(DATA.runs[0].settings), ""].map((key) => [key, key || "none"]), (key) => { state.colour = key; });
  choose(byId("trade-x"), options, (place) => { state.x = Number(place); }, state.x);
  choose(byId("trade-y"), options, (place) => { state.y = Number(place); }, state.y);
  for (const id of ["x", "y", "colour", "whole"]) byId(`trade-${id}`).addEventListener("change", draw);
  followers.push(draw);
  draw();
}

const value = (place, axis) => DATA.runs[place].values[axis][2];
const label = ({ name, goal }) => name + ({ lower: " (↓ better)", higher: " (↑ better)" }[goal] ?? "");
const said = (place, axis) =>
  `${DATA.axes[axis].name} ${withError(value(place, axis), DATA.runs[place].values[axis][3], DATA.axes[axis].digits)}`;

// On a scale from 0 to 1 a small difference looks small; scores outside it keep a scale of their own.
const inUnit = (axis, place) => byId("trade-whole").checked && axis.share
  && DATA.runs.every(({ values }) => [0, 2].every((part) => values[place][part] === null || (values[place][part] >= 0 && values[place][part] <= 1)));

// The scores before unlearning: one ring for each distinct start.
function origins(places, x, y) {
  const starts = new Map();
  for (const place of places) {
    const [a, b] = [DATA.runs[place].values[x], DATA.runs[place].values[y]];
    if (a[0] !== null && b[0] !== null) starts.set(`${a[0]} ${b[0]}`, [a[0], b[0]]);
  }
  return [...starts.values()].map(([a, b]) => ({
    x: a, y: b, cls: "origin", where: "before", what: `${DATA.axes[x].name} ${written(a, DATA.axes[x].digits)}\n${DATA.axes[y].name} ${written(b, DATA.axes[y].digits)}`,
  }));
}

// Runs that no other beats on both axes, from left to right.
function unbeaten(places, x, y) {
  const loss = (place, axis) => {
    const { goal, chance } = DATA.axes[axis], number = value(place, axis);
    return goal === "higher" ? -number : goal === "chance" && chance !== null ? Math.abs(number - chance) : number;
  };
  const points = places.map((place) => [place, loss(place, x), loss(place, y)]);
  const beats = (q, p) => q[1] <= p[1] && q[2] <= p[2] && (q[1] < p[1] || q[2] < p[2]);
  return points.filter((p) => !points.some((q) => beats(q, p))).map(([place]) => place).sort((a, b) => value(a, x) - value(b, x) || value(a, y) - value(b, y));
}

function colours(key) {
  const groups = key ? [...new Set(DATA.runs.map((run) => run.settings[key]))] : [];
  return [groups, (place) => (key ? `s${groups.indexOf(DATA.runs[place].settings[key]) % SERIES}` : "s0")];
}
